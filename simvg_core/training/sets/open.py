"""Finds out what a folder or file is, and opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from simvg_core.training.sets.errors import SetNotFoundError
from simvg_core.training.sets.line_set import read_line_set
from simvg_core.training.sets.sample import GroundingSet

READERS: dict[str, Callable[..., GroundingSet]] = {"line": read_line_set}


def open_set(
    path: Path, *, format: str | None = None, split: str | None = None, images: Path | None = None
) -> GroundingSet:
    """Opens a data set and reads its records; image files are not touched.

    Args:
        path: its folder, or the file with its records.
        format: one of `FORMATS`; None = found from the files.
        split: None = all of them.
        images: folder of the images; None = where the format has them.

    Raises:
        SetNotFoundError: no known format; the message names what was looked for.
        SetSplitError: the set has no such split.
        SetFormatError: a file of the set is broken.
    """
    found = format or find_format(path)
    return READERS[found](path, split=split, images=images)


def find_format(path: Path) -> str:
    """The format of what lies at the path."""
    if path.name == "annotations.json" or (path / "annotations.json").is_file():
        return "line"
    raise SetNotFoundError(f"{path} is no data set of a known format; looked for annotations.json.")
