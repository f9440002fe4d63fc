"""What plates have, what is wrong with them and what lies about, and how often: one mix for each purpose of a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mix:
    """What plates are fastened with and what is wrong with them, and how often.

    Attributes:
        fasteners: share of the plates fastened with hex bolts, socket screws, cross screws, drilled and threaded holes.
        defects: share of the plates that have each.
        most_tilted: up to so many loose fasteners where there is one.
        least_labels: labels of a plate, where there is room.
        least_caps: caps of a plate of which one may have a wrong colour; three can show which is the odd one.
        tools: how much more often than any other thing a tool lies on the belt.
    """

    fasteners: tuple[float, float, float, float, float] = (0.70, 0.1, 0.11, 0.05, 0.04)
    defects: Mapping[str, float] = field(
        default_factory=lambda: {
            "tilted": 0.20,
            "crooked": 0.35,
            "stain": 0.20,
            "scratch": 0.20,
            "dent": 0.12,
            "wrong_color": 0.2,
        }
    )
    most_tilted: int = 1
    least_labels: int = 0
    least_caps: int = 2
    tools: int = 1


COMMON = Mix()
MIXES = {
    "faults": Mix(
        fasteners=(0.75, 0.12, 0.13, 0.0, 0.0),
        defects={"tilted": 0.75, "crooked": 0.5, "stain": 0.12, "scratch": 0.12, "dent": 0.1, "wrong_color": 0.2},
        most_tilted=3,
        least_labels=1,
    ),
    "rare": Mix(
        defects={"tilted": 0.6, "crooked": 0.45, "stain": 0.2, "scratch": 0.2, "dent": 0.35, "wrong_color": 0.6},
        most_tilted=3,
        least_labels=1,
        least_caps=3,
        tools=3,
    ),
    "varied": Mix(
        defects={"tilted": 0.4, "crooked": 0.4, "stain": 0.2, "scratch": 0.2, "dent": 0.2, "wrong_color": 0.35},
        most_tilted=2,
        least_caps=3,
        tools=2,
    ),
}
"""Mixes of splits that teach what a line seldom shows; the other splits are of the common one."""
