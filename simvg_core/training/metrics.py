"""Scores of grounding answers. Pure: boxes and numbers in, numbers out.

P@0.5 and mean IoU: questions with one target, by the best-scored box. Pr(F1=1), N-acc, T-acc: the set of boxes above
the threshold (GREC; greedy assignment by GIoU, as in the official code). Boxes are xyxy, in any unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simvg_core.boxes import generalized_iou, iou

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """One question, its answer and its truth. `boxes` best first, after merging; `score` that anything is there."""

    kind: str
    noun: str
    text: str
    image: str
    lure: bool
    boxes: Floats  # (n, 4)
    scores: Floats  # (n,)
    score: float
    truth: Floats  # (m, 4)


def f1_of(boxes: Floats, truth: Floats, min_overlap: float = 0.5) -> float:
    """F1 of a set of boxes (n, 4) against the truth (m, 4), 0 … 1; 1 where both are empty.

    Pairs are taken greedily by the largest GIoU, as long as it is at least `min_overlap`.
    """
    if len(truth) == 0 or len(boxes) == 0:
        return 1.0 if len(truth) == len(boxes) else 0.0
    overlap = generalized_iou(torch.from_numpy(boxes)[:, None], torch.from_numpy(truth)[None]).numpy().copy()
    hits = 0
    while overlap.size and overlap.max() >= min_overlap:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        hits += 1
        overlap = np.delete(np.delete(overlap, row, axis=0), column, axis=1)
    return 2 * hits / (len(boxes) + len(truth))


def best_iou(outcome: Outcome) -> float:
    """IoU of the best-scored box with the first target."""
    if len(outcome.boxes) == 0:
        return 0.0
    return float(iou(torch.from_numpy(outcome.boxes[0]), torch.from_numpy(outcome.truth[0])))


def auc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Chance that a positive scores above a negative, ties counting half; None where either is empty."""
    if not positive or not negative:
        return None
    above = np.asarray(positive)[:, None] - np.asarray(negative)[None]
    return float((above > 0).mean() + (above == 0).mean() / 2)


def calibration_error(probabilities: Sequence[float], truths: Sequence[bool], bins: int = 15) -> float:
    """Expected calibration error with equally wide bins, 0 … 1."""
    chance, truth = np.asarray(probabilities, float), np.asarray(truths, float)
    place = np.minimum((chance * bins).astype(int), bins - 1)
    return float(
        sum(
            abs(chance[place == index].mean() - truth[place == index].mean()) * (place == index).mean()
            for index in range(bins)
            if (place == index).any()
        )
    )


def summary(outcomes: Sequence[Outcome], threshold: float) -> dict[str, Any]:
    """All scores in percent (AUC and ECE in 0 … 1); None where no question asks for it."""
    single = [outcome for outcome in outcomes if len(outcome.truth) == 1]
    overlaps = [best_iou(outcome) for outcome in single]
    exact = [f1_of(outcome.boxes[outcome.scores >= threshold], outcome.truth) == 1.0 for outcome in outcomes]
    there = [len(outcome.truth) > 0 for outcome in outcomes]
    said = [bool((outcome.scores >= threshold).any()) for outcome in outcomes]
    return {
        "questions": len(outcomes),
        "p_at_05": _percent([overlap >= 0.5 for overlap in overlaps]),
        "mean_iou": _percent(overlaps),
        "pr_f1": _percent(exact),
        "pr_f1_with_target": _percent([hit for hit, is_there in zip(exact, there, strict=True) if is_there]),
        "pr_f1_always_none": _percent([not is_there for is_there in there]),
        "n_acc": _percent([not s for s, is_there in zip(said, there, strict=True) if not is_there]),
        "t_acc": _percent([s for s, is_there in zip(said, there, strict=True) if is_there]),
        "auc": auc(
            [outcome.score for outcome, is_there in zip(outcomes, there, strict=True) if is_there],
            [outcome.score for outcome, is_there in zip(outcomes, there, strict=True) if not is_there],
        ),
        "ece": calibration_error([outcome.score for outcome in outcomes], there) if outcomes else None,
    }


def _percent(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) * 100 if len(values) else None


def grouped(outcomes: Sequence[Outcome], by: str, threshold: float) -> dict[str, dict[str, Any]]:
    """`summary` for every value of a field of the outcomes ("kind" or "noun"), sorted by name."""
    names = sorted({getattr(outcome, by) for outcome in outcomes})
    return {
        name: summary([outcome for outcome in outcomes if getattr(outcome, by) == name], threshold) for name in names
    }
