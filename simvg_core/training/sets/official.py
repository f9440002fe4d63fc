"""The JSON files of the SimVG and SeqTR code: `{split: [{image_id, bbox, expressions, …}, …], …}`.

`bbox` is x, y, width, height; in the generalised set it is a list of boxes for each expression, and its row whose
`annotations` say category -1 means no target. The mixed file names the source of each image in `data_source`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from simvg_core.training.sets import places
from simvg_core.training.sets.collect import Collector, SampleSet, corners
from simvg_core.training.sets.errors import SetFormatError, SetNotFoundError
from simvg_core.training.sets.instances import read_lean_json
from simvg_core.training.sets.line import numbers
from simvg_core.training.sets.pictures import Picture, find_images, image_size
from simvg_core.training.sets.sample import BoxXyxyPx

INSTANCES = "instances.json"
_COCO_NAME, _PLAIN_NAME = "COCO_train2014_{:012d}.jpg", "{:d}.jpg"
_FOLDERS = {
    "coco": places.COCO,
    "saiaprtc12": places.REFERIT,
    "flickr": places.FLICKR,
    "vg": places.GENOME,
    "visual-genome": places.GENOME,
}
_SOURCES = {"ref": "coco", "gref": "coco", "coco": "coco", "referit": "saiaprtc12", "flickr": "flickr"}
"""What the name of a folder begins with → the source of its images; the longest beginning counts."""
_PROBED = 20
_WRONG_SHARE = 0.1
_GET = "get the file anew, or correct the record"
_log = logging.getLogger(__name__)


def read_official(path: Path, *, split: str | None = None, images: Path | None = None) -> SampleSet:
    """Reads one such file, or the folder with its `instances.json`.

    Raises:
        SetFormatError: it is broken or has another shape.
        SetNotFoundError: none of its images is found.
        SetSplitError: there is no such split.
    """
    file = path / INSTANCES if path.is_dir() else path
    raw = read_lean_json(file)
    if not isinstance(raw, dict) or not raw or not all(isinstance(entries, list) for entries in raw.values()):
        raise SetFormatError(f"{file} is not an object with a list of records for each split; get it anew.")
    collector = Collector(file.parent.name, split)
    folders = _find_folders(file, raw, images, collector)
    as_corners = _are_corners(raw)
    if as_corners:
        _log.warning("%s: boxes are read as corners x0 y0 x1 y1, since many leave the image as x y w h.", file)
    reader = _Reader(collector, folders, _source(file), as_corners)
    for name, entries in raw.items():
        for number, entry in enumerate(entries):
            try:
                reader.take(name, f"{name}-{number}", entry)
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
                what = f"field {error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
                collector.torn(f"record {name}-{number}", what, _GET)
    return collector.finish("grec" if reader.several else "rec")


def _source(file: Path) -> str | None:
    name = file.parent.name.lower()
    fits = [start for start in _SOURCES if name.startswith(start)]
    return _SOURCES[max(fits, key=len)] if fits else None


def _entries(raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (entry for entries in raw.values() for entry in entries if isinstance(entry, dict))


def _is_numbered(entry: dict[str, Any]) -> bool:
    try:
        return int(entry["image_id"]) >= 0
    except (KeyError, TypeError, ValueError, OverflowError):
        return False


def _image_name(entry: dict[str, Any], coco: bool) -> str:
    return (_COCO_NAME if coco else _PLAIN_NAME).format(int(entry["image_id"]))


def _find_folders(
    file: Path, raw: dict[str, Any], images: Path | None, collector: Collector
) -> dict[str | None, tuple[Path, bool]]:
    """For each source of images its folder, and whether names are COCO's. A source that is nowhere is reported."""
    probes: dict[str | None, list[dict[str, Any]]] = {}
    for entry in _entries(raw):
        source = entry.get("data_source", _source(file))
        if source is not None and not isinstance(source, str):  # reported where the record is read
            continue
        few = probes.setdefault(source, [])
        if len(few) < _PROBED and _is_numbered(entry):
            few.append(entry)
    found: dict[str | None, tuple[Path, bool]] = {}
    missing: list[SetNotFoundError] = []
    for source, few in probes.items():
        names = _FOLDERS.get(source or "", (*places.COCO, *places.REFERIT, *places.FLICKR, *places.GENOME))
        styles = [True, False] if source not in _FOLDERS else [source == "coco"]
        errors = []
        for coco in styles:
            try:
                wanted = [_image_name(entry, coco) for entry in few]
                found[source] = (find_images(wanted, places.image_folders(file.parent, images, names)), coco)
                break
            except SetNotFoundError as error:
                errors.append(error)
        else:
            missing += errors[:1]
            collector.problem(f"images of source {source}", str(errors[0]).rstrip("."), "get them")
    if missing and not found:
        raise missing[0]
    return found


def _are_corners(raw: dict[str, Any]) -> bool:
    """Whether boxes are corners: no box is wrong as such, and many leave the image as x y w h."""
    boxes = wrong = 0
    for entry in islice(_entries(raw), 5_000):
        try:
            x, y, a, b = numbers(entry["bbox"])
            width, height = entry["width"], entry["height"]
            if a <= x or b <= y or a > width + 1 or b > height + 1:
                return False
            wrong += x + a > width + 1 or y + b > height + 1
        except (KeyError, TypeError, ValueError):  # several boxes, or a broken record, which is reported elsewhere
            continue
        boxes += 1
    return boxes > 0 and wrong > _WRONG_SHARE * boxes


class _Reader:
    def __init__(
        self,
        collector: Collector,
        folders: dict[str | None, tuple[Path, bool]],
        source: str | None,
        as_corners: bool,
    ) -> None:
        self.collector = collector
        self.folders = folders
        self.source = source
        self.as_corners = as_corners
        self.several = False
        self._pictures: dict[str, Picture] = {}

    def take(self, split: str, id_: str, entry: dict[str, Any]) -> None:
        texts = entry["expressions"]
        if not isinstance(texts, list) or not texts:
            raise ValueError(f"expressions={texts!r} is not a list of texts")
        numbered = [(number, text) for number, text in enumerate(texts) if self.collector.wants(split)]
        bbox = entry["bbox"]
        nested = "annotations" in entry or (isinstance(bbox, list) and (not bbox or isinstance(bbox[0], list)))
        self.several |= nested
        if not numbered:
            return
        source = entry.get("data_source", self.source)
        if source is not None and not isinstance(source, str):
            raise ValueError(f"data_source={source!r} is not a name")
        if source not in self.folders:
            for _ in numbered:
                self.collector.skip(f"images of source {source} not found")
            return
        if nested and len(bbox) != len(texts):
            raise ValueError(f"{len(texts)} expressions and {len(bbox)} lists of boxes")
        picture = self._picture(source, entry)
        for number, text in numbered:
            boxes = self._several(entry, number) if nested else [self._box(bbox)]
            kinds = {0: "no target", 1: "one target"}
            self.collector.add(
                id=f"{id_}-{number}",
                picture=picture,
                text=text,
                boxes_xyxy_px=boxes,
                kind=kinds.get(len(boxes), "several targets") if nested else "plain",
            )

    def _box(self, raw: Any) -> BoxXyxyPx:
        return numbers(raw) if self.as_corners else corners(numbers(raw))

    def _several(self, entry: dict[str, Any], number: int) -> list[BoxXyxyPx]:
        rows = entry["bbox"][number]
        marks = entry["annotations"][number] if "annotations" in entry else [{}] * len(rows)
        if len(marks) != len(rows):
            raise ValueError(f"expression {number} has {len(rows)} boxes and {len(marks)} annotations")
        return [
            self._box(row)
            for row, mark in zip(rows, marks, strict=True)
            if mark.get("category_id") != -1 and any(numbers(row))
        ]

    def _picture(self, source: str | None, entry: dict[str, Any]) -> Picture:
        folder, coco = self.folders[source]
        path = folder / _image_name(entry, coco)
        key = str(path)
        if key not in self._pictures:
            if "width" in entry and "height" in entry:
                width, height = int(entry["width"]), int(entry["height"])
            else:
                try:
                    width, height = image_size(path)
                except OSError as error:
                    raise ValueError(f"it gives no size, and its image {path} cannot be read ({error})") from error
            image_id = str(entry["image_id"])
            self._pictures[key] = Picture(
                image_id if source in (self.source, "coco") else f"{source}/{image_id}", path, width, height
            )
        return self._pictures[key]
