"""From what operators said of alerts to expressions on pictures, put into the sets of a plant."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime

import cv2
import numpy as np
from numpy.typing import NDArray

from consumers.evidence import EvidenceReader
from consumers.judged import LeftOut, Lesson
from consumers.plant_set import Became, BoxPx, Expression, PlantSet
from infra.contracts import Box, StandingQuery
from infra.errors import BadAlertMessage
from infra.regions import WHOLE, pixels_of, views_of

BLOCK_S = 900
"""Spans of time that go into one set as a whole: near-identical pictures of one thing never lie in two sets."""
GUARD_S = 30
"""Pictures so near to the span of another set are left out, for the same reason."""
QUALITY = 95
"""Of JPEGs that must be encoded anew."""
_GOLDEN = 0.6180339887498949  # multiples of it fall evenly into 0 … 1, a few as well as many

Rect = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


@dataclass
class Collected:
    """Expressions by what ``became`` of them, and those ``taken_back``. Alerts: ``before``, of which nothing new was
    said, ``edited``, of an earlier revision of their query, and those ``left_out`` by the reason."""

    became: Counter[Became] = field(default_factory=Counter)
    taken_back: int = 0
    before: int = 0
    edited: int = 0
    left_out: Counter[LeftOut] = field(default_factory=Counter)


def collect(
    lessons: Iterable[Lesson],
    sets: PlantSet,
    pictures: EvidenceReader,
    queries: Mapping[str, StandingQuery] | None,
    *,
    overwrite: bool = False,
) -> Collected:
    """Puts every lesson into one of the sets, by its time; of the same words on the same picture the last verdict
    counts. ``queries``: by id, whose regions and tiles are cut out; None: pictures are taken whole.

    Raises SettingsError: a picture cannot be written; BrokerError.
    """
    done = Collected()
    put: set[str] = set()
    for lesson in sorted(lessons, key=lambda one: one.judged_at, reverse=True):
        key, alerts = lesson.alerts[0], set(lesson.alerts)
        before = sets.said_of(key)
        if lesson.said == before and not overwrite:
            done.before += len(alerts)
            continue
        found = _expressions(lesson, pictures, queries)
        own: set[str] = set()
        why = found if isinstance(found, LeftOut) else None
        if not isinstance(found, LeftOut):
            own, why = _put(lesson, found, sets, put, done, overwrite=overwrite)
            put |= own
        if before == lesson.said and not own:  # as when its picture is no longer kept: what it has said stands
            done.before += len(alerts)
            continue
        if before is not None:
            done.taken_back += sets.take_back(alerts, but=own)
        if why is not None:
            done.left_out[why] += len(alerts)
        if own or why is LeftOut.OLDER:
            sets.learned(key, lesson.said, lesson.alerts)
        if own and queries is not None and queries[lesson.query.id].revision != lesson.query.revision:
            done.edited += len(alerts)
    return done


def _put(
    lesson: Lesson, found: Iterable[Expression], sets: PlantSet, put: Set[str], done: Collected, *, overwrite: bool
) -> tuple[set[str], LeftOut | None]:
    """The ids of those that were put into a set, or why none was; ``put``: ids that later verdicts have put there."""
    own, why = set[str](), None
    for one in found:
        name = sets.home_of(one.image_id) or set_of(lesson.at, sets.shares)
        if name is None or one.id in put:
            why = LeftOut.NEAR if name is None else LeftOut.OLDER
            continue
        own.add(one.id)
        done.became[sets.put(name, one, overwrite=overwrite)] += 1
    return own, None if own else why


def set_of(at: datetime, shares: Mapping[str, float]) -> str | None:
    """The set of a capture time: every span of a quarter of an hour belongs to one; None: too near to another one's."""
    names = {_set_of_block((at.timestamp() + shift) // BLOCK_S, shares) for shift in (-GUARD_S, 0, GUARD_S)}
    return names.pop() if len(names) == 1 else None


def _set_of_block(number: float, shares: Mapping[str, float]) -> str:
    place = number * _GOLDEN % 1.0
    if place < shares["val"]:
        return "val"
    return "test" if place < shares["val"] + shares["test"] else "train"


def _expressions(
    lesson: Lesson, pictures: EvidenceReader, queries: Mapping[str, StandingQuery] | None
) -> list[Expression] | LeftOut:
    if queries is not None and lesson.query.id not in queries:
        return LeftOut.QUERY_GONE
    views = (WHOLE,) if queries is None else views_of(queries[lesson.query.id])
    image = _image(lesson, pictures)
    if isinstance(image, LeftOut):
        return image
    pixels = _decoded(image, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        return LeftOut.UNREADABLE
    height, width = pixels.shape[:2]
    parts = parts_of(lesson, [pixels_of(view, width=width, height=height) for view in views], width, height)
    if isinstance(parts, LeftOut):
        return parts
    return [_expression(lesson, image, pixels, rect, boxes) for rect, boxes in parts]


def _image(lesson: Lesson, pictures: EvidenceReader) -> bytes | LeftOut:
    """The frame, from the first alert that still has it."""
    why = LeftOut.GONE
    for alert, place, number in lesson.pictures:
        try:
            image = pictures.frame(alert, place, number)
        except BadAlertMessage:
            why = LeftOut.FOREIGN
            continue
        if image is not None:
            return image
    return why


def parts_of(
    lesson: Lesson, rects: list[Rect], width: int, height: int
) -> list[tuple[Rect, tuple[BoxPx, ...]]] | LeftOut:
    """What is cut out of a picture of so many pixels, and the boxes on each part: every view of the query that shows
    some of them whole and none in part. Where there are none, the views that were alerted, or else all."""
    left, top, right, bottom = (min(r[0] for r in rects), min(r[1] for r in rects),
                                max(r[2] for r in rects), max(r[3] for r in rects))  # fmt: skip
    boxes = [
        (max(x0, left), max(y0, top), min(x1, right), min(y1, bottom))
        for x0, y0, x1, y1 in (_in_pixels(box, width, height) for box in lesson.boxes)
        if left <= (x0 + x1) / 2 <= right and top <= (y0 + y1) / 2 <= bottom
    ]
    if lesson.boxes and not boxes:
        return LeftOut.OUTSIDE
    if not boxes:
        centres = [((x0 + x1) / 2 * width, (y0 + y1) / 2 * height) for x0, y0, x1, y1 in lesson.shown]
        alerted = [r for r in rects if any(r[0] <= x <= r[2] and r[1] <= y <= r[3] for x, y in centres)]
        return [(rect, ()) for rect in alerted or rects]
    found = []
    for rect in rects:
        seen = [box for box in boxes if _shares(box, rect)]
        if seen and all(_is_within(box, rect) for box in seen):
            found.append((rect, tuple(_on_part(box, rect) for box in seen)))
    return found or LeftOut.CUT


def _in_pixels(box: Box, width: int, height: int) -> Box:
    """At least one pixel each way."""
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    x0, y0 = min(x0, width - 1.0), min(y0, height - 1.0)
    return x0, y0, max(x1, x0 + 1.0), max(y1, y0 + 1.0)


def _shares(box: Box, rect: Rect) -> bool:
    return min(box[2], rect[2]) > max(box[0], rect[0]) and min(box[3], rect[3]) > max(box[1], rect[1])


def _is_within(box: Box, rect: Rect) -> bool:
    return box[0] >= rect[0] and box[1] >= rect[1] and box[2] <= rect[2] and box[3] <= rect[3]


def _on_part(box: Box, rect: Rect) -> BoxPx:
    x0, y0, x1, y1 = (
        round(value, 2) for value in (box[0] - rect[0], box[1] - rect[1], box[2] - rect[0], box[3] - rect[1])
    )
    return x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)


def _expression(
    lesson: Lesson, image: bytes, pixels: NDArray[np.uint8], rect: Rect, boxes: tuple[BoxPx, ...]
) -> Expression:
    left, top, right, bottom = rect
    part = pixels[top:bottom, left:right]
    if part.shape != pixels.shape or _is_turned(image, pixels):
        image = _encoded(part)
    image_id = hashlib.sha256(image).hexdigest()[:20]
    at = lesson.at.astimezone(UTC)
    stamp = f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z"
    return Expression(
        image_id=image_id,
        file_name=f"{lesson.camera}-{stamp}-{image_id[:8]}.jpg",
        image=image,
        width=right - left,
        height=bottom - top,
        text=lesson.query.text,
        boxes=boxes,
        kind=lesson.query.id,
        alerts=lesson.alerts,
    )


def _decoded(image: bytes, how: int) -> NDArray[np.uint8] | None:
    if not image:
        return None
    try:
        found = cv2.imdecode(np.frombuffer(image, np.uint8), how)
    except cv2.error:
        return None
    return None if found is None else np.asarray(found, np.uint8)


def _is_turned(image: bytes, pixels: NDArray[np.uint8]) -> bool:
    """Whether the file's EXIF makes readers see another picture than the worker, which reads it as stored."""
    as_told = _decoded(image, cv2.IMREAD_COLOR)
    return as_told is None or not np.array_equal(as_told, pixels)


def _encoded(pixels: NDArray[np.uint8]) -> bytes:
    done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done, "an 8-bit picture can always be encoded as JPEG"
    return encoded.tobytes()
