"""Calibration: scores become chances, and the threshold the one that answers best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import InputError
from simvg_core.training.calibrate import Calibration, fit, store
from simvg_core.training.metrics import Outcome, calibration_error

BOX = np.array([[0.1, 0.1, 0.3, 0.3]], np.float32)
NOTHING = np.zeros((0, 4), np.float32)


def outcome(score: float, there: bool) -> Outcome:
    """A question whose only answer has this score and the right box."""
    return Outcome(
        kind="plain",
        noun="bolt",
        text="bolt",
        image="0",
        lure=False,
        boxes=BOX,
        scores=np.array([score], np.float32),
        score=score,
        truth=BOX if there else NOTHING,
    )


def overconfident(count: int = 4000, seed: int = 3) -> list[Outcome]:
    """Scores whose logits are three times too large and shifted by two."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, count)
    truths = rng.random(count) < 1 / (1 + np.exp(-logits))
    return [
        outcome(float(1 / (1 + np.exp(-(3 * logit + 2)))), bool(there))
        for logit, there in zip(logits, truths, strict=True)
    ]


def test_recovers_the_temperature_of_overconfident_scores() -> None:
    """Logits three times too large and shifted by two are found to be just that."""
    calibration = fit(overconfident(), SimVGConfig.tiny())
    assert calibration.temperature == pytest.approx(3, rel=0.12)
    assert calibration.bias == pytest.approx(-2 / 3, abs=0.15)


def test_calibration_error_falls() -> None:
    """Scores are closer to the truth afterwards, and the reported errors say so."""
    outcomes = overconfident()
    calibration = fit(outcomes, SimVGConfig.tiny())
    truths = [len(one.truth) > 0 for one in outcomes]
    assert calibration.error_before == pytest.approx(calibration_error([one.score for one in outcomes], truths))
    assert calibration.error_after < 0.03 < calibration.error_before


def test_scores_already_calibrated_are_read_through_the_config() -> None:
    """The same raw answers give the same numbers whatever calibration the model had before."""
    raw = fit(overconfident(), SimVGConfig.tiny())
    changed = SimVGConfig.tiny(score_temperature=2.0, score_bias=-0.5)
    seen = []
    for one in overconfident():
        logit = float(np.log(one.score / (1 - one.score)))
        score = float(1 / (1 + np.exp(-(logit / 2.0 - 0.5))))
        seen.append(replace(one, score=score, scores=np.array([score], np.float32)))
    again = fit(seen, changed)
    assert again.temperature == pytest.approx(raw.temperature, rel=1e-2)
    assert again.bias == pytest.approx(raw.bias, abs=1e-2)


def test_threshold_keeps_surplus_boxes_out() -> None:
    """With a second, wrong box of middling score in every answer, the threshold rises above it."""
    rng = np.random.default_rng(1)
    outcomes = []
    for number in range(400):
        there = number % 2 == 0
        best = float(rng.uniform(0.90, 0.99)) if there else float(rng.uniform(0.01, 0.1))
        surplus = np.array([[0.6, 0.6, 0.9, 0.9]], np.float32)
        one = outcome(best, there)
        if there:
            scores = np.array([best, 0.55], np.float32)
            one = replace(one, boxes=np.concatenate([BOX, surplus]), scores=scores)
        outcomes.append(one)
    calibration = fit(outcomes, SimVGConfig.tiny())
    raw = np.log(0.55 / 0.45)
    middling = 1 / (1 + np.exp(-(raw / calibration.temperature + calibration.bias)))
    assert calibration.threshold > middling


def test_perfectly_separated_scores_stay_finite() -> None:
    """Where no answer is wrong the temperature does not run off to zero."""
    outcomes = [outcome(0.9 if number % 2 else 0.1, bool(number % 2)) for number in range(100)]
    assert 0.05 < fit(outcomes, SimVGConfig.tiny()).temperature < 5


@pytest.mark.parametrize("outcomes", [[outcome(0.5, True)] * 10, [outcome(0.5, True)] * 100])
def test_too_few_or_one_sided_questions_are_refused(outcomes: list[Outcome]) -> None:
    """Ten questions, or a hundred that all have a target, decide nothing and are named."""
    with pytest.raises(InputError, match=f"{len(outcomes)} questions, {len(outcomes)} of them with a target"):
        fit(outcomes, SimVGConfig.tiny())


def test_store_changes_the_config_of_the_folder_alone(tmp_path: Path) -> None:
    """The three numbers are in the config that is read back, the rest is as before."""
    before = SimVGConfig.tiny()
    before.save_pretrained(tmp_path)
    store(Calibration(2.5, -0.3, 0.6, 100, 0.2, 0.05), tmp_path)
    after = SimVGConfig.from_pretrained(tmp_path)
    assert (after.score_temperature, after.score_bias, after.score_threshold) == (2.5, -0.3, 0.6)
    assert after.hidden_size == before.hidden_size
