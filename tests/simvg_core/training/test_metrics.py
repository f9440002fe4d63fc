"""Scores against the official metric's cases and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simvg_core.training.metrics import Floats, Outcome, auc, calibration_error, f1_of, grouped, summary

REFERENCE = json.loads((Path(__file__).parents[2] / "data/reference/grec_metric_cases.json").read_text())


def outcome(boxes: Floats, scores: Floats, truth: Floats, kind: str = "plain") -> Outcome:
    """An answer with its truth; the rest does not matter here."""
    score = float(scores.max(initial=0.0))
    return Outcome(text="bolt", image="000000", boxes=boxes, scores=scores, score=score, truth=truth, kind=kind)


def corners(values: list[list[float]]) -> Floats:
    """(n, 4), n may be 0."""
    return np.array(values, np.float32).reshape(-1, 4)


def reference_outcomes() -> list[Outcome]:
    """The official cases; category -1 means that nothing is there."""
    outcomes = []
    for case in REFERENCE["cases"]:
        truth = [box for box, category in zip(case["gt_boxes"], case["gt_category"], strict=True) if category != -1]
        scores = np.array(case["pred_scores"], np.float32)
        order = np.argsort(-scores, kind="stable")
        outcomes.append(outcome(corners(case["pred_boxes"])[order], scores[order], corners(truth)))
    return outcomes


@pytest.mark.parametrize("number", range(len(REFERENCE["cases"])))
def test_each_official_case_scores_alike(number: int) -> None:
    """F1 = 1 and the no-target answer, case by case."""
    case, one = REFERENCE["cases"][number], reference_outcomes()[number]
    kept = one.boxes[one.scores >= REFERENCE["thresh_score"]]
    assert (f1_of(kept, one.truth, REFERENCE["thresh_iou"]) >= 1.0) == (case["f1"] == 100.0)
    if len(one.truth) == 0:
        assert (len(kept) == 0) == (case["n_acc"] == 100.0)


def test_the_whole_set_scores_as_the_official_code() -> None:
    """All cases together."""
    scores = summary(reference_outcomes(), REFERENCE["thresh_score"])
    assert scores["pr_f1"] == pytest.approx(REFERENCE["all_f1"])
    assert scores["n_acc"] == pytest.approx(REFERENCE["all_n_acc"], abs=1e-4)


def test_no_questions_give_no_scores() -> None:
    """None, not 0, where nothing was asked."""
    scores = summary([], 0.5)
    assert scores["questions"] == 0
    assert scores["p_at_05"] is None and scores["n_acc"] is None and scores["auc"] is None


def test_always_none_is_the_share_without_a_target() -> None:
    """The baseline that every Pr(F1=1) must beat."""
    box = corners([[0, 0, 1, 1]])
    one = np.ones(1, np.float32)
    empty = corners([])
    outcomes = [outcome(box, one, box), outcome(box, one * 0.1, empty), outcome(box, one * 0.2, empty)]
    scores = summary(outcomes, 0.5)
    assert scores["pr_f1_always_none"] == pytest.approx(200 / 3)
    assert scores["pr_f1"] == 100
    assert scores["auc"] == 1.0


def test_best_box_counts_for_precision_whatever_its_score() -> None:
    """P@0.5 asks where, not whether."""
    near = corners([[0, 0, 1, 0.9]])
    scores = summary([outcome(near, np.array([0.01], np.float32), corners([[0, 0, 1, 1]]))], 0.5)
    assert scores["p_at_05"] == 100
    assert scores["mean_iou"] == pytest.approx(90, abs=0.1)
    assert scores["t_acc"] == 0


def test_groups_are_by_name() -> None:
    """One summary for each kind."""
    box = corners([[0, 0, 1, 1]])
    one = np.ones(1, np.float32)
    result = grouped(
        [outcome(box, one, box, "plain"), outcome(box, one, corners([]), "relation")], lambda one: one.kind, 0.5
    )
    assert list(result) == ["plain", "relation"]
    assert result["relation"]["n_acc"] == 0


def test_auc_counts_ties_as_half() -> None:
    """And is None without both sides."""
    assert auc([0.9, 0.5], [0.5, 0.1]) == pytest.approx(0.875)
    assert auc([], [0.5]) is None


def test_calibration_error_is_zero_for_honest_chances() -> None:
    """Half of the things said with 0.5 are true."""
    assert calibration_error([0.5, 0.5], [True, False]) == 0
    assert calibration_error([1.0, 1.0], [True, False]) == pytest.approx(0.5)


def test_auc_of_many_equals_counting_pairs() -> None:
    """The sorted way gives what comparing each pair gives."""
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 9, 40).tolist(), rng.integers(0, 7, 30).tolist()
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative]
    assert auc(positive, negative) == pytest.approx(np.mean(pairs))


def test_any_alternative_is_right() -> None:
    """A referring set may name several boxes for one expression; the answer is one box on any of them."""
    truth = corners([[0, 0, 1, 1], [5, 5, 6, 6]])
    one = np.ones(1, np.float32)
    found = Outcome(
        text="bolt", image="0", boxes=truth[1:], scores=one, score=1.0, truth=truth, alternatives=True, size=(10, 10)
    )
    scores = summary([found], 0.5)
    assert scores["single_target"] == 1
    assert scores["p_at_05"] == scores["pr_f1"] == 100
    assert scores["p_at_05_whole"] == 0


def test_a_set_without_single_targets_has_no_precision() -> None:
    """None, not 0, with two boxes for every question."""
    truth = corners([[0, 0, 1, 1], [5, 5, 6, 6]])
    scores = summary([outcome(truth, np.ones(2, np.float32), truth)], 0.5)
    assert scores["p_at_05"] is None and scores["mean_iou"] is None
    assert scores["pr_f1"] == 100
