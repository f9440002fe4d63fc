"""Does a camera still see? Pictures that repeat, and pictures that were old when they came. Pure, per camera.

A frozen camera sends the same picture again and again while frames keep coming, and everything on it would read as
true for ever. A living camera is told by its sensor noise: two following pictures of a scene at rest differ by some
tenths of a grey level everywhere, a picture that is sent again by none. Now and then it may differ although frozen
(video is coded anew at its key frames), so most of the pictures must be repeats, and all must show the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

GRID = (128, 96)
"""Columns and rows of the pixels that are compared: single ones, as averages would hide the noise."""

BLOCK = 16
"""Side of the blocks that are compared one by one: where one differs, something moves, however still the rest is."""

BLOCK_TIMES = 8.0
"""In the block that differs most, a repeat may differ by so many times the limit."""

SAME_SCENE = (1.5, 6.0)
"""Mean difference of the whole and of the worst block up to which nothing has happened since the first picture."""

REPEATS = 0.7
"""Share of the pictures that must repeat the one before: key frames of a video do not."""

MIN_FRAMES = 5
"""So many equal pictures at least, however slow the camera is."""

Sample = NDArray[np.uint8]
"""(rows, columns) grey levels, of `sample`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionLimits:
    """`frozen_s`: the same picture for so long is a frozen camera; None never asks. `same`: mean difference in grey
    levels up to which a picture repeats the one before; below the camera's noise. `stale_s`: age in s from which a
    picture was too old when it was published; None never asks."""

    frozen_s: float | None = 5.0
    same: float = 0.05
    stale_s: float | None = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What is remembered of a camera: the first picture of the scene, since when, how many came and how many repeat."""

    first: Sample
    last: Sample
    since_ns: int
    frames: int = 1
    repeats: int = 0


def sample(pixels: NDArray[np.uint8]) -> Sample:
    """(h, w, 3) pixels → (96, 128) grey levels, of single pixels."""
    height, width = pixels.shape[:2]
    grid = (min(GRID[0], width), min(GRID[1], height))
    chosen = cv2.resize(np.ascontiguousarray(pixels), grid, interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.cvtColor(chosen, cv2.COLOR_BGR2GRAY), np.uint8)


def difference(one: Sample, other: Sample) -> tuple[float, float]:
    """Mean absolute difference in grey levels: of the whole, and of the block that differs most."""
    if one.shape != other.shape:
        return 255.0, 255.0
    apart = np.asarray(cv2.absdiff(one, other), np.float32)
    rows, columns = (max(1, side // BLOCK) for side in apart.shape)
    blocks = cv2.resize(apart, (columns, rows), interpolation=cv2.INTER_AREA)
    return float(cv2.mean(apart)[0]), float(blocks.max())


def look(
    sight: Sight | None,
    now: Sample,
    *,
    captured_ns: int,
    published_ns: int,
    limits: VisionLimits,
) -> tuple[Sight, str | None]:
    """Takes one picture in: what to remember, and why the camera cannot be trusted, in words, or None if it can."""
    sight = _seen(sight, now, captured_ns, limits)
    age_s = (published_ns - captured_ns) / 1e9
    if limits.stale_s is not None and age_s > limits.stale_s:
        return sight, f"frame is stale (captured {age_s:.1f} s before it was published, limit {limits.stale_s:g} s)"
    lasted_s = (captured_ns - sight.since_ns) / 1e9
    frozen = sight.frames >= MIN_FRAMES and sight.repeats >= REPEATS * (sight.frames - 1)
    if limits.frozen_s is not None and lasted_s >= limits.frozen_s and frozen:
        return sight, (
            f"camera is frozen (the same picture for {lasted_s:.0f} s in {sight.frames} frames, "
            f"limit {limits.frozen_s:g} s)"
        )
    return sight, None


def _seen(sight: Sight | None, now: Sample, captured_ns: int, limits: VisionLimits) -> Sight:
    if sight is None or captured_ns < sight.since_ns:
        return Sight(now, now, captured_ns)
    whole, block = difference(sight.first, now)
    if whole > SAME_SCENE[0] or block > SAME_SCENE[1]:
        return Sight(now, now, captured_ns)
    whole, block = difference(sight.last, now)
    repeat = whole <= limits.same and block <= BLOCK_TIMES * limits.same
    return Sight(sight.first, now, sight.since_ns, sight.frames + 1, sight.repeats + repeat)
