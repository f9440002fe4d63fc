"""What "left of", "at the top", "next to" and "leftmost" mean for boxes, and how far it holds. NumPy only.

Shapes: B frames, N texts, Q answers of a text, K of what it is related to. Boxes are cxcywh, in fractions of the
frame's sides, x to the right and y down. What is surely so counts 1, what is surely not so 0, and between them lies a
ramp: a thing on the border of "left" is half there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simvg_core.answers import best_first, overlaps
from simvg_core.box_arrays import cxcywh_to_xyxy

Floats = NDArray[np.float32]

SIDE = (0.42, 0.55)
"""Distance from a side within which a thing is surely at it, and beyond which surely not."""
CENTRE = (0.14, 0.24)
"""Distance from the middle, along x or y, likewise."""
ASIDE = 0.07
"""How far a thing must lie from another to be surely beside it."""
SLANT = (0.8, 1.6)
"""Of the way to the other, across over along: how far a thing that is left of another may be above or below it."""
REACH = (0.3, 0.45)
"""Distance at which a thing is still, and no longer, next to another."""
EVEN = 0.5
"""Odds from which on what lies further out than another takes something from it."""
SAME = 0.5
"""Overlap of two boxes that are one thing: it is not beside itself."""
FAINT = 0.05
"""A thing that scores less in every colour is none."""


def _ramp(value: Any, sure: float, not_at_all: float) -> Any:
    """1 up to `sure`, 0 from `not_at_all` on."""
    return np.clip((not_at_all - value) / (not_at_all - sure), 0, 1)


def apart(scores: Floats, boxes: Floats, max_iou: float | None) -> tuple[Floats, Floats]:
    """(B, N, Q) and (B, N, Q, 4), each text's best first; a worse box that overlaps a better one by more than `max_iou`
    (None: by however much) is the same thing, and gets the score 0."""
    flat, places = scores.reshape(-1, scores.shape[-1]), boxes.reshape(-1, *boxes.shape[-2:])
    _, order, kept = best_first(cxcywh_to_xyxy(places), flat, np.ones(flat.shape, bool), max_iou)
    found = np.take_along_axis(flat, order, axis=1) * kept
    return found.reshape(scores.shape), np.take_along_axis(places, order[..., None], axis=1).reshape(boxes.shape)


def at_sides(boxes: Floats, sides: Floats) -> Any:
    """How far (B, N, Q, 4) boxes lie at the sides that their texts name, (B, N, Q).

    Args:
        sides: (N, 3), -1 for left and 1 for right, -1 for top and 1 for bottom, 1 for the middle; 0 for none.
    """
    x, y = boxes[..., 0], boxes[..., 1]
    share = np.where(sides[:, 2, None] == 0, 1, _ramp(np.maximum(abs(x - 0.5), abs(y - 0.5)), *CENTRE))
    for value, side in ((x, sides[:, 0, None]), (y, sides[:, 1, None])):
        share = share * np.where(side == 0, 1, _ramp(np.where(side < 0, value, 1 - value), *SIDE))
    return share


def in_direction(boxes: Floats, others: Floats, directions: Floats) -> Any:
    """How far (B, N, Q, 4) boxes lie in a direction, (N, 2) unit vectors, from (B, N, K, 4) others, (B, N, Q, K)."""
    way = _way(boxes, others)
    dx, dy = directions[:, 0, None, None], directions[:, 1, None, None]
    along = way[..., 0] * dx + way[..., 1] * dy
    slant = abs(way[..., 0] * dy - way[..., 1] * dx) / np.maximum(along, 1e-6)
    return (1 - _ramp(along, 0.0, ASIDE)) * _ramp(slant, *SLANT)


def nearest(scores: Floats, boxes: Floats, others: Floats) -> Any:
    """How far each of (B, N, Q, 4) boxes with (B, N, Q) scores is the nearest to each of (B, N, K, 4) others, and near,
    (B, N, Q, K)."""
    way = _way(boxes, others)
    distance = np.hypot(way[..., 0], way[..., 1])
    first = unrivalled(scores[:, :, None], distance.swapaxes(-1, -2)).swapaxes(-1, -2)
    return first * _ramp(distance, *REACH)


def on_sides(boxes: Floats, others: Floats, sides: Floats) -> Any:
    """How far (B, N, Q, 4) boxes lie on (B, N, K, 4) others, at the sides of these that their texts name, (N, 3) as of
    `at_sides`; (B, N, Q, K)."""
    inside = _way(boxes, others) / np.maximum(others[..., None, :, 2:], 1e-6) + 0.5  # 0 to 1 across the other
    shape = (*inside.shape[:2], -1, 2)
    share = at_sides(inside.reshape(shape), sides).reshape(inside.shape[:-1])
    return np.where(((inside >= 0) & (inside <= 1)).all(axis=-1), share, 0)


def same(boxes: Floats, others: Floats) -> Any:
    """Which of (B, N, Q, 4) boxes are the same thing as which of (B, N, K, 4) others, (B, N, Q, K)."""
    return overlaps(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(others)) > SAME


def being(scores: Floats, boxes: Floats, others: Floats, other_boxes: Floats) -> Floats:
    """Of things that are one of the others themselves, (B, N, Q): whichever of these is the most probable."""
    found: Floats = (_both(scores, others) * same(boxes, other_boxes)).max(axis=-1, initial=0.0)
    return found


def related(scores: Floats, boxes: Floats, others: Floats, other_boxes: Floats, share: Any) -> Floats:
    """Of a relation that holds so far, (B, N, Q, K): (B, N, Q), of whichever of the others it holds best.

    A thing that is related is never more probable than the thing. That the other is there is what a text takes for
    granted, and what makes a model doubt, a dark picture or a far view, makes it doubt both: so the other's score
    counts by its root, and only where it is the lower of the two.
    """
    itself = same(boxes, other_boxes)
    found: Floats = (_both(scores, others) * np.where(itself, 0, share)).max(axis=-1, initial=0.0)
    return found


def _both(scores: Floats, others: Floats) -> Any:
    return np.minimum(scores[..., None], np.sqrt(others[..., None, :]))


def rank(boxes: Floats, weights: Floats) -> Any:
    """How far out (B, N, Q, 4) boxes are, (B, N, Q), the utmost lowest; `weights` (N, 3) of x, y and area."""
    x, y, width, height = np.moveaxis(boxes, -1, 0)
    return x * weights[:, 0, None] + y * weights[:, 1, None] + width * height * weights[:, 2, None]


def unrivalled(scores: Any, ranks: Any) -> Any:
    """How surely none further out than each is there, (..., Q); one below even odds is no rival."""
    further = ranks[..., None, :] < ranks[..., :, None]  # (..., Q, Q'): whether q' lies further out than q
    return np.where(further, _spared(scores)[..., None, :], 1).prod(axis=-1)


def of_another_color(scores: Floats, boxes: Floats) -> tuple[Floats, Floats]:
    """Of one frame's answers to a thing in each colour, and last to what such things lie on: how surely each thing has
    another colour than two others that lie with it, and shares its own with none. The surest Q of them.

    Args:
        scores: (C + 1, Q); boxes: (C + 1, Q, 4).

    Returns:
        (Q,) and (Q, 4); zeros where there are fewer, NaN where an answer is no number.
    """
    found, places = np.zeros(scores.shape[1], np.float32), np.zeros(boxes.shape[1:], np.float32)
    if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
        return found + np.float32(np.nan), places
    things, chances = _in_colors(scores[:-1], boxes[:-1])
    if len(things) < 3:
        return found, places
    home = _homes(things, scores[-1], boxes[-1])
    mates = (home[:, None] == home) & (home >= 0) & ~np.eye(len(things), dtype=bool)
    theirs = np.where(mates[..., None], chances, 0)  # (T, T', C)
    usual = np.partition(theirs, -2, axis=1)[:, -2]  # (T, C): of the second surest with that colour
    alone = _spared(theirs).prod(axis=1)
    both = np.minimum(chances[:, :, None], usual[:, None, :]) * alone[:, :, None] * _spared(chances)[:, None, :]
    odd = np.where(np.eye(chances.shape[1], dtype=bool), 0, both).max(axis=(1, 2))
    order = np.argsort(-odd, kind="stable")[: len(found)]
    found[: len(order)], places[: len(order)] = odd[order], things[order]
    return found, places


def in_state(scores: Floats, boxes: Floats, odds: Floats) -> Floats:
    """How surely each of (Q,) things is there and in a state, by the log-odds of it that each cell gives, (P,) = G·G
    row by row: their mean in the inner half of a box."""
    side = math.isqrt(len(odds))
    middles = (np.arange(side) + 0.5) / side
    reach = np.maximum(boxes[:, 2:] / 2, 1 / side) / 2
    inside = abs(middles - boxes[:, :2, None].clip(0, 1)) <= reach[..., None] + 1e-6  # (Q, 2, G)
    cells = (inside[:, 1, :, None] & inside[:, 0, None, :]).reshape(len(boxes), -1)
    mean = (cells * odds).sum(axis=1) / np.maximum(cells.sum(axis=1), 1)
    found: Floats = np.minimum(scores, 1 / (1 + np.exp(-mean.astype(np.float32))))
    return found


def _in_colors(scores: Floats, boxes: Floats) -> tuple[Floats, Floats]:
    """Answers (C, Q) and (C, Q, 4) → things, each once, (T, 4), and how surely each has which colour, (T, C)."""
    colors, _ = kept = (scores >= FAINT).nonzero()
    order = np.argsort(-scores[kept], kind="stable")
    colors, own, places = colors[order], scores[kept][order], boxes[kept][order]
    alike = same(places[None, None], places[None, None])[0, 0]
    first: list[int] = []
    thing = np.zeros(len(own), np.intp)
    for number in range(len(own)):
        known = np.flatnonzero(alike[number, first])
        thing[number] = known[0] if len(known) else len(first)
        first += [] if len(known) else [number]
    chances = np.zeros((len(first), len(scores)), np.float32)
    np.maximum.at(chances, (thing, colors), own)
    return places[first], chances


def _homes(things: Floats, scores: Floats, boxes: Floats) -> NDArray[np.intp]:
    """Which of (Q,) grounds each of (T, 4) things lies on, the one whose middle is nearest; -1: on none. Where there
    is no ground all things lie together, on 0."""
    sure, places = apart(scores[None, None], boxes[None, None], SAME)
    grounds = places[0, 0, sure[0, 0] >= EVEN]
    if not len(grounds):
        return np.zeros(len(things), np.intp)
    way = abs(_way(things[None, None], grounds[None, None])[0, 0]) / np.maximum(grounds[:, 2:], 1e-6)
    off = way.max(axis=-1)  # (T, G); beyond a half it lies outside
    home: NDArray[np.intp] = np.where(off.min(axis=1) <= 0.5, off.argmin(axis=1), -1)
    return home


def _spared(scores: Any) -> Any:
    """How surely none is there, of which each is so probable: one below even odds takes nothing from another."""
    return np.minimum(1, (1 - scores) / (1 - EVEN))


def _way(boxes: Floats, others: Floats) -> Any:
    """(B, N, Q, K, 2) from the others to the boxes."""
    return boxes[..., :, None, :2] - others[..., None, :, :2]
