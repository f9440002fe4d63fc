"""The gate: which standing queries a frame needs to be asked at all.

One matrix product of texts and image tokens (the heat map) gives each query's warmest cell. Below a threshold a query
gets no object tokens; its answer is then "not there", with the score that such queries have on average. Thresholds are
chosen so that next to nothing is lost that the full pass would give a score from which on it makes a difference: one
for each of several such scores, as every alarm begins and ends at its own.
Shapes: B images, N texts, P image tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import InputError

RECALL = 0.999
ROUNDING = 5e-5
"""A stored threshold lies so far below the coldest pair that must pass: batches and engines round differently."""
FLOORS = (0.2, 0.3, 0.4, 0.5, 0.6)
"""Scores that thresholds are measured for, besides the model's own threshold: alarms begin and end at other scores."""


@dataclass(frozen=True)
class GatePoint:
    """One threshold and what it does to the pairs of picture and text that it was measured on."""

    floor: float  # lowest score that makes a difference
    threshold: float  # logit of the warmest cell
    recall: float  # share of what the full pass gives such a score that passes
    passing: float  # share of all pairs that pass
    closed_score: float  # mean score that the full pass gives to pairs that do not pass


@dataclass(frozen=True)
class GateCurve:
    """Warmest cell and full-pass score of every pair, (pairs,) each."""

    warmth: NDArray[np.float64]
    score: NDArray[np.float64]

    def found(self, floor: float) -> int:
        """How many pairs the full pass gives such a score or a higher one."""
        return int((self.score >= floor).sum())

    def at(self, floor: float, threshold: float) -> GatePoint:
        """What a threshold does where scores from `floor` on make a difference."""
        passing, found = self.warmth >= threshold, self.score >= floor
        closed = self.score[~passing]
        return GatePoint(
            floor=floor,
            threshold=threshold,
            recall=float(passing[found].mean()) if found.any() else 1.0,
            passing=float(passing.mean()),
            closed_score=float(closed.mean()) if len(closed) else 0.0,
        )

    def for_recall(self, floor: float, recall: float) -> GatePoint:
        """The highest threshold that keeps this share of what the full pass gives at least the score `floor`.

        Raises:
            InputError: there is no such pair, so that no recall can be measured.
        """
        warm = np.sort(self.warmth[self.score >= floor])
        if len(warm) == 0:
            raise InputError(
                f"the full pass gives none of {len(self.score)} pairs of picture and text a score of {floor:g}, so the "
                "gate has nothing to keep; use pictures and texts of the line the model was trained for."
            )
        lost = math.floor((1 - recall) * len(warm) + 1e-9)
        return self.at(floor, float(warm[min(lost, len(warm) - 1)]))

    def points(self, recall: float, last: float) -> list[GatePoint]:
        """One for each of FLOORS and for `last`, the model's own threshold; ascending in both, as what keeps lower
        scores keeps higher ones."""
        found = [self.for_recall(floor, recall) for floor in sorted({*(f for f in FLOORS if f < last), last})]
        bounds = np.minimum.accumulate([point.threshold - ROUNDING for point in found][::-1])[::-1]
        return [self.at(point.floor, float(bound)) for point, bound in zip(found, bounds, strict=True)]


def store(config: SimVGConfig, points: Sequence[GatePoint]) -> None:
    """Writes thresholds, and the score of what the last keeps out, into a model's config; none: the gate is off."""
    config.gate_floors = [point.floor for point in points]
    config.gate_thresholds = [point.threshold for point in points]
    # whoever cares for scores from the lowest floor on must not take a text that was not asked for one of them
    config.gate_score = min(points[-1].closed_score, points[0].floor / 2) if points else 0.0


def closed_logit(config: SimVGConfig) -> float:
    """Difference of the class logits whose calibrated score is `gate_score`."""
    chance = min(max(config.gate_score, 1e-6), 1 - 1e-6)
    return (math.log(chance / (1 - chance)) - config.score_bias) * config.score_temperature
