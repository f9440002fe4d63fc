"""From answers to parts to answers to whole texts: which of the caps is the leftmost, which lies left of the gear.

NumPy only: every engine ends here. Shapes: B frames, N texts, R rows (the parts of all texts), Q answers per row. What
a place, relation or extreme means for boxes: :mod:`.geometry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from simvg_core import geometry
from simvg_core import reading as words
from simvg_core.derived import Cells, Derived, asked_for, is_derived
from simvg_core.reading import Reading, read
from simvg_core.sides import ABOVE, BELOW, BOTTOM, LEFT, LEFT_OF, MIDDLE, NEXT_TO, RIGHT, RIGHT_OF, TOP

Floats = NDArray[np.float32]
Places = NDArray[np.intp]

PLANS = 64
"""Sets of texts whose plans are remembered."""
ANCHOR_POWER = 2
"""What a thing is related to counts by its root (`geometry.related`)."""
FULL = 0.5
"""A part whose least answer scores this may well be there more often than a model can answer."""

_SIDES = {
    LEFT: (0, -1), RIGHT: (0, 1), TOP: (1, -1), BOTTOM: (1, 1), MIDDLE: (2, 1),
}  # fmt: skip
_DIRECTIONS = {LEFT_OF: (-1, 0), RIGHT_OF: (1, 0), ABOVE: (0, -1), BELOW: (0, 1)}
_EXTREMES = {
    words.LEFTMOST: (1, 0, 0), words.RIGHTMOST: (-1, 0, 0), words.TOPMOST: (0, 1, 0), words.LOWEST: (0, -1, 0),
    words.LARGEST: (0, 0, -1), words.SMALLEST: (0, 0, 1),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Table:
    """Of n readings, what their answers are made of: rows (-1: none) and the numbers that `geometry` takes."""

    part: Places
    whole: Places
    anchor: Places  # places in the table of anchors
    sides: Floats  # (n, 3); zeros: none
    on: Floats  # (n, 3): sides of what it lies on; zeros: on nothing
    directions: Floats  # (n, 2); zeros: none
    near: NDArray[np.bool_]
    being: NDArray[np.bool_]
    extremes: Floats  # (n, 3); zeros: none

    @classmethod
    def of(cls, readings: Sequence[Reading], rows: Sequence[Places], anchors: Sequence[int]) -> _Table:
        sides, on = np.zeros((2, len(readings), 3), np.float32)
        for number, one in enumerate(readings):
            for axis, side in (_SIDES[name] for name in one.place):
                (on if one.relation == words.ON else sides)[number, axis] = side
        relations = [one.relation for one in readings]
        both = list(zip(readings, rows, strict=True))
        return cls(
            np.array([own[0] for own in rows], np.intp),
            np.array([-1 if one.whole is None else own[len(one.parts)] for one, own in both], np.intp),
            np.array(anchors, np.intp),
            sides,
            on,
            np.array([_DIRECTIONS.get(how or "", (0, 0)) for how in relations], np.float32).reshape(-1, 2),
            np.array([how == NEXT_TO for how in relations], bool),
            np.array([how == words.BEING for how in relations], bool),
            np.array([_EXTREMES.get(one.extreme or "", (0, 0, 0)) for one in readings], np.float32).reshape(-1, 3),
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """How texts are put together from rows. Texts that have a part in common share its row, unless each is about a
    picture of its own: then nothing is asked later than the rest either."""

    readings: tuple[Reading, ...]
    shared: bool = True
    cells: Cells = ()  # kinds whose states the cells of a frame tell

    @classmethod
    def of(cls, texts: Sequence[str], composed: Cells | None, *, shared: bool = True) -> Plan | None:
        """None where each text is a row of its own; that is so for a model without `composed_answers`.

        Args:
            composed: `SimVGConfig.composing`.
        """
        return None if composed is None else _plan(tuple(texts), shared, composed)

    @cached_property
    def rows(self) -> list[str]:
        """What a model is asked, R texts. Where they are shared, `first` of them are asked of every frame, and the
        others, wholes, of one that `doubted` names."""
        if not self.shared:
            return [text for one in self.readings for text in self._asked(one)]
        wholes = (whole for one in self.readings for whole in one.wholes)
        return list(dict.fromkeys([*self._parts, *wholes]))

    @cached_property
    def first(self) -> int:
        """How many rows, from the first on, are parts: F."""
        return len(self._parts)

    @cached_property
    def _parts(self) -> list[str]:
        return list(dict.fromkeys(row for one in self.readings for part in one.parts for row in self._for(part)))

    def _for(self, part: str) -> tuple[str, ...]:
        return asked_for(part, self.cells)

    def _asked(self, reading: Reading) -> tuple[str, ...]:
        """What a model is asked for a reading: for its parts, then its wholes."""
        return (*(row for part in reading.parts for row in self._for(part)), *reading.wholes)

    @cached_property
    def places(self) -> list[Places]:
        """Rows of each text: what is asked for its parts, then its wholes."""
        asked = list(map(self._asked, self.readings))
        if self.shared:
            place = {text: row for row, text in enumerate(self.rows)}
            return [np.array([place[text] for text in own], np.intp) for own in asked]
        counts = np.cumsum([0, *map(len, asked)])
        return [np.arange(start, end) for start, end in pairwise(counts)]

    @cached_property
    def _elements(self) -> tuple[list[Places], list[Derived]]:
        """Of each text, where the answers to its parts and to its wholes stand: R + k for the k-th of the D parts that
        are told by others; and these D."""
        found, derived = [], dict[Derived, int]()
        for one, rows in zip(self.readings, self.places, strict=True):
            left, own = rows.tolist(), []
            for part in one.parts:
                count = len(self._for(part))
                asked, left = tuple(left[:count]), left[count:]
                other = Derived.of(part, asked, self.cells)
                own.append(asked[0] if other is None else len(self.rows) + derived.setdefault(other, len(derived)))
            found.append(np.array([*own, *left], np.intp))
        return found, list(derived)

    def floors(self, floors: Floats) -> Floats:
        """From which scores on the texts matter, (N,) → from which on its part makes a difference to each, and from
        which on what that is related to, (2, N)."""
        return np.stack([floors, floors**ANCHOR_POWER])

    def reaching(self, parts: Floats, bounds: Floats) -> NDArray[np.bool_]:
        """Of what is said of the parts, (..., F): the texts for which neither their part nor what it is related to lies
        below its bound, (2, N); (..., N)."""
        part, beside = self._needs
        derived = [one.most(parts) for one in self._elements[1]]
        with_none = np.concatenate([parts, *derived, np.full_like(parts[..., :1], np.inf)], axis=-1)
        # NaN is not low: it must not pass for cold
        found: NDArray[np.bool_] = ~((with_none[..., part] < bounds[0]) | (with_none[..., beside] < bounds[1]))
        return found

    def needed(self, parts: Floats, bounds: Floats) -> NDArray[np.bool_]:
        """What is asked for the parts of those texts, (..., F)."""
        *frames, texts = self.reaching(parts, bounds).nonzero()
        derived = self._elements[1]
        found = np.zeros((*parts.shape[:-1], self.first + len(derived) + 1), bool)
        for rows in self._needs:
            found[(*frames, rows[texts])] = True
        for number, one in enumerate(derived):
            least = min(
                bound[need == self.first + number].min(initial=np.inf)
                for bound, need in zip(bounds, self._needs, strict=True)
            )
            found[..., one.rows] |= one.asked(parts, least) & found[..., self.first + number, None]
        return found[..., : self.first]

    def doubted(self, scores: Floats, rows: Places) -> Places:
        """Of one frame's answers (M, Q) to the rows (M,) of parts: the wholes to ask as well, for these parts may be
        there more often than a model can answer. Seldom any."""
        full: Places = rows[scores.min(axis=-1, initial=1.0) >= FULL]
        if not len(full):
            return full
        parts, wholes = self._wholes
        doubted, wanted = np.zeros((2, len(self.rows)), bool)  # sets as masks: numpy's take ten times as long
        doubted[full] = True
        wanted[wholes[doubted[parts]]] = True
        wanted[rows] = False
        return np.flatnonzero(wanted)

    def matter(self, scores: Floats, rows: Places, floors: Floats) -> NDArray[np.bool_]:
        """Of one frame's answers (M, Q) to the rows (M,): the texts that may score what matters, (N,), by `floors` of
        theirs, (2, N). Of a part that is there so often that the whole decides any text may."""
        parts = rows < self.first
        answers, best = scores[parts], np.full(self.first, -np.inf, np.float32)
        best[rows[parts]] = np.where(answers.min(axis=-1) >= FULL, np.inf, answers.max(axis=-1))
        return self.reaching(best, floors)

    @cached_property
    def _needs(self) -> tuple[Places, Places]:
        """Of each text its part, and the part that it is related to: F + k where that is the k-th of those told by
        others, F + D where there is none."""
        table, anchors = self._tables
        related = np.flatnonzero(table.anchor >= 0)
        beside = np.full(len(table.part), len(self.rows) + len(self._elements[1]), np.intp)
        beside[related] = anchors.part[table.anchor[related]]
        wholes = len(self.rows) - self.first
        part, beside = (np.where(own < self.first, own, own - wholes) for own in (table.part, beside))
        return part, beside

    @cached_property
    def _wholes(self) -> tuple[Places, Places]:
        """Each part that has a whole, with that whole."""
        pairs = [(table.part[table.whole >= 0], table.whole[table.whole >= 0]) for table in self._tables]
        parts, wholes = (np.concatenate(column) for column in zip(*pairs, strict=True))
        return parts, wholes

    def compose(
        self,
        scores: Floats,
        boxes: Floats,
        max_iou: float | None,
        texts: Sequence[int] | NDArray[np.intp] | None = None,
        cells: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Answers of rows → of texts.

        Args:
            scores: (B, R, Q) probabilities.
            boxes: (B, R, Q, 4) cxcywh, normalised.
            max_iou: overlap above which two boxes of a part are one thing; None: none are.
            texts: places of those wanted, in this order; None: all.
            cells: (B, R or 1, P, S) log-odds of states in each cell; of a plan with `cells`.

        Returns:
            (B, N, Q) probabilities and (B, N, Q, 4) boxes.
        """
        table, anchors = self._tables
        wanted = np.arange(len(self.readings)) if texts is None else np.asarray(texts, np.intp)
        scores, boxes = self._with_derived(scores, boxes, wanted, cells)
        found, places = scores[:, table.part[wanted]], boxes[:, table.part[wanted]]
        columns = np.flatnonzero(self._composed[wanted])
        if not len(columns):
            return found, places
        chosen = wanted[columns]
        beside = np.unique(table.anchor[chosen])
        beside = beside[beside >= 0]
        used = np.unique(np.concatenate([table.part[chosen], anchors.part[beside]]))
        slots = np.zeros(scores.shape[1], np.intp)
        slots[used] = np.arange(len(used))
        apart = geometry.apart(scores[:, used], boxes[:, used], max_iou)
        settle = partial(_settled, scores, boxes, apart, slots)
        others = settle(anchors, beside, None, beside)
        found[:, columns], places[:, columns] = settle(table, chosen, others, beside)
        return found, places

    def _with_derived(
        self, scores: Floats, boxes: Floats, texts: Places, cells: Floats | None
    ) -> tuple[Floats, Floats]:
        """Answers of rows, and behind them those of the parts told by others that these texts need: (B, R + D, Q) and
        (B, R + D, Q, 4)."""
        derived = self._elements[1]
        if not derived:
            return scores, boxes
        needed = set(np.concatenate([need[texts] for need in self._needs]).tolist())
        more = np.zeros((len(scores), len(derived), scores.shape[2]), np.float32)
        places = np.zeros((*more.shape, 4), np.float32)
        for number, one in enumerate(derived):
            if self.first + number in needed:
                for frame in range(len(scores)):
                    own = None if cells is None else cells[frame]
                    more[frame, number], places[frame, number] = one.told(scores[frame], boxes[frame], own)
        return np.concatenate([scores, more], axis=1), np.concatenate([boxes, places], axis=1)

    @cached_property
    def _composed(self) -> NDArray[np.bool_]:
        return np.array([one.composed or is_derived(one.part, self.cells) for one in self.readings], bool)

    @cached_property
    def _tables(self) -> tuple[_Table, _Table]:
        """Of the texts, and of what they are related to."""
        known: dict[tuple[Reading, tuple[int, ...]], int] = {}
        anchors = []
        elements = self._elements[0]
        for one, rows in zip(self.readings, elements, strict=True):
            parts = len(one.parts)
            own = (*rows[1:parts].tolist(), *rows[parts + (one.whole is not None) :].tolist())
            anchors.append(-1 if one.anchor is None else known.setdefault((one.anchor, own), len(known)))
        beside = _Table.of([one for one, _ in known], [np.array(rows, np.intp) for _, rows in known], [-1] * len(known))
        return _Table.of(self.readings, elements, anchors), beside


def _settled(
    scores: Floats,
    boxes: Floats,
    apart: tuple[Floats, Floats],
    slots: Places,
    table: _Table,
    chosen: Places,
    others: tuple[Floats, Floats] | None,
    beside: Places,
) -> tuple[Floats, Floats]:
    """Of the chosen readings of a table, (B, n, Q) and (B, n, Q, 4).

    Args:
        apart: the parts' answers, a thing once; `slots` says where a row stands among them.
        others: answers to the anchors that stand in `beside`, which is sorted.
    """
    own = slots[table.part[chosen]]
    found, places = apart[0][:, own], apart[1][:, own]
    full = found.min(axis=-1, keepdims=True, initial=1.0) >= FULL
    if table.sides[chosen].any():
        found = found * geometry.at_sides(places, table.sides[chosen])
    if others is not None:
        aimed, on = (rows[chosen].any(axis=1) for rows in (table.directions, table.on))
        near, being = table.near[chosen], table.being[chosen]
        for relation, rows in (("aimed", aimed), ("near", near), ("on", on), ("being", being)):
            now = np.flatnonzero(rows)
            if not len(now):
                continue
            at = np.searchsorted(beside, table.anchor[chosen[now]])
            thing, other = (found[:, now], places[:, now]), (others[0][:, at], others[1][:, at])
            if relation == "being":
                found[:, now] = geometry.being(*thing, *other)
                continue
            if relation == "aimed":
                share = geometry.in_direction(thing[1], other[1], table.directions[chosen[now]])
            elif relation == "near":
                share = geometry.nearest(*thing, other[1])
            else:
                share = geometry.on_sides(thing[1], other[1], table.on[chosen[now]])
            found[:, now] = geometry.related(*thing, *other, share)
    now = np.flatnonzero(table.extremes[chosen].any(axis=1))
    if len(now):
        ranks = geometry.rank(places[:, now], table.extremes[chosen[now]])
        found[:, now] *= geometry.unrivalled(found[:, now], ranks)
    now = np.flatnonzero(table.whole[chosen] >= 0)
    whole, doubted = table.whole[chosen[now]], full[:, now]
    found[:, now] = np.where(doubted, scores[:, whole], found[:, now])
    places[:, now] = np.where(doubted[..., None], boxes[:, whole], places[:, now])
    return found, places


@lru_cache(PLANS)
def _plan(texts: tuple[str, ...], shared: bool, cells: Cells) -> Plan | None:
    """Kept: a thousand texts take longer to read than to ask."""
    readings = tuple(_without_wholes(read(text), cells) for text in texts)
    plain = not any(one.composed or is_derived(one.part, cells) for one in readings)
    return None if plain else Plan(readings, shared, cells)


def _without_wholes(reading: Reading, cells: Cells) -> Reading:
    """What is told by others is asked for in no other way."""
    anchor = None if reading.anchor is None else _without_wholes(reading.anchor, cells)
    return replace(reading, anchor=anchor, whole=None if is_derived(reading.part, cells) else reading.whole)


def rows_of(texts: Sequence[str], composed: Cells | None) -> list[str]:
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
