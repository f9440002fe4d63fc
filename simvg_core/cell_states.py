"""States that the cells of a picture tell surer than a text does: whether a label lies crooked. Free of torch.

A model with dense training aids says of every cell what lies there and in which state. That of labels it learned from
all that lie in each picture, where the text "crooked label" was asked of few; so a model with `SimVGConfig.cell_states`
is asked for "label", and the cells under each answer say which of them lie crooked. `simvg calibrate` finds out for
which kinds that is better; of fasteners, which are far smaller, the texts of `models/line-small` tell more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from simvg_core.errors import ConfigurationError
from simvg_core.lineworld.vocabulary import DENSE_STATES, KINDS
from simvg_core.sayings import REMEMBERED
from simvg_core.trained import plain_name, trained_meaning

_STATES = dict(DENSE_STATES)
STATE_KINDS = tuple(_STATES)
"""Kinds whose states the dense aid was taught."""


class Told(NamedTuple):
    """A part of a text that says in which state a thing is."""

    thing: str  # its name, whatever its state
    kind: str  # as of `KINDS`
    bad: bool  # whether the state is that of `DENSE_STATES`, or the usual one


@lru_cache(REMEMBERED)
def told(part: str) -> Told | None:
    """What cells may say of a part, "crooked label" or "straight label"; None of any other."""
    said = trained_meaning(part)
    if said is None or len(said.concept.kinds) != 1:
        return None
    (kind,) = said.concept.kinds
    if kind not in _STATES or said.concept.state not in (_STATES[kind], "ok"):
        return None
    return Told(plain_name(said.concept), kind, said.concept.state != "ok")


def classes_of(kind: str) -> tuple[int, int]:
    """Of a kind, the dense class of its bad state and that of its usual one."""
    return len(KINDS) + [name for name, _ in DENSE_STATES].index(kind), KINDS.index(kind)


def check(states: Mapping[str, Sequence[float]], classes: int) -> None:
    """Raises ConfigurationError for `SimVGConfig.cell_states` that a model with so many dense classes cannot tell."""
    for kind, fitted in states.items():
        if kind not in _STATES or classes_of(kind)[0] >= classes:
            raise ConfigurationError(
                f"cell_states names {kind!r}; a model with num_kinds={classes} can tell the states of "
                f"{', '.join(name for name in _STATES if classes_of(name)[0] < classes) or 'nothing'}."
            )
        if len(fitted) != 2 or not fitted[0] > 0:
            raise ConfigurationError(
                f"cell_states[{kind!r}]={list(fitted)} must be a temperature above 0 and a bias; run `simvg calibrate`."
            )
