"""What a model's scores mean: temperature, bias and threshold from questions it was not trained on.

A question's score is that of its best answer. Temperature and bias make it the chance that anything is there, among
questions of which about half have a target; the threshold is the one with the most exactly right sets of boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import InputError
from simvg_core.training.metrics import Outcome, calibration_error, f1_of

MIN_QUESTIONS = 50
"""Fewer, or fewer than a tenth of them on either side, decide nothing."""

_RIDGE = 1e-2
_CANDIDATES = tuple(round(0.2 + 0.025 * step, 3) for step in range(27))
# A single setting beats its neighbours by chance: the threshold is read from this many of them averaged.
_SMOOTHED = 5


@dataclass(frozen=True)
class Calibration:
    """Fields of `SimVGConfig` and how far scores were from the truth before and after, as calibration errors 0 … 1."""

    temperature: float
    bias: float
    threshold: float
    questions: int
    error_before: float
    error_after: float

    def as_settings(self) -> dict[str, float]:
        """By the names of the config."""
        return {"score_temperature": self.temperature, "score_bias": self.bias, "score_threshold": self.threshold}


def fit(outcomes: Sequence[Outcome], config: SimVGConfig) -> Calibration:
    """Temperature, bias and threshold for outcomes that a model with this config gave.

    Raises:
        InputError: too few questions, or nearly all of them with, or without, a target.
    """
    truths = np.array([len(outcome.truth) > 0 for outcome in outcomes], bool)
    rare = min(int(truths.sum()), int((~truths).sum()))
    if len(outcomes) < MIN_QUESTIONS or rare < len(outcomes) / 10:
        raise InputError(
            f"{len(outcomes)} questions, {int(truths.sum())} of them with a target, are too few or too one-sided to "
            f"calibrate on; use a set with at least {MIN_QUESTIONS} questions, a tenth of them of either sort."
        )
    before = np.array([outcome.score for outcome in outcomes])
    differences = _differences(before, config)
    slope, bias = _logistic(differences, truths)
    after = _sigmoid(differences * slope + bias)
    boxes = [_sigmoid(_differences(outcome.scores, config) * slope + bias) for outcome in outcomes]
    return Calibration(
        temperature=float(f"{1 / slope:.4g}"),
        bias=float(f"{bias:.4g}"),
        threshold=_threshold(outcomes, boxes),
        questions=len(outcomes),
        error_before=calibration_error(before.tolist(), truths.tolist()),
        error_after=calibration_error(after.tolist(), truths.tolist()),
    )


def store(calibration: Calibration, folder: Path) -> SimVGConfig:
    """Writes the three numbers into the config.json of a model folder; returns the new config."""
    config: Any = SimVGConfig.from_pretrained(folder)
    for name, value in calibration.as_settings().items():
        setattr(config, name, value)
    config.save_pretrained(folder)
    stored: SimVGConfig = config
    return stored


def _differences(scores: Any, config: SimVGConfig) -> NDArray[np.float64]:
    """Logit differences (object − no object) behind scores of this config."""
    chance = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
    raw: NDArray[np.float64] = (np.log(chance / (1 - chance)) - config.score_bias) * config.score_temperature
    return raw


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(x, -40, 40)))
    return result


def _logistic(x: NDArray[np.float64], truths: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of least cross-entropy, by Newton steps; a slight pull of the slope to 1 keeps it finite."""
    slope, offset = 1.0, 0.0
    for _ in range(50):
        chance = _sigmoid(slope * x + offset)
        wrong, weight = chance - truths, chance * (1 - chance)
        gradient = np.array([(wrong * x).mean() + _RIDGE * (slope - 1), wrong.mean()])
        curvature = np.array(
            [
                [(weight * x * x).mean() + _RIDGE, (weight * x).mean()],
                [(weight * x).mean(), weight.mean() + 1e-6],
            ]
        )
        step = np.linalg.solve(curvature, gradient)
        # a long step may overshoot where the curve is flat
        step *= min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        slope, offset = max(0.02, slope - float(step[0])), offset - float(step[1])
        if float(np.abs(step).max()) < 1e-9:
            break
    return slope, offset


def _threshold(outcomes: Sequence[Outcome], boxes: Sequence[NDArray[np.float64]]) -> float:
    exact = [
        float(
            np.mean([f1_of(one.boxes[own >= level], one.truth) == 1 for one, own in zip(outcomes, boxes, strict=True)])
        )
        for level in _CANDIDATES
    ]
    padded = np.pad(exact, _SMOOTHED // 2, mode="edge")
    smooth = np.convolve(padded, np.full(_SMOOTHED, 1 / _SMOOTHED), mode="valid")
    return _CANDIDATES[int(np.argmax(smooth))]
