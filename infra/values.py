"""Value types that every contract is made of: ids, boxes, times, delays, and the base class itself."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, model_validator

FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
LAST_TIME = datetime(9999, 1, 1, tzinfo=UTC)
"""Every time lies from the first to before the last: a day more or less, or the wall clock of any time zone, can still
be written as a date."""

MIN_RATE, MAX_RATE = 0.001, 1000
"""Frames per second; who looks less often than every quarter of an hour or so does not watch, and no camera sends more
than the most."""

NO_AREA = 1e-9
"""Share of the frame; a pixel of the largest pictures is ten times as much."""

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _identifier(value: str) -> str:
    if not IDENTIFIER.fullmatch(value):
        raise ValueError(
            f"{value!r} is no valid id: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        )
    return value


def _box(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = value
    if not (0.0 <= x0 <= x1 <= 1.0 and 0.0 <= y0 <= y1 <= 1.0):
        raise ValueError(f"box {value} is not xyxy within 0..1")
    if x0 == x1 or y0 == y1:
        raise ValueError(f"box {value} has no area; give x0,y0,x1,y1 with x0 below x1 and y0 below y1")
    return value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"time {value.isoformat()} has no time zone; write it in UTC with a trailing Z")
    if not FIRST_TIME <= value < LAST_TIME:
        raise ValueError(f"time {value.isoformat()} is not in the years {FIRST_TIME.year} to {LAST_TIME.year - 1}")
    # whole milliseconds, as written to JSON: a value read back equals the value that was sent
    return value.astimezone(UTC).replace(microsecond=value.microsecond // 1000 * 1000)


def _rate(value: float) -> float:
    if not MIN_RATE <= value <= MAX_RATE:
        raise ValueError(
            f"rate {value:g} frames per second is none: give {MIN_RATE:g} (1 in {1 / MIN_RATE:.0f} s) to {MAX_RATE}, "
            "or no rate for all frames; a query that is not wanted is paused"
        )
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]
Box = Annotated[tuple[float, float, float, float], AfterValidator(_box)]
Rate = Annotated[float, AfterValidator(_rate), Field(json_schema_extra={"minimum": MIN_RATE, "maximum": MAX_RATE})]
"""Frames per second of capture time."""
Polygon = tuple[tuple[float, float], ...]
Time = Annotated[
    datetime,
    AfterValidator(_utc),
    PlainSerializer(lambda t: t.isoformat(timespec="milliseconds").replace("+00:00", "Z"), when_used="json"),
]


def region_in_frame(region: Polygon | Box) -> Polygon | Box:
    """The region. Raises ValueError for a polygon of fewer than 3 points, without area or outside the frame."""
    points = [point for point in region if isinstance(point, tuple)]
    if region and not points:
        return region  # a box, which was checked as such
    if len(points) < 3:
        raise ValueError(f"region {region} is no polygon: give 3 or more points, or the box x0,y0,x1,y1")
    if any(min(axis) >= 1 or max(axis) <= 0 for axis in zip(*points, strict=True)):
        raise ValueError(f"region {region} lies outside the frame; points are in 0..1 of its width and height")
    (x, y), far = points[0], max(points, key=lambda point: math.dist(point, points[0]))
    if all(abs((far[0] - x) * (b - y) - (far[1] - y) * (a - x)) <= NO_AREA for a, b in points):
        raise ValueError(f"region {region} has no area: its points lie on one line; give 3 or more that do not")
    return region


def utc_from_ns(ns: int) -> datetime:
    """Nanoseconds since the epoch → aware UTC time (to the microsecond)."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1_000)  # in whole numbers: exact


class Contract(BaseModel):
    """Base of all contract types: immutable; unknown fields and numbers that are not finite refuse to load."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Delay(Contract):
    """A span that a condition must hold: a number of scored frames, or seconds of capture time."""

    value: float = Field(ge=0)
    unit: Literal["frames", "seconds"] = "frames"

    @classmethod
    def parse(cls, text: str) -> Delay:
        """``"3"`` or ``"3 frames"`` → frames, ``"1.5s"`` → seconds. Raises ValueError naming the text."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(f|frames?|s|seconds?)?\s*", text)
        if not match:
            raise ValueError(f"{text!r} is no delay: write a number of frames ('3') or seconds ('1.5s')")
        value, unit = float(match[1]), match[2] or "f"
        return cls(value=value, unit="seconds" if unit.startswith("s") else "frames")

    @model_validator(mode="after")
    def _whole_frames(self) -> Delay:
        if self.unit == "frames" and self.value != int(self.value):
            raise ValueError(f"{self.value} frames: a delay in frames is a whole number; seconds are '{self.value}s'")
        return self

    def __str__(self) -> str:
        return f"{self.value:g}s" if self.unit == "seconds" else f"{int(self.value)} frames"
