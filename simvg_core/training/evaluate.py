"""A model against a data set: every score there is, as one record."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from simvg_core.asked_words import AskedWords
from simvg_core.errors import InputError
from simvg_core.lineworld.vocabulary import COLOR_WORDS, SIZE_WORDS
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.training.cost import cost_of
from simvg_core.training.metrics import Outcome, Summary, best_iou, grouped, reliability, summary
from simvg_core.training.refused import MISREAD, UNKNOWN_WORDS, sort_of
from simvg_core.training.scoring import ask_model
from simvg_core.training.sets.sample import GroundingSet, Sample

WORDS = (1, 2, 3, 4, 5, 6, 8, 11)
"""Lower ends of the classes of expression length, in words."""
SIZES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.15, 0.5)
"""Lower ends of the classes of box size, as shares of the image."""
HISTOGRAM_BINS = 25
_COLORS, _SIZES = ({word for words in said.values() for word in words} for said in (COLOR_WORDS, SIZE_WORDS))
# A text is one that stands, rather than one of many, from so many images on.
_STANDING_SHARE, _STANDING_LEAST = 0.1, 10


@dataclass(frozen=True)
class Evaluation:
    """The scores as a JSON-ready record, and by branch the outcomes they are made of."""

    record: dict[str, Any]
    outcomes: dict[str, list[Outcome]]

    def scores(self, branch: str = "token") -> dict[str, Any]:
        """What `scores_of` gave for a branch."""
        found: dict[str, Any] = self.record["branches"][branch]
        return found


def evaluate(
    model: SimVGForGrounding,
    processor: SimVGProcessor,
    data: GroundingSet,
    *,
    name: str = "model",
    threshold: float | None = None,
    limit: int | None = None,
    branches: Sequence[str] | None = None,
    batch_size: int = 8,
    dtype: torch.dtype = torch.float32,
    with_cost: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Scores a model on a data set by every branch it has, and measures what it costs.

    Args:
        name: of the model, for the report.
        threshold: None = the model's own.
        limit: only the first so many images.
        dtype: bfloat16 = matrix products in it, for the scores and for the cost.
        progress: gets (samples done, samples in all).

    Raises:
        InputError: no expression of the set can be asked, or the pixels of one of its pictures are broken (DataError).
    """
    floor = model.config.score_threshold if threshold is None else threshold
    samples = first_images(data.samples(), limit)
    begin = time.perf_counter()
    scored = ask_model(
        model, processor, samples, data.task, branches=branches, batch_size=batch_size, dtype=dtype, progress=progress
    )
    seconds = time.perf_counter() - begin
    left_out = Counter(data.left_out()) + scored.left_out
    if not any(scored.outcomes.values()):
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items())) or "none"
        raise InputError(
            f"no expression of {data.name} can be asked (left out: {told}); look at it with `simvg data check`, or "
            "name another split or limit."
        )
    words = AskedWords(processor.text.words, model.config.composing)
    by_branch = {
        branch: scores_of(own, floor, lambda text: sort_of(words, text)) for branch, own in scored.outcomes.items()
    }
    record = {
        "model": name,
        "attention": model.config.attention,
        "image_size": model.config.image_size,
        "data": data.name,
        "split": data.split,
        "task": data.task,
        "images": len({one.image for one in next(iter(scored.outcomes.values()))}),
        "expressions": len(samples) - scored.left_out.total(),
        "left_out": dict(sorted(left_out.items())),
        "alternatives": sum(one.alternatives for one in next(iter(scored.outcomes.values()))),
        "threshold": floor,
        "precision": str(dtype).removeprefix("torch."),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "branches": by_branch,
        "cost": cost_of(model, dtype=dtype) if with_cost else None,
    }
    return Evaluation(record, scored.outcomes)


def first_images(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    """The samples of the first `limit` images; None = all."""
    if limit is None:
        return samples
    kept = set(list(dict.fromkeys(sample.image for sample in samples))[:limit])
    return [sample for sample in samples if sample.image in kept]


def scores_of(
    outcomes: Sequence[Outcome], threshold: float, refused: Callable[[str], str | None] = lambda text: None
) -> dict[str, Any]:
    """Scores of one branch: of all questions, of groups of them, and how its scores are spread.

    Args:
        refused: why a text is refused on a line (`sort_of`), though it is scored here; None of any other.
    """
    there = [one.there for one in outcomes]
    chances = [one.score for one in outcomes]
    single = [one for one in outcomes if one.single]
    right = [best_iou(one) >= 0.5 for one in single]
    return {
        "all": summary(outcomes, threshold),
        "single": summary(single, threshold),
        "by_kind": grouped(outcomes, lambda one: one.kind, threshold),
        "by_noun": grouped(outcomes, lambda one: one.noun, threshold),
        "by_words": _binned(outcomes, lambda one: len(one.text.split()), WORDS, _words_label, threshold),
        "by_attribute": _by_attribute(outcomes, threshold),
        "by_known": _by_known(outcomes, refused, threshold),
        "by_size": _binned(single, _share, SIZES, _size_label, threshold),
        "texts": standing_texts(outcomes, threshold),
        "reliability": reliability(chances, there),
        "reliability_right": reliability([one.score for one in single], right),
        "histogram": {
            "edges": np.linspace(0, 1, HISTOGRAM_BINS + 1).tolist(),
            "with_target": _histogram([one.score for one in outcomes if one.there]),
            "without_target": _histogram([one.score for one in outcomes if not one.there]),
            # of the questions with one target, by whether the best box has IoU ≥ 0.5 with it
            "right": _histogram([one.score for one, hit in zip(single, right, strict=True) if hit]),
            "wrong": _histogram([one.score for one, hit in zip(single, right, strict=True) if not hit]),
        },
    }


def _by_attribute(outcomes: Sequence[Outcome], threshold: float) -> dict[str, Summary]:
    """Questions of the kind "attribute" by what they say of a thing; empty without any."""
    groups: dict[str, list[Outcome]] = {"a colour": [], "a size": [], "a condition": []}
    for one in outcomes:
        if one.kind == "attribute":
            said = set(one.text.split())
            what = "a colour" if said & _COLORS else "a size" if said & _SIZES else "a condition"
            groups[what].append(one)
    return {what: summary(own, threshold) for what, own in groups.items() if own}


def _by_known(
    outcomes: Sequence[Outcome], refused: Callable[[str], str | None], threshold: float
) -> dict[str, Summary]:
    """Texts that a worker asks, in all and of each kind that has others as well, and the others by why it does not;
    empty without others."""
    others = [one for one in outcomes if refused(one.text) is not None]
    if not others:
        return {}
    known = [one for one in outcomes if refused(one.text) is None]
    kinds = dict.fromkeys(one.kind for one in others if one.kind)
    groups = {"all words known": known} | {
        f"{kind}, all words known": [one for one in known if one.kind == kind] for kind in kinds
    }
    groups |= {sort: [one for one in others if refused(one.text) == sort] for sort in (UNKNOWN_WORDS, MISREAD)}
    return {name: summary(own, threshold) for name, own in groups.items() if own}


def standing_texts(outcomes: Sequence[Outcome], threshold: float) -> dict[str, Summary]:
    """Scores per image of each text that many images are asked, with and without a target; most asked first."""
    images = len({one.image for one in outcomes})
    least = max(_STANDING_LEAST, _STANDING_SHARE * images)
    asked = Counter(one.text for one in outcomes)
    often = {text for text, count in asked.items() if count >= least}
    groups = grouped([one for one in outcomes if one.text in often], lambda one: one.text, threshold)
    both = {text: found for text, found in groups.items() if found["auc"] is not None}
    return dict(sorted(both.items(), key=lambda pair: -pair[1]["questions"]))


def _binned(
    outcomes: Sequence[Outcome],
    value: Callable[[Outcome], float],
    edges: Sequence[float],
    label: Callable[[Sequence[float], int], str],
    threshold: float,
) -> dict[str, Summary]:
    """`summary` per class, in the order of the classes; empty ones are left out."""
    groups: dict[int, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(max(0, bisect_right(edges, value(one)) - 1), []).append(one)
    return {label(edges, place): summary(groups[place], threshold) for place in sorted(groups)}


def _share(outcome: Outcome) -> float:
    width, height = outcome.size
    sides = outcome.truth[0, 2:] - outcome.truth[0, :2]
    return float(sides[0] * sides[1]) / (width * height)


def _words_label(edges: Sequence[float], place: int) -> str:
    low = int(edges[place])
    if place + 1 == len(edges):
        return f"{low}+"
    high = int(edges[place + 1]) - 1
    return str(low) if low == high else f"{low}–{high}"


def _size_label(edges: Sequence[float], place: int) -> str:
    if place + 1 == len(edges):
        return f"{100 * edges[place]:g}+"
    return f"{100 * edges[place]:g}–{100 * edges[place + 1]:g}"


def _histogram(scores: Sequence[float]) -> list[int]:
    counts, _ = np.histogram(scores, bins=HISTOGRAM_BINS, range=(0, 1))
    return [int(count) for count in counts]
