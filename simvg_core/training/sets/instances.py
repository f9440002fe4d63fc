"""`instances.json`: COCO's images, boxes and category names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from simvg_core.training.sets.errors import SetFormatError
from simvg_core.training.sets.line import Id, numbers
from simvg_core.training.sets.sample import BoxXyxyPx

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image as the file describes it."""

    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class BoxRow:
    """A box, and what it is of."""

    image_id: Id
    bbox_xywh: BoxXyxyPx | str
    """x, y, width, height in pixels; a text says what is wrong with it."""
    category_id: Id


@dataclass(frozen=True, slots=True)
class Instances:
    """The whole file, by id."""

    images: dict[Id, ImageRow]
    boxes: dict[Id, BoxRow]
    nouns: dict[Id, str]
    unsure_images: frozenset[Id] = frozenset()
    """Ids that several different images have."""


def read_lean_json(path: Path) -> Any:
    """JSON without the outlines of things (`segmentation`, `mask`), which are most of such a file and not used here.

    Raises:
        SetFormatError: it is missing or no JSON.
    """
    try:
        with path.open("rb") as file:
            return json.load(file, object_hook=_without_outlines)
    except (OSError, ValueError, RecursionError) as error:
        raise SetFormatError(f"{path} cannot be read as JSON ({error}); get it anew.") from error


def _without_outlines(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("segmentation", None)
    record.pop("mask", None)
    return record


def read_instances(path: Path) -> Instances:
    """Reads `instances.json`. A broken box, or one whose id others have, is kept as what is wrong with it, to be
    reported where it is used.

    Raises:
        SetFormatError: the file is broken, or has another shape.
    """
    raw = read_lean_json(path)
    try:
        images, unsure_images = _by_id(
            (row["id"], ImageRow(str(row["file_name"]), int(row["width"]), int(row["height"]))) for row in raw["images"]
        )
        boxes, unsure_boxes = _by_id(
            (row["id"], BoxRow(row["image_id"], _box(row.get("bbox")), row.get("category_id", -1)))
            for row in raw["annotations"]
        )
        for one in unsure_boxes:
            boxes[one] = replace(boxes[one], bbox_xywh="several annotations have this id")
        return Instances(
            images=images,
            boxes=boxes,
            unsure_images=frozenset(unsure_images),
            nouns={row["id"]: str(row["name"]) for row in raw.get("categories", ())},
        )
    except KeyError as error:
        raise SetFormatError(f"{path}: field {error.args[0]!r} is missing; get the file anew.") from error
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise SetFormatError(f"{path} is no list of instances ({error}); get the file anew.") from error


def _by_id(rows: Iterable[tuple[Id, Row]]) -> tuple[dict[Id, Row], set[Id]]:
    """The first row of each id, and the ids that other rows have as well."""
    found: dict[Id, Row] = {}
    unsure = set()
    for id_, row in rows:
        if found.setdefault(id_, row) != row:
            unsure.add(id_)
    return found, unsure


def _box(raw: Any) -> BoxXyxyPx | str:
    try:
        return numbers(raw)
    except ValueError as error:
        return str(error)
