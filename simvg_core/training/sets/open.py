"""Finds out what a folder or file is, and opens it."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simvg_core.training.sets.errors import SetFormatError, SetNotFoundError
from simvg_core.training.sets.flickr import ANNOTATIONS, SENTENCES, read_flickr
from simvg_core.training.sets.line import DOCUMENT
from simvg_core.training.sets.line_set import read_line_set
from simvg_core.training.sets.official import read_official
from simvg_core.training.sets.refer import GREFS, INSTANCES, REFS, read_grefcoco, read_refer
from simvg_core.training.sets.sample import GroundingSet

FORMATS = {
    "line": f"{DOCUMENT} (COCO's boxes with expressions) and images/",
    "refer": f"{REFS} and {INSTANCES}: RefCOCO, RefCOCO+, RefCOCOg, ReferIt",
    "grefcoco": f"{GREFS} and {INSTANCES}: gRefCOCO",
    "official": f"{INSTANCES} with a list for each split: the files of the SimVG and SeqTR code",
    "flickr30k": f"{SENTENCES}/, {ANNOTATIONS}/ and train.txt …: Flickr30k Entities",
}
"""What a data set of each format consists of."""
RENDERED = "rendered"
"""The format of `LineSet`: scenes without fixed expressions."""
_HEAD = 4096


def open_set(
    path: Path,
    *,
    format: str | None = None,
    split: str | None = None,
    images: Path | None = None,
    merge_boxes: bool = True,
) -> GroundingSet:
    """Opens a data set and reads its records; image files are not touched.

    Args:
        path: its folder, or the file with its records.
        format: one of `FORMATS`; None = found from the files.
        split: None = all of them.
        images: folder of the images; None = where the format has them.
        merge_boxes: of a Flickr30k phrase with several boxes: True = the box around them, False = any of them is right.

    Raises:
        SetNotFoundError: no known format, or no images; the message names what was looked for.
        SetSplitError: the set has no such split.
        SetFormatError, UnsafePickleError: a file of the set is broken, or is not plain.
    """
    found = find_format(path) if format is None else format
    readers = {"line": read_line_set, "refer": read_refer, "grefcoco": read_grefcoco, "official": read_official}
    with _collection_paused():
        if found == "flickr30k":
            return read_flickr(path, split=split, images=images, merge_boxes=merge_boxes)
        if found in readers:
            return readers[found](path, split=split, images=images)
    if found == RENDERED:
        raise SetFormatError(
            f"{path} is a rendered set: scenes without expressions of their own. Train on it with `simvg train`, or "
            "make a set with expressions of it with `simvg line benchmark`."
        )
    raise SetFormatError(f"format {found!r} is not known; use one of {', '.join(FORMATS)}.")


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Reading makes a million objects and no cycles; looking for cycles among them takes half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def find_format(path: Path) -> str:
    """One of `FORMATS`, or `RENDERED`.

    Raises:
        SetNotFoundError: there is nothing, or nothing known; the message names what was looked for.
    """
    if not path.exists():
        raise SetNotFoundError(f"there is no {path}; name the folder of a data set, or the file with its records.")
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    if found is None:
        looked = "".join(f"\n  {name}: {what}" for name, what in FORMATS.items())
        raise SetNotFoundError(
            f"{path} is no data set of a known format; looked for{looked}\n  {RENDERED}: images/ and truth/."
        )
    return found


def _of_folder(folder: Path) -> str | None:
    if (folder / DOCUMENT).is_file():
        return "line"
    if any(folder.glob(REFS)):
        return "refer"
    if any(folder.glob(GREFS)):
        return "grefcoco"
    if (folder / SENTENCES).is_dir() or (folder / ANNOTATIONS).is_dir():
        return "flickr30k"
    if (folder / "truth").is_dir() and (folder / "images").is_dir():
        return RENDERED
    if (folder / INSTANCES).is_file():
        return _of_file(folder / INSTANCES)
    return None


def _of_file(file: Path) -> str | None:
    if file.suffix == ".p":
        return "refer"
    if file.suffix != ".json":
        return None
    if file.match(GREFS):
        return "grefcoco"
    with file.open("rb") as opened:
        head = opened.read(_HEAD).decode("utf-8", errors="replace")
    if file.name == DOCUMENT or re.match(r'\s*\{\s*"(info|images|licenses|categories|annotations|expressions)"', head):
        # COCO's own instances.json without references beside it has no expressions
        return "line" if file.name != INSTANCES else None
    return "official" if re.match(r'\s*\{\s*"[^"]+"\s*:\s*\[', head) else None
