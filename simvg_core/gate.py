"""The gate: which standing queries a frame needs to be asked at all.

One matrix product of texts and image tokens (the heat map) gives each query's warmest cell. Below a threshold, chosen
so that next to nothing is lost that the full pass would find, a query gets no object tokens; its answer is then "not
there", with the score that such queries have on average.
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

RECALLS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)


@dataclass(frozen=True)
class GatePoint:
    """One threshold and what it does to the pairs of picture and text that it was measured on."""

    threshold: float  # logit of the warmest cell
    recall: float  # share of what the full pass finds that passes
    passing: float  # share of all pairs that pass
    closed_score: float  # mean score that the full pass gives to pairs that do not pass


@dataclass(frozen=True)
class GateCurve:
    """Warmest cell and full-pass score of every pair, (pairs,) each; `found`, the full pass says present."""

    warmth: NDArray[np.float64]
    score: NDArray[np.float64]
    found: NDArray[np.bool_]

    def at(self, threshold: float) -> GatePoint:
        """What a threshold does."""
        passing = self.warmth >= threshold
        closed = self.score[~passing]
        return GatePoint(
            threshold=threshold,
            recall=float(passing[self.found].mean()),
            passing=float(passing.mean()),
            closed_score=float(closed.mean()) if len(closed) else 0.0,
        )

    def for_recall(self, recall: float) -> GatePoint:
        """The highest threshold that keeps this share of what the full pass finds."""
        warm = np.sort(self.warmth[self.found])
        lost = math.floor((1 - recall) * len(warm) + 1e-9)
        return self.at(float(warm[min(lost, len(warm) - 1)]))


def curve(warmth: Sequence[float], score: Sequence[float], found: Sequence[bool]) -> GateCurve:
    """From measured pairs.

    Raises:
        InputError: the full pass found nothing, so that no recall can be measured.
    """
    if not any(found):
        raise InputError(
            f"the full pass finds nothing in {len(found)} pairs of picture and text, so the gate has nothing to keep; "
            "use pictures and texts of the line the model was trained for."
        )
    return GateCurve(np.asarray(warmth, float), np.asarray(score, float), np.asarray(found, bool))


def store(config: SimVGConfig, point: GatePoint) -> None:
    """Writes a threshold, and the score of what it keeps out, into a model's config."""
    config.gate_threshold, config.gate_score = point.threshold, point.closed_score


def closed_logit(config: SimVGConfig) -> float:
    """Difference of the class logits whose calibrated score is `gate_score`."""
    chance = min(max(config.gate_score, 1e-6), 1 - 1e-6)
    return (math.log(chance / (1 - chance)) - config.score_bias) * config.score_temperature
