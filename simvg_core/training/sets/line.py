"""Line sets on disk: COCO's boxes with expressions, `DIR/annotations.json` and `DIR/images/`.

The document is COCO's (`images`, `categories`, `annotations` with `bbox` x y w h in pixels) and a list `expressions`,
each with the ids of the annotations that it means; none = no target. A plain COCO file with such a list added is one
as well: `info`, `categories`, `category_id`, `attributes`, `kind`, `noun` and `lure` may be absent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from simvg_core.training.sets.errors import SetFormatError
from simvg_core.training.sets.sample import Problem

DOCUMENT = "annotations.json"
IMAGES = "images"
MOST_PX = 2**31 - 1
Id = int | str
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineInfo:
    """Where the set comes from."""

    version: str = ""
    seed: int | None = None
    split: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineImage:
    """A picture; `file_name` is relative to the folder of images."""

    id: Id
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCategory:
    """A noun."""

    id: Id
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineAnnotation:
    """A thing in a picture; `bbox` is x, y, width, height in pixels."""

    id: Id
    image_id: Id
    bbox: tuple[float, float, float, float]
    category_id: Id | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineExpression:
    """Words about a picture, and the annotations they mean; see `Sample` for `kind`, `noun` and `lure`."""

    id: Id
    image_id: Id
    text: str
    annotation_ids: tuple[Id, ...]
    kind: str = "plain"
    noun: str | None = None
    lure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LineDocument:
    """The whole of `annotations.json`."""

    info: LineInfo
    images: Sequence[LineImage]
    annotations: Sequence[LineAnnotation]
    expressions: Sequence[LineExpression]
    categories: Sequence[LineCategory] = ()


def write_document(document: LineDocument, folder: Path) -> Path:
    """Writes `folder/annotations.json`, one record a line; returns its path. The same document gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / DOCUMENT
    lists: list[tuple[str, Sequence[Any]]] = [
        ("images", document.images),
        ("categories", document.categories),
        ("annotations", document.annotations),
        ("expressions", document.expressions),
    ]
    parts = [f'"info": {_json(asdict(document.info))}']
    for name, records in lists:
        rows = ",\n".join(_json(_row(record)) for record in records)
        parts.append(f'"{name}": [\n{rows}\n]' if rows else f'"{name}": []')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    return path


def _row(record: Any) -> dict[str, Any]:
    row = asdict(record)
    if isinstance(record, LineAnnotation):  # whole pixels without a point, so that equal boxes are equal bytes
        row["bbox"] = [int(value) if float(value).is_integer() else value for value in record.bbox]
    return row


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_document(path: Path) -> LineDocument:
    """Reads a document that must be whole.

    Args:
        path: `annotations.json`, or the folder that holds it.

    Raises:
        SetFormatError: it is missing, no JSON, or a record has a wrong field; the message names the first one.
    """
    file = path / DOCUMENT if path.is_dir() else path
    document, problems = parse_document(decoded(file), file)
    if problems:
        raise SetFormatError(f"{path} has {len(problems)} broken records; the first: {problems[0]}")
    return document


def decoded(path: Path) -> Any:
    """The JSON of a file.

    Raises:
        SetFormatError: it is missing, or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SetFormatError(f"{path} cannot be read as JSON ({error}); write it again or get it anew.") from error


def parse_document(raw: Any, path: Path) -> tuple[LineDocument, list[Problem]]:
    """The records that have the right fields, and a problem for each of the others. Ids are not matched here.

    Raises:
        SetFormatError: it is no such document: not an object, or one of its lists is missing.
    """
    if not isinstance(raw, dict):
        raise SetFormatError(f"{path} holds a {type(raw).__name__}; a line set is an object with images, annotations …")
    problems: list[Problem] = []

    def records(name: str, parse: Callable[[dict[str, Any]], Record], may_lack: bool = False) -> list[Record]:
        found = raw.get(name, [] if may_lack else None)
        if not isinstance(found, list):
            raise SetFormatError(f"{path} has no list {name!r}; a line set needs images, annotations and expressions.")
        good = []
        for number, record in enumerate(found):
            try:
                good.append(parse(record))
            except KeyError as error:
                problems.append(_broken(name, number, record, f"field {error.args[0]!r} is missing"))
            except (TypeError, ValueError, AttributeError) as error:
                problems.append(_broken(name, number, record, str(error)))
        return good

    info = raw.get("info") if isinstance(raw.get("info"), dict) else {}
    assert isinstance(info, dict)
    document = LineDocument(
        info=LineInfo(
            version=str(info.get("version", "")),
            seed=info["seed"] if isinstance(info.get("seed"), int) else None,
            split=info["split"] if isinstance(info.get("split"), str) else None,
            description=str(info.get("description", "")),
        ),
        images=records("images", _image),
        categories=records("categories", _category, may_lack=True),
        annotations=records("annotations", _annotation),
        expressions=records("expressions", _expression),
    )
    return document, problems


def _broken(name: str, number: int, record: Any, what: str) -> Problem:
    given = record.get("id") if isinstance(record, dict) else None
    label = name.removesuffix("s")
    where = f"{label} number {number}" if given is None else f"{label} {given}"
    return Problem(where, what, "correct the field or remove the record")


def _image(raw: dict[str, Any]) -> LineImage:
    return LineImage(
        id=_id(raw, "id"),
        file_name=_text(raw, "file_name"),
        width=_side_px(raw, "width"),
        height=_side_px(raw, "height"),
    )


def _category(raw: dict[str, Any]) -> LineCategory:
    return LineCategory(id=_id(raw, "id"), name=_text(raw, "name"))


def _annotation(raw: dict[str, Any]) -> LineAnnotation:
    attributes = raw.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise ValueError(f"attributes={attributes!r} is not an object")
    return LineAnnotation(
        id=_id(raw, "id"),
        image_id=_id(raw, "image_id"),
        bbox=numbers(raw["bbox"]),
        category_id=None if raw.get("category_id") is None else _id(raw, "category_id"),
        attributes=attributes,
    )


def _expression(raw: dict[str, Any]) -> LineExpression:
    meant = raw["annotation_ids"]
    if not isinstance(meant, list) or not all(_is_id(one) for one in meant):
        raise ValueError(f"annotation_ids={meant!r} is not a list of ids")
    lure = raw.get("lure", False)
    if not isinstance(lure, bool):
        raise ValueError(f"lure={lure!r} is not true or false")
    return LineExpression(
        id=_id(raw, "id"),
        image_id=_id(raw, "image_id"),
        text=_text(raw, "text", may_be_empty=True),
        annotation_ids=tuple(meant),
        kind=_text(raw, "kind") if raw.get("kind") is not None else "plain",
        noun=_text(raw, "noun") if raw.get("noun") is not None else None,
        lure=lure,
    )


def numbers(raw: Any) -> tuple[float, float, float, float]:
    """Four finite numbers of a decoded record.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(raw, Iterable) or isinstance(raw, str | bytes | dict):
        raise ValueError(f"box {raw!r} is not a list of four numbers")
    values = tuple(raw)
    if len(values) != 4 or not all(_is_number(value) for value in values):
        raise ValueError(f"box {list(values)!r} is not four finite numbers")
    return float(values[0]), float(values[1]), float(values[2]), float(values[3])


def _is_number(value: Any) -> bool:
    """A finite one that a float can hold; JSON's true and false are none, though Python counts them as such."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _id(raw: dict[str, Any], name: str) -> Id:
    value = raw[name]
    if not _is_id(value):
        raise ValueError(f"{name}={value!r} is not a number or a word")
    return value  # type: ignore[no-any-return]


def _text(raw: dict[str, Any], name: str, may_be_empty: bool = False) -> str:
    value = raw[name]
    if not isinstance(value, str) or not (value or may_be_empty):
        raise ValueError(f"{name}={value!r} is not a text")
    return value


def _side_px(raw: dict[str, Any], name: str) -> int:
    value = raw[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_PX:
        raise ValueError(f"{name}={value!r} is not a number of pixels that an image can have")
    return value
