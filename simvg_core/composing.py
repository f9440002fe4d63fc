"""From answers to parts to answers to whole texts: which of the caps is the leftmost, which lies left of the gear.

NumPy only: every engine ends here. Shapes: B frames, N texts, R rows (the parts of all texts), Q answers per row.
Coordinates are fractions of the frame's sides, x to the right and y down. What is surely so counts 1, what is surely
not so 0, and between them a ramp: a thing on the border of "left" is half there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simvg_core import reading as words
from simvg_core.answers import best_first, overlaps
from simvg_core.reading import Reading, read

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
FULL = 0.5
"""A part whose least answer scores this may well be there more often than a model can answer."""
EVEN = 0.5
"""Odds from which on what lies further out than another takes something from it."""
SAME = 0.5
"""Overlap of two boxes that are one thing: it is not beside itself."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How texts are put together from rows. Texts that have a part in common share its row, unless each is about a
    picture of its own."""

    readings: tuple[Reading, ...]
    shared: bool = True

    @classmethod
    def of(cls, texts: Sequence[str], composed: bool, *, shared: bool = True) -> Plan | None:
        """None where each text is a row of its own; that is so for a model without `composed_answers`."""
        if not composed:
            return None
        readings = tuple(map(read, texts))
        return cls(readings, shared) if any(one.composed for one in readings) else None

    @cached_property
    def rows(self) -> list[str]:
        """What a model is asked, R texts."""
        asked = [text for one in self.readings for text in one.texts]
        return list(dict.fromkeys(asked)) if self.shared else asked

    @cached_property
    def places(self) -> list[NDArray[np.intp]]:
        """Rows of each text, in the order of `Reading.texts`."""
        if self.shared:
            place = {text: row for row, text in enumerate(self.rows)}
            return [np.array([place[text] for text in one.texts], np.intp) for one in self.readings]
        counts = np.cumsum([0, *(len(one.texts) for one in self.readings)])
        return [np.arange(start, end) for start, end in pairwise(counts)]

    def floors(self, floors: Floats) -> Floats:
        """Lowest score of a row that can make a difference, (R,), of those of texts (N,)."""
        found = np.ones(len(self.rows), np.float32)
        for reading, rows, floor in zip(self.readings, self.places, floors.tolist(), strict=True):
            np.minimum.at(found, rows, np.array(_floors(reading, floor), np.float32))
        return found

    def asked(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(..., R) → (..., N): whether any row of a text was asked."""
        return np.stack([rows[..., own].any(axis=-1) for own in self.places], axis=-1)

    def compose(
        self,
        scores: Floats,
        boxes: Floats,
        max_iou: float | None,
        texts: Sequence[int] | NDArray[np.intp] | None = None,
    ) -> tuple[Floats, Floats]:
        """Answers of rows → of texts.

        Args:
            scores: (B, R, Q) probabilities.
            boxes: (B, R, Q, 4) cxcywh, normalised.
            max_iou: overlap above which two boxes of a part are one thing; None: none are.
            texts: places of those wanted, in this order; None: all.

        Returns:
            (B, N, Q) probabilities and (B, N, Q, 4) boxes.
        """
        wanted = range(len(self.readings)) if texts is None else np.asarray(texts, np.intp).tolist()
        first = np.array([self.places[text][0] for text in wanted], np.intp)
        found, places = scores[:, first], boxes[:, first]
        for column, text in enumerate(wanted):
            if self.readings[text].composed:
                rows = self.places[text]
                found[:, column], places[:, column] = _answer(
                    self.readings[text], scores[:, rows], boxes[:, rows], max_iou
                )
        return found, places


def parts_of(text: str, floor: float, composed: bool) -> dict[str, float]:
    """What is asked of each of several pictures that show a text's region in pieces, and from which score on it makes a
    difference: the text itself where it is not composed. What may lie beyond the utmost or nearer than the nearest
    makes one from even odds on, and may lie in another picture."""
    reading = read(text).bare
    if not composed or not reading.composed:
        return {text: floor}
    found: dict[str, float] = {}
    for part, lowest in zip(reading.texts, _floors(reading, floor), strict=True):
        found[part] = min(found.get(part, 1.0), lowest, EVEN if reading.rivals else 1.0)
    return found


def together(text: str, parts: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> tuple[Floats, Floats]:
    """Of `parts_of` a text, each part's scores (n,) and boxes (n, 4) xyxy → the text's (m,) and (m, 4), best first.

    There may be any number of each. Boxes are normalised to the region that all of them lie in.
    """
    plan = Plan((read(text).bare,), shared=False)
    found = [parts[row] for row in plan.rows]
    most = max(1, *(np.size(scores) for scores, _ in found))
    scores, corners = np.zeros((1, len(found), most), np.float32), np.zeros((1, len(found), most, 4), np.float32)
    for row, (own, boxes) in enumerate(found):
        count = np.size(own)
        scores[0, row, :count], corners[0, row, :count] = own, np.reshape(boxes, (count, 4))
    low, high = corners[..., :2], corners[..., 2:]
    composed, places = plan.compose(scores, np.concatenate([(low + high) / 2, high - low], axis=-1), None)
    score, (centre, side) = composed[0, 0], np.split(places[0, 0], 2, axis=-1)
    order = np.argsort(-score, kind="stable")
    order = order[side[order].min(axis=-1) > 0]  # the others are none, and only filled the rows up
    return score[order], np.concatenate([centre - side / 2, centre + side / 2], axis=-1)[order]


def rows_of(texts: Sequence[str], composed: bool) -> list[str]:
    """What a model is asked for these texts."""
    plan = Plan.of(texts, composed)
    return list(texts) if plan is None else plan.rows


def changed(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[int]]:
    """From the rows that a model has compiled to those that it needs: what to compile and append, and then the places
    of those needed, in their order."""
    place = {row: number for number, row in enumerate(before)}
    missing = [row for row in dict.fromkeys(after) if row not in place]
    place |= {row: len(before) + number for number, row in enumerate(missing)}
    return missing, [place[row] for row in after]


def _floors(text: Reading, floor: float) -> list[float]:
    """Of each of a text's rows; an anchor's score counts by its root."""
    own = [floor] if text.whole is None else [floor, floor]
    return own if text.anchor is None else own + _floors(text.anchor, floor * floor)


def _answer(text: Reading, scores: Floats, boxes: Floats, max_iou: float | None) -> tuple[Floats, Floats]:
    """Of one text, (B, r, Q) and (B, r, Q, 4) of its rows → (B, Q) and (B, Q, 4)."""
    found, places = _apart(scores[:, 0], boxes[:, 0], max_iou)
    full = found.min(axis=-1, keepdims=True, initial=1.0) >= FULL
    if text.place:
        found = found * _placed(text.place, places)
    if text.relation is not None and text.anchor is not None:
        others = 1 if text.whole is None else 2
        beside = _answer(text.anchor, scores[:, others:], boxes[:, others:], max_iou)
        found = _related(text.relation, found, places, *beside)
    if text.extreme is not None:
        found = found * _unrivalled(found, _rank(text.extreme, places))
    if text.whole is not None:
        found = np.where(full, scores[:, 1], found)
        places = np.where(full[..., None], boxes[:, 1], places)
    return found, places


def _apart(scores: Floats, boxes: Floats, max_iou: float | None) -> tuple[Floats, Floats]:
    """Best first, a worse box of the same thing with the score 0."""
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    kept = np.ones(scores.shape, bool)
    _, order, kept = best_first(np.concatenate([low, high], axis=-1), scores, kept, max_iou)
    return (
        np.take_along_axis(scores, order, axis=1) * kept,
        np.take_along_axis(boxes, order[..., None], axis=1),
    )


def _ramp(value: Any, sure: float, not_at_all: float) -> Any:
    """1 up to `sure`, 0 from `not_at_all` on."""
    return np.clip((not_at_all - value) / (not_at_all - sure), 0, 1)


def _placed(place: Sequence[str], boxes: Floats) -> Any:
    x, y = boxes[..., 0], boxes[..., 1]
    share = np.ones(x.shape, np.float32)
    for side in place:
        if side == words.MIDDLE:
            share = share * _ramp(np.maximum(abs(x - 0.5), abs(y - 0.5)), *CENTRE)
        else:
            distance = {words.LEFT: x, words.RIGHT: 1 - x, words.TOP: y, words.BOTTOM: 1 - y}[side]
            share = share * _ramp(distance, *SIDE)
    return share


def _related(how: str, scores: Floats, boxes: Floats, beside: Floats, beside_boxes: Floats) -> Floats:
    """To whichever anchor it holds of best. It is never more probable than the thing itself. That the anchor is there
    is what the text takes for granted, and what makes a model doubt, a dark picture or a far view, makes it doubt both:
    so the anchor's score counts by its root, and only where it is the lower of the two."""
    way = boxes[:, :, None, :2] - beside_boxes[:, None, :, :2]  # (B, Q, Q', 2) from the anchors
    if how == words.NEXT_TO:
        distance = np.hypot(way[..., 0], way[..., 1])
        nearest = np.stack(
            [_unrivalled(scores, distance[:, :, anchor]) for anchor in range(distance.shape[2])], axis=-1
        )
        share = nearest * _ramp(distance, *REACH)
    else:
        dx, dy = way[..., 0], way[..., 1]
        along, across = {
            words.LEFT_OF: (-dx, dy), words.RIGHT_OF: (dx, dy), words.ABOVE: (-dy, dx), words.BELOW: (dy, dx)
        }[how]  # fmt: skip
        slant = abs(across) / np.maximum(along, 1e-6)
        share = (1 - _ramp(along, 0.0, ASIDE)) * _ramp(slant, *SLANT)
    share = np.where(_same(boxes, beside_boxes), 0, share)
    both = np.minimum(scores[:, :, None], np.sqrt(beside[:, None]))
    found: Floats = (both * share).max(axis=-1, initial=0.0)
    return found


def _same(boxes: Floats, others: Floats) -> Any:
    """(B, Q, 4), (B, Q', 4) → (B, Q, Q')."""
    both = np.concatenate([boxes, others], axis=1)
    low, high = both[..., :2] - both[..., 2:] / 2, both[..., :2] + both[..., 2:] / 2
    count = boxes.shape[1]
    return overlaps(np.concatenate([low, high], axis=-1))[:, :count, count:] > SAME


def _rank(extreme: str, boxes: Floats) -> Any:
    """Lowest is utmost."""
    x, y, width, height = np.moveaxis(boxes, -1, 0)
    return {
        words.LEFTMOST: x, words.RIGHTMOST: -x, words.TOPMOST: y, words.LOWEST: -y,
        words.LARGEST: -width * height, words.SMALLEST: width * height,
    }[extreme]  # fmt: skip


def _unrivalled(scores: Floats, rank: Any) -> Any:
    """(B, Q): how surely none of those further out is there; one below even odds is no rival."""
    further = rank[:, None, :] < rank[:, :, None]  # (B, Q, Q'): whether q' lies further out than q
    spared = np.minimum(1, (1 - scores) / (1 - EVEN))[:, None]
    return np.where(further, spared, 1).prod(axis=-1)
