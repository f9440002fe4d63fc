"""The gate: whether what a text names can be in an image at all, foretold by layers that cost next to nothing.

It bounds the score: below the threshold that belongs to a score, no answer of the text scores that much, whatever the
object tokens say. With many standing queries a frame then needs object tokens only for those that the gate lets pass;
the answers are the same, as the others would have scored too little to make a difference. Thresholds are chosen so that
next to nothing is lost of what the object tokens find rightly: one for each of several scores from which on it makes a
difference, as every alarm begins and ends at its own.
Shapes: B images, N texts, Q answers per text, P image tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simvg_core.calibration import raw_logit
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import InputError

ROUNDING = 5e-5
"""A stored threshold lies so far below the coldest pair that must pass: batches and engines round differently."""
FLOORS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
"""Scores that thresholds are measured for, besides the model's own threshold: alarms begin and end at other scores."""
_UNBOUNDED = 1e4


@dataclass(frozen=True)
class GatePoint:
    """One threshold and what it does to the pairs of picture and text that it was measured on."""

    floor: float  # lowest score that makes a difference
    threshold: float  # the gate's logit
    recall: float  # share that passes, of what the object tokens give such a score rightly
    passing: float  # share of all pairs that pass
    closed_score: float  # mean score that the object tokens give to pairs that do not pass


@dataclass(frozen=True)
class GateCurve:
    """What the gate says of every pair, the score that the object tokens give it, and whether they may be right: False
    where the truth says that the text is not there. (pairs,) each."""

    warmth: NDArray[np.float64]
    score: NDArray[np.float64]
    right: NDArray[np.bool_]

    def found(self, floor: float) -> int:
        """How many pairs the object tokens give such a score or a higher one, rightly."""
        return int((self.right & (self.score >= floor)).sum())

    def at(self, floor: float, threshold: float) -> GatePoint:
        """What a threshold does where scores from `floor` on make a difference."""
        passing, found = self.warmth >= threshold, self.right & (self.score >= floor)
        closed = self.score[~passing]
        return GatePoint(
            floor=floor,
            threshold=threshold,
            recall=float(passing[found].mean()) if found.any() else 1.0,
            passing=float(passing.mean()),
            closed_score=float(closed.mean()) if len(closed) else 0.0,
        )

    def for_recall(self, floor: float, recall: float) -> GatePoint:
        """The highest threshold that keeps this share of what is rightly given at least the score `floor`.

        Raises:
            InputError: there is no such pair, so that no recall can be measured.
        """
        warm = np.sort(self.warmth[self.right & (self.score >= floor)])
        if len(warm) == 0:
            raise InputError(
                f"the model rightly gives none of {len(self.score)} pairs of picture and text a score of {floor:g}, so "
                "the gate has nothing to keep; use pictures and texts of the line the model was trained for."
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


def highest(warmth: Tensor, config: SimVGConfig) -> Tensor:
    """The gate's logits (...) → the highest difference of class logits that an answer may have (...).

    From threshold to threshold it rises along straight lines, below the first with slope 1; from the last on there is
    no bound. What lies below a threshold so stays below its score.
    """
    floors = [raw_logit(floor, config) for floor in config.gate_floors]
    slopes, offsets = [1.0], [floors[0] - config.gate_thresholds[0]]
    steps = list(zip(config.gate_thresholds, floors, strict=True))
    for (left, low), (right, high) in pairwise(steps):
        slopes.append((high - low) / max(right - left, 1e-3))  # float32 knows no steeper line
        offsets.append(low - slopes[-1] * left)
    thresholds = warmth.new_tensor(config.gate_thresholds)
    place = (warmth.unsqueeze(-1) >= thresholds).sum(dim=-1)
    slope, offset = warmth.new_tensor([*slopes, 0.0])[place], warmth.new_tensor([*offsets, _UNBOUNDED])[place]
    return slope * warmth + offset


def bounded(logits: Tensor, most: Tensor) -> Tensor:
    """Class logits (..., Q, 2) whose differences are at most `most` (...).

    All answers of a text fall by as much as the best one has to, so that it stays the best.
    """
    excess = torch.relu((logits[..., 0] - logits[..., 1]).amax(dim=-1) - most) / 2
    return logits + torch.stack([-excess, excess], dim=-1).unsqueeze(-2)
