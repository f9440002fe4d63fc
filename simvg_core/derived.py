"""Parts of texts that are told by answers to others: the odd one by its colours, a state by a picture's cells.

NumPy only. Shapes: F rows that parts are asked for, R rows in all, Q answers per row, P cells, S kinds whose state they
tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simvg_core import cell_states, geometry, odd_color

Floats = NDArray[np.float32]
Cells = tuple[str, ...]
"""Kinds whose states the cells tell, in the order in which a model gives them."""


def is_derived(part: str, cells: Cells) -> bool:
    """Whether a part is told by others."""
    return odd_color.odd_thing(part) is not None or _told(part, cells) is not None


def asked_for(part: str, cells: Cells) -> tuple[str, ...]:
    """What a model is asked for a part: the part, or what it is told by."""
    if (thing := odd_color.odd_thing(part)) is not None:
        return odd_color.rows_of(thing)
    said = _told(part, cells)
    return (part,) if said is None else (said.thing,)


@dataclass(frozen=True)
class Derived:
    """One part that is told by others.

    Attributes:
        rows: what it is told by: of an odd one its colours, and last what it lies on; of a state the thing.
        state: place of the kind among those whose state cells tell; None: it is an odd one.
        bad: whether it is the bad state.
    """

    rows: tuple[int, ...]
    state: int | None = None
    bad: bool = False

    @classmethod
    def of(cls, part: str, rows: tuple[int, ...], cells: Cells) -> Derived | None:
        """None for a part that is asked itself."""
        if not is_derived(part, cells):
            return None
        said = _told(part, cells)
        return cls(rows) if said is None else cls(rows, cells.index(said.kind), said.bad)

    def most(self, rows: Floats) -> Floats:
        """Of what is said of the rows, (..., F), how much can be said of the part, (..., 1): an odd one takes two
        colours, its own and that of the rest."""
        if self.state is not None:
            return rows[..., self.rows]
        return np.partition(rows[..., self.rows[:-1]], -2, axis=-1)[..., -2:-1]

    def asked(self, rows: Floats, least: float) -> NDArray[np.bool_]:
        """Which of its rows must be asked for it, (..., rows): of an odd one's colours those for which as much is said
        as matters."""
        wanted = np.ones((*rows.shape[:-1], len(self.rows)), bool)
        if self.state is None:
            wanted[..., :-1] = ~(rows[..., self.rows[:-1]] < least)
        return wanted

    def told(self, scores: Floats, boxes: Floats, cells: Floats | None) -> tuple[Floats, Floats]:
        """One frame's answers to all rows, (R, Q) and (R, Q, 4), and what its cells say, (R or 1, P, S) → answers to
        the part, (Q,) and (Q, 4)."""
        own, places = scores[list(self.rows)], boxes[list(self.rows)]
        if self.state is None:
            return geometry.of_another_color(own, places)
        assert cells is not None, "a model that tells states gives its cells"
        odds = cells[self.rows[0] if len(cells) > 1 else 0, :, self.state]
        return geometry.in_state(own[0], places[0], odds if self.bad else -odds), places[0]


def _told(part: str, cells: Cells) -> cell_states.Told | None:
    said = cell_states.told(part) if cells else None
    return said if said is not None and said.kind in cells else None
