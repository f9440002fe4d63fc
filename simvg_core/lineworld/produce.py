"""Rendering a stored set: pictures and truth on disk, resumable, by several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2

from simvg_core.errors import ConfigurationError, RenderError
from simvg_core.extras import require
from simvg_core.lineworld.commissioning import draw_commissioning_scene
from simvg_core.lineworld.draw import SPLITS, draw_scene
from simvg_core.lineworld.picture import render
from simvg_core.lineworld.tracer import Tracer
from simvg_core.training.folder import make_folder

VERSION = 3
"""Raised when the same seed would give another scene: sets of two versions are not mixed."""

COMMISSIONING = "commissioning"
"""Training pictures of the travelling line; all other sets show plates of every kind from everywhere."""

JPEG_QUALITY = 92


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file `path` in the end: a reader sees all of it or none. The folder must exist.

    Raises ConfigurationError: it cannot be written, such as on a full disk.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written ({error.strerror}); make room, and start again: what is finished is kept."
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file as `whole` says."""
    with whole(path) as part:
        part.write_bytes(data)


def claim(folder: Path, pictures: str, described: dict[str, Any], setting: str) -> None:
    """Makes a folder for the set that `described` says, or goes on with it; `set.json` in it tells which set it holds.

    Args:
        pictures: pattern of its pictures: some that no `set.json` describes could be of any set.
        setting: what names the folder, for errors.

    Raises ConfigurationError: nothing can be written there, `set.json` is broken, or the folder holds another set.
    """
    make_folder(folder, setting)
    card, remedy = folder / "set.json", f"choose another folder with {setting}"
    if not card.exists():
        if next(folder.glob(pictures), None) is not None:
            raise ConfigurationError(f"{folder} holds pictures, but no set.json that says of which set; {remedy}")
        write_atomically(card, json.dumps(described).encode())
        return
    require_set(folder, described, remedy)


def require_set(folder: Path, described: dict[str, Any], remedy: str) -> None:
    """Raises ConfigurationError, with the remedy: the folder's `set.json` cannot be read, or describes another set."""
    card = folder / "set.json"
    try:
        found = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{card} cannot be read ({error}), so the set is not known; {remedy}") from error
    if found != described:
        raise ConfigurationError(f"{folder} holds the set {found}, not {described}; {remedy}")


def render_one(tracer: Tracer, out: Path, seed: int, index: int, split: str) -> None:
    """Renders picture ``index`` of a set into ``out``: the truth first, so that a picture never stands without it."""
    scene = draw_commissioning_scene(seed, index) if split == COMMISSIONING else draw_scene(seed, index, split)
    image, instances = render(tracer, scene)
    name = f"{index:06d}"
    record = {
        "image": f"{name}.jpg",
        "width": scene.camera.width,
        "height": scene.camera.height,
        "seed": scene.seed,
        "split": scene.split,
        "held_out": scene.held_out,
        "instances": instances,
    }
    coded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert coded, "OpenCV encodes an 8-bit BGR picture"
    write_atomically(out / "truth" / f"{name}.json", json.dumps(record).encode())
    write_atomically(out / "images" / f"{name}.jpg", data.tobytes())


def _work(
    out: Path,
    seed: int,
    split: str,
    indices: list[int],
    samples: int,
    rendered: Callable[[int], None] = lambda count: None,
) -> None:
    tracer = Tracer(samples=samples)
    for count, index in enumerate(indices, 1):
        render_one(tracer, out, seed, index, split)
        rendered(count)


def render_set(
    out: Path,
    images: int,
    seed: int,
    split: str,
    processes: int = 2,
    *,
    start: int = 0,
    samples: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Renders pictures ``start … start + images − 1`` of a set, leaving out those on disk; returns how many are new.

    One process is the calling one; more are started beside it.

    Raises
    ------
    ConfigurationError
        An unknown split, a folder that holds a set of another seed, split or version, nothing can be written there, or
        the extra ``render`` is not installed.
    RenderError
        A rendering process ended with an error (its traceback is on standard error).
    """
    known = (*SPLITS, COMMISSIONING)
    if split not in known:
        raise ConfigurationError(f"split {split!r} is none of {', '.join(known)}")
    described: dict[str, Any] = {"version": VERSION, "seed": seed, "split": split, "samples": samples}
    claim(out, "images/*.jpg", described, "--out")
    for folder in ("images", "truth"):
        make_folder(out / folder, "--out")
    todo = [k for k in range(start, start + images) if not (out / "images" / f"{k:06d}.jpg").exists()]
    if not todo:
        progress(images, images)
        return 0
    require("rendering", "render")
    if processes == 1:
        _work(out, seed, split, todo, samples, lambda count: progress(images - len(todo) + count, images))
        return len(todo)

    def tell() -> None:
        progress(images - sum(not (out / "images" / f"{k:06d}.jpg").exists() for k in todo), images)

    shares = [(out, seed, split, todo[k::processes], samples) for k in range(min(processes, len(todo)))]
    side_by_side(_work, shares, tell)
    progress(images, images)
    return len(todo)


def side_by_side(work: Callable[..., None], shares: Sequence[tuple[Any, ...]], tell: Callable[[], None]) -> None:
    """Calls `work` with each share's arguments in a process of its own; `tell` is called twice a second meanwhile.

    The processes end with the calling one, however that ends: else they would go on for hours, unseen.

    Raises RenderError when a process ended with an error (its traceback is on standard error).
    """
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_bound_to_parent, args=(work, share)) for share in shares]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            time.sleep(0.5)
            tell()
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
            worker.join()
    if any(worker.exitcode for worker in workers):
        raise RenderError(
            f"a rendering process ended with exit codes {[w.exitcode for w in workers]}: see its traceback above"
        )


def _bound_to_parent(work: Callable[..., None], share: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    work(*share)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only processes started by another run this"
    parent.join()
    os._exit(1)
