"""Following objects from frame to frame: which box is the one of the last frame, moved on. Pure and deterministic.

As in SORT: a constant-velocity prediction, then the assignment of boxes to predictions that costs least. What is
different here comes from the line. Few frames a second mean long ways (a third of the picture between two frames), so
boxes of one object need not overlap and distances between middles are compared. All objects ride on one belt, so the
camera has a **flow**, learned from what has passed: a newcomer is expected to move with it, and nothing moves
against it. A belt stops and starts, so an object may also be where it was.

Distances are shares of the frame's width and height; velocities are such shares per second of capture time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import lap
import numpy as np
from pydantic import Field

from infra.values import Box, Contract

Vector = tuple[float, float]

MAX_STEP = 0.35
"""Longest way of an object between two frames: a belt that carries it through the picture in three frames."""

MIN_GATE = 0.06
"""A box this near to a prediction may always be its object: the jitter of boxes, and belts that change their speed."""

GATE_OF_STEP = 0.5
"""Part of the way since its last frame by which an object may miss its prediction."""

STAYED_COST = 0.02
"""What it costs to believe that an object that was moving has stopped: more than jitter, less than another object."""

UNSEEN_COST = 10.0
"""More than any way: as many boxes as possible are explained by objects that are known."""

SMOOTHING = 0.6
"""Weight of the newest step in a track's velocity."""

FLOW_SMOOTHING = 0.3
MOVING = 0.02
"""Way per frame from which an object counts as moving, and may tell the flow."""


class Track(Contract):
    """One object as it was last seen. `episode` is the number of the episode that it belongs to."""

    episode: int
    box: Box
    seen_ns: int
    hits: int = Field(default=1, ge=1)
    velocity: Vector = (0.0, 0.0)

    @property
    def centre(self) -> Vector:
        return _centre(self.box)


class Match(NamedTuple):
    """What becomes of the boxes of one frame: by box the index of its track or None, and the flow after it."""

    tracks: tuple[int | None, ...]
    flow: Vector | None


def associate(tracks: Sequence[Track], boxes: Sequence[Box], at_ns: int, flow: Vector | None) -> Match:
    """Which track each box continues. The order of ``boxes`` does not matter to the result, ties apart."""
    if not tracks or not boxes:
        return Match((None,) * len(boxes), flow)
    costs = [[_cost(track, box, at_ns, flow) for box in boxes] for track in tracks]
    found = undisputed(costs) or cheapest(costs)
    return Match(tuple(found), _flow(tracks, boxes, found, at_ns, flow))


def moved(track: Track, box: Box, at_ns: int) -> Track:
    """The track with one more box."""
    seconds = (at_ns - track.seen_ns) / 1e9
    velocity = track.velocity
    if seconds > 0:
        (x, y), (x0, y0) = _centre(box), track.centre
        step = ((x - x0) / seconds, (y - y0) / seconds)
        share = 1.0 if track.hits == 1 else SMOOTHING
        velocity = (_mixed(velocity[0], step[0], share), _mixed(velocity[1], step[1], share))
    return track.model_copy(update={"box": box, "seen_ns": at_ns, "hits": track.hits + 1, "velocity": velocity})


def predicted(track: Track, at_ns: int, flow: Vector | None = None) -> Box:
    """Where the track's box is expected, also outside 0..1. A newcomer moves with the flow."""
    seconds = max(0.0, (at_ns - track.seen_ns) / 1e9)
    vx, vy = _speed(track, flow)
    x0, y0, x1, y1 = track.box
    return (x0 + vx * seconds, y0 + vy * seconds, x1 + vx * seconds, y1 + vy * seconds)


def has_left(track: Track, at_ns: int, flow: Vector | None) -> bool:
    """Whether the middle of the object is expected outside the picture by now."""
    x, y = _centre(predicted(track, at_ns, flow))
    return not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0)


def cheapest(costs: Sequence[Sequence[float]]) -> list[int | None]:
    """The row of each column that makes as many pairs as possible, at the least cost; infinite is not allowed."""
    allowed = np.isfinite(costs)
    # lap, not SciPy: an edge box has no use for its hundred megabytes
    _, _, row_of = lap.lapjv(np.where(allowed, costs, UNSEEN_COST), extend_cost=True)
    return [row if row >= 0 and allowed[row, column] else None for column, row in enumerate(row_of.tolist())]


def undisputed(costs: Sequence[Sequence[float]]) -> list[int | None] | None:
    """As :func:`cheapest` where no two rows find the same column cheapest, which is so on most frames; else None."""
    found: list[int | None] = [None] * len(costs[0])
    for row, line in enumerate(costs):
        least = min(line)
        if least == math.inf:
            continue
        column = line.index(least)
        if found[column] is not None:
            return None
        found[column] = row
    return found


def _cost(track: Track, box: Box, at_ns: int, flow: Vector | None) -> float:
    """Distance to where the object would be, if the box may be it; infinite if not."""
    (x, y), (px, py), (sx, sy) = _centre(box), _centre(predicted(track, at_ns, flow)), track.centre
    missed, stayed = math.hypot(x - px, y - py), math.hypot(x - sx, y - sy)
    way = math.hypot(px - sx, py - sy)
    if _against(flow, (x - sx, y - sy), box):
        return math.inf
    jitter = max(MIN_GATE, 0.75 * max(box[2] - box[0], box[3] - box[1]))
    costs = []
    if missed <= max(jitter, GATE_OF_STEP * way):
        costs.append(missed)
    if stayed <= jitter:
        costs.append(stayed + (STAYED_COST if way > MIN_GATE else 0.0))
    # Nothing is known of its speed, or the belt has started: any way of one frame, but a likely one is better.
    unsure = track.hits == 1 or way <= MIN_GATE
    if not costs and unsure and stayed <= MAX_STEP:
        costs.append(1.0 + min(missed, stayed))
    return min(costs, default=math.inf)


def _against(flow: Vector | None, step: Vector, box: Box) -> bool:
    """Whether a step goes against the belt, by more than boxes jitter."""
    if flow is None:
        return False
    speed = math.hypot(*flow)
    along = (step[0] * flow[0] + step[1] * flow[1]) / speed
    return along < -max(MIN_GATE, 0.5 * max(box[2] - box[0], box[3] - box[1]))


def _speed(track: Track, flow: Vector | None) -> Vector:
    return track.velocity if track.hits > 1 or flow is None else flow


def _flow(
    tracks: Sequence[Track], boxes: Sequence[Box], found: Sequence[int | None], at_ns: int, flow: Vector | None
) -> Vector | None:
    """Learns from objects on their third box or later that keep their direction."""
    for box, number in zip(boxes, found, strict=True):
        if number is None or tracks[number].hits < 2:
            continue
        before, after = tracks[number], moved(tracks[number], box, at_ns)
        seconds = (at_ns - before.seen_ns) / 1e9
        (vx, vy), (bx, by) = after.velocity, before.velocity
        steady = vx * bx + vy * by > 0.5 * math.hypot(vx, vy) * math.hypot(bx, by)
        if steady and math.hypot(vx, vy) * seconds >= MOVING:
            share = 1.0 if flow is None else FLOW_SMOOTHING
            old = flow or (0.0, 0.0)
            flow = (_mixed(old[0], vx, share), _mixed(old[1], vy, share))
    return None if flow is None or math.hypot(*flow) == 0.0 else flow


def _mixed(old: float, new: float, share: float) -> float:
    return old + share * (new - old)


def _centre(box: Sequence[float]) -> Vector:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
