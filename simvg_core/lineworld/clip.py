"""Rendering clips of the travelling line: H.264 video with its truth, resumable frame by frame."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from simvg_core.errors import ConfigurationError
from simvg_core.extras import require
from simvg_core.lineworld.picture import render
from simvg_core.lineworld.produce import VERSION, claim, side_by_side, whole, write_atomically
from simvg_core.lineworld.tracer import Tracer
from simvg_core.lineworld.travel import Run
from simvg_core.training.folder import make_folder

KEPT = ("id", "kind", "plate", "color", "state", "box", "visible", "clear")
CRF = 21


def _frames(
    run: Run,
    fps: float,
    folder: Path,
    indices: list[int],
    samples: int,
    rendered: Callable[[int], None] = lambda count: None,
) -> None:
    tracer = Tracer(samples=samples)
    for count, index in enumerate(indices, 1):
        image, instances = render(tracer, run.at(index / fps, index))
        kept = [{key: record[key] for key in KEPT} for record in instances]
        coded, data = cv2.imencode(".png", image)
        assert coded, "OpenCV encodes an 8-bit BGR picture"
        write_atomically(folder / f"{index:05d}.json", json.dumps(kept).encode())
        write_atomically(folder / f"{index:05d}.png", data.tobytes())
        rendered(count)


def render_clip(
    run: Run,
    out: Path,
    *,
    seconds: float,
    fps: float,
    work: Path,
    processes: int = 2,
    samples: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Renders the frames of a run into ``work`` (those on disk are kept), then writes ``out`` (MP4) and its truth.

    One process is the calling one; more are started beside it.

    Raises
    ------
    ConfigurationError
        ``work`` holds frames of another clip, nothing can be written there or beside ``out``, or the extra ``render``
        is not installed.
    RenderError
        A rendering process ended with an error (its traceback is on standard error).
    """
    require("rendering a clip", "render")
    count = round(seconds * fps)
    claim(work, "*.png", _described(run, fps, samples), "--work")
    make_folder(out.parent, "--out")
    todo = [k for k in range(count) if not (work / f"{k:05d}.png").exists()]
    if todo:
        if processes == 1:
            _frames(run, fps, work, todo, samples, lambda done: progress(count - len(todo) + done, count))
        else:
            _in_parallel(
                run, fps, work, todo, samples, processes, lambda done: progress(count - len(todo) + done, count)
            )
    write_video([work / f"{k:05d}.png" for k in range(count)], out, fps)
    frames = [
        {"index": k, "instances": json.loads((work / f"{k:05d}.json").read_text(encoding="utf-8"))}
        for k in range(count)
    ]
    truth = {"fps": fps, "width": run.camera.width, "height": run.camera.height, "frames": frames}
    write_atomically(out.with_suffix(".json"), json.dumps(truth, separators=(",", ":")).encode())
    progress(count, count)


def _described(run: Run, fps: float, samples: int) -> dict[str, Any]:
    """What the frames of a clip come from; how many there are may change."""
    return {
        "version": VERSION,
        "seed": run.scene.belt.seed,  # the clip's own, as its command names it
        "width": run.camera.width,
        "height": run.camera.height,
        "fps": fps,
        "samples": samples,
        "line": hashlib.sha256(repr(run).encode()).hexdigest()[:12],
    }


def _in_parallel(
    run: Run,
    fps: float,
    work: Path,
    todo: list[int],
    samples: int,
    processes: int,
    rendered: Callable[[int], None],
) -> None:
    shares = [(run, fps, work, todo[k::processes], samples) for k in range(min(processes, len(todo)))]
    side_by_side(_frames, shares, lambda: rendered(sum((work / f"{k:05d}.png").exists() for k in todo)))


def write_video(pictures: list[Path], out: Path, fps: float) -> None:
    """H.264 in MP4, 4:2:0, a key frame every second; the folder of ``out`` must exist.

    Raises ConfigurationError: it cannot be written, or a picture cannot be read.
    """
    import av

    with whole(out) as part, av.open(str(part), "w", format="mp4") as video:
        stream: Any = video.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(CRF), "preset": "slow", "g": str(round(fps)), "bf": "0"}
        for number, path in enumerate(pictures):
            image = cv2.imread(str(path))
            if image is None:
                raise ConfigurationError(
                    f"frame {path} cannot be read; remove it, and start again: it is rendered anew."
                )
            if number == 0:  # the codec opens with the first frame and keeps its size
                stream.height, stream.width = image.shape[:2]
            video.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image, np.uint8), format="bgr24")))
        video.mux(stream.encode(None))
