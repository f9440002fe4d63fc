"""Scores of grounding answers. Pure: boxes and numbers in, numbers out.

P@0.5 and mean IoU: questions with one target (or with alternatives), by the best-scored box. Pr(F1=1), N-acc, T-acc:
the set of boxes above the threshold (GREC; greedy assignment by GIoU, as in the official code). Boxes are xyxy pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simvg_core.boxes import generalized_iou, iou

Floats = NDArray[np.float32]
Summary = dict[str, Any]
RELIABILITY_BINS = 15


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One question, its answer and its truth.

    Attributes:
        boxes: (n, 4) xyxy pixels, best first, after merging; `scores` (n,) theirs, below the threshold too.
        score: that anything is there, 0 … 1.
        truth: (m, 4) xyxy pixels; empty = nothing is there. With `alternatives` any of them is right.
        size: (width, height) of the image in pixels.
        lure: nothing is there, but something like it.
    """

    text: str
    image: str
    boxes: Floats
    scores: Floats
    score: float
    truth: Floats
    size: tuple[int, int] = (1, 1)
    kind: str = "plain"
    noun: str | None = None
    lure: bool = False
    alternatives: bool = False

    @property
    def there(self) -> bool:
        """Whether it has a target."""
        return len(self.truth) > 0

    @property
    def single(self) -> bool:
        """Whether one box answers it."""
        return self.there and (self.alternatives or len(self.truth) == 1)

    def answered(self, threshold: float) -> Floats:
        """(k, 4) boxes that are given as the answer."""
        return self.boxes[self.scores >= threshold]

    def exact(self, threshold: float) -> bool:
        """Whether the answer is the truth: F1 = 1; for alternatives one box, on any of them."""
        kept = self.answered(threshold)
        if self.alternatives and self.there:
            return len(kept) == 1 and any(
                f1_of(kept, self.truth[place : place + 1]) == 1.0 for place in range(len(self.truth))
            )
        return f1_of(kept, self.truth) == 1.0


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
    """IoU of the best-scored box with the target, or with the nearest of the alternatives."""
    if len(outcome.boxes) == 0:
        return 0.0
    return float(iou(torch.from_numpy(outcome.boxes[0]), torch.from_numpy(outcome.truth)).max())


def auc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Chance that a positive scores above a negative, ties counting half; None where either is empty."""
    if not positive or not negative:
        return None
    below = np.sort(np.asarray(negative))
    above = np.searchsorted(below, positive, side="left") + np.searchsorted(below, positive, side="right")
    return float(above.mean() / (2 * len(below)))


def reliability(probabilities: Sequence[float], truths: Sequence[bool]) -> list[tuple[float, float, int]]:
    """(mean chance said, share that was true, count) of each equally wide bin that is not empty."""
    chance, truth = np.asarray(probabilities, float), np.asarray(truths, float)
    place = np.minimum((chance * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    return [
        (float(chance[place == index].mean()), float(truth[place == index].mean()), int((place == index).sum()))
        for index in range(RELIABILITY_BINS)
        if (place == index).any()
    ]


def calibration_error(probabilities: Sequence[float], truths: Sequence[bool]) -> float | None:
    """Expected calibration error, 0 … 1; None without any probability."""
    if not len(probabilities):
        return None
    bins = reliability(probabilities, truths)
    return sum(abs(said - true) * count for said, true, count in bins) / len(probabilities)


def summary(outcomes: Sequence[Outcome], threshold: float) -> Summary:
    """All scores in percent (AUC and ECE in 0 … 1); None where no question asks for it.

    `auc_lures` counts, of the questions without a target, only those with a look-alike in view. `pr_f1_always_none` is
    the baseline that never gives a box, `p_at_05_whole` the one that always gives the whole image.
    """
    overlaps = [best_iou(one) for one in outcomes if one.single]
    whole = [_whole_iou(one) for one in outcomes if one.single]
    exact = [one.exact(threshold) for one in outcomes]
    there = [one.there for one in outcomes]
    said = [bool((one.scores >= threshold).any()) for one in outcomes]
    positive = [one.score for one in outcomes if one.there]
    return {
        "questions": len(outcomes),
        "with_target": sum(there),
        "single_target": len(overlaps),
        "p_at_05": percent([overlap >= 0.5 for overlap in overlaps]),
        "p_at_05_whole": percent([overlap >= 0.5 for overlap in whole]),
        "mean_iou": percent(overlaps),
        "pr_f1": percent(exact),
        "pr_f1_with_target": percent([hit for hit, is_there in zip(exact, there, strict=True) if is_there]),
        "pr_f1_always_none": percent([not is_there for is_there in there]),
        "n_acc": percent([not s for s, is_there in zip(said, there, strict=True) if not is_there]),
        "t_acc": percent([s for s, is_there in zip(said, there, strict=True) if is_there]),
        "auc": auc(positive, [one.score for one in outcomes if not one.there]),
        "auc_lures": auc(positive, [one.score for one in outcomes if not one.there and one.lure]),
        "ece": calibration_error([one.score for one in outcomes], there),
    }


def _whole_iou(outcome: Outcome) -> float:
    width, height = outcome.size
    sides = outcome.truth[:, 2:] - outcome.truth[:, :2]
    return float((sides[:, 0] * sides[:, 1]).max() / (width * height))


def percent(values: Sequence[float]) -> float | None:
    """Mean in percent; None of nothing."""
    return float(np.mean(values)) * 100 if len(values) else None


def grouped(outcomes: Iterable[Outcome], key: Callable[[Outcome], str | None], threshold: float) -> dict[str, Summary]:
    """`summary` for every value of `key`, sorted by it; outcomes whose key is None are in no group."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        name = key(outcome)
        if name is not None:
            groups.setdefault(name, []).append(outcome)
    return {name: summary(groups[name], threshold) for name in sorted(groups)}
