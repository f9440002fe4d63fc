"""Whether what a model is scored on is apart from what it was trained and calibrated on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simvg_core.errors import InputError
from simvg_core.gate_run import pictures_in
from simvg_core.training.data import LineSet
from simvg_core.training.grounding_source import open_grounding_set
from simvg_core.training.sets.line import DOCUMENT
from simvg_core.training.settings import SetSettings


@dataclass(frozen=True)
class Compared:
    """Training sets whose picture files are none of those that the model is scored on, and those that could not be
    read, or not all of whose pictures are there: of these it is not known."""

    apart: Sequence[str] = ()
    unread: Sequence[str] = ()


def check_apart(
    settings: Mapping[str, Any], folders: Mapping[str, Path], pictures: Mapping[str, set[Path]]
) -> Compared:
    """Compares sets by their places, and their picture files byte by byte.

    Args:
        settings: of the run, as its log tells them.
        folders: the sets that calibrate and score the model, by what they are for.
        pictures: the picture files of each of these.

    Raises:
        InputError: two of them, or one and a training set, are the same, or share a picture.
    """
    trained = {str(folder): Path(folder) for folder in (*settings["data"], *settings["first_data"])}
    worded: dict[str, list[SetSettings]] = {}  # several splits of a set have one path
    for one in settings.get("sets", ()):
        worded.setdefault(str(one["path"]), []).append(SetSettings(**one))
    for name, folder in folders.items():
        for other in (*trained, *worded):
            if _place(folder) == _place(Path(other)):
                raise InputError(f"the {name} set {folder} was trained on; name a set of other pictures.")
        for also in list(folders)[: list(folders).index(name)]:
            if _place(folder) == _place(folders[also]):
                raise InputError(f"{folder} is the {also} set and the {name} set; name one of other pictures for each.")
    apart: list[str] = []
    unread: list[str] = []
    for other in dict.fromkeys((*trained, *worded)):
        try:
            files = _rendered(trained[other]) if other in trained else _worded(worded[other])
        except InputError:  # moved or removed since
            unread.append(other)
            continue
        for name in folders:
            _check_files(name, pictures[name], files, f"the training set {other}")
        (apart if all(file.is_file() for file in files) else unread).append(other)
    for place, name in enumerate(folders):
        for also in list(folders)[:place]:
            _check_files(name, pictures[name], pictures[also], f"the {also} set")
    return Compared(apart, unread)


def check_gate_apart(fit: Path, data: Path, pictures: Mapping[str, set[Path]]) -> None:
    """Compares the pictures that teach a gate, and those that its thresholds are chosen on, with each other and with
    those that the model is scored on, byte by byte: it bounds the scores.

    Args:
        fit, data: folders, as `simvg gate` has them.
        pictures: as in `check_apart`; those of "validation" may choose thresholds, too.

    Raises:
        InputError: some are the same, or a folder holds none.
    """
    files = {"--gate-fit": set(pictures_in(fit)), "--gate-data": set(pictures_in(data))}
    _check_files("--gate-data", files["--gate-data"], files["--gate-fit"], f"--gate-fit {fit}")
    for name in (one for one in pictures if one != "validation"):
        for option, folder in (("--gate-fit", fit), ("--gate-data", data)):
            _check_files(name, pictures[name], files[option], f"{option} {folder}")


def _place(path: Path) -> Path:
    found = path.resolve()
    return found.parent if found.name == DOCUMENT else found


def _rendered(folder: Path) -> set[Path]:
    return {folder / "images" / f"{name}.jpg" for name in LineSet(folder).names()}


def _worded(several: Sequence[SetSettings]) -> set[Path]:
    return {sample.image for one in several for sample in open_grounding_set(one).samples()}


def _check_files(name: str, pictures: set[Path], others: set[Path], where: str) -> None:
    """Raises InputError where a picture file is also among the others. Only files of one size are read."""
    sizes, of_others = _by_size(pictures), _by_size(others)
    shared: list[Path] = []
    for size in sizes.keys() & of_others.keys():
        known = set(_digests(of_others[size]).values())
        shared += [path for path, digest in _digests(sizes[size]).items() if digest in known]
    if shared:
        raise InputError(
            f"{len(shared)} of {len(pictures)} pictures of the {name} set, {min(shared)} among them, are also in "
            f"{where}: scores on what a model has seen say nothing of what it has not. Leave them out of one."
        )


def _by_size(paths: Iterable[Path]) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    for path in paths:
        if path.is_file():  # what is missing is told where it is asked
            found.setdefault(path.stat().st_size, []).append(path)
    return found


def _digests(paths: Iterable[Path]) -> dict[Path, bytes]:
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in paths}
