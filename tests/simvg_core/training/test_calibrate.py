"""Calibration on made-up scores."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from simvg import app
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import InputError
from simvg_core.training.calibrate import QUIET, fit, store
from simvg_core.training.metrics import Outcome

BOX = np.array([[0.1, 0.1, 0.4, 0.4]], np.float32)


def outcomes(sharpness: float, offset: float, count: int = 800) -> list[Outcome]:
    """Questions whose true chance is known, said with `sharpness` times its logit and an offset."""
    rng = np.random.default_rng(0)
    result = []
    for logit in rng.uniform(-4, 4, count):
        there = rng.random() < 1 / (1 + np.exp(-logit))
        said = np.array([1 / (1 + np.exp(-(sharpness * logit + offset)))], np.float32)
        truth = BOX if there else BOX[:0]
        result.append(Outcome(text="bolt", image="0", boxes=BOX, scores=said, score=float(said[0]), truth=truth))
    return result


def said(there: bool, score: float) -> Outcome:
    """One question with one answer."""
    scores = np.array([score], np.float32)
    return Outcome(text="bolt", image="0", boxes=BOX, scores=scores, score=score, truth=BOX if there else BOX[:0])


def test_overconfident_scores_become_chances() -> None:
    """Three times too sharp and shifted: the fit finds both."""
    found = fit(outcomes(3.0, 1.0), SimVGConfig.line_small())
    assert found.temperature == pytest.approx(3.0, rel=0.2)
    assert found.bias == pytest.approx(-1 / 3, abs=0.2)
    assert found.ece_after < 0.06 < found.ece_before


def test_a_threshold_leaves_nearly_all_unanswered_that_is_not_there() -> None:
    """Where the most exact answers would come with more false ones than `QUIET` allows; where no threshold is so quiet,
    the most exact answers decide."""
    made = outcomes(1.0, 0.0)
    threshold = fit(made, SimVGConfig.line_small()).threshold
    absent = [one.score for one in made if not one.there]
    assert np.mean(np.array(absent) < threshold) >= QUIET > np.mean(np.array(absent) < threshold - 0.1)
    loud = [
        one if one.there or place % 5 else replace(one, scores=one.scores * 0 + 0.999, score=0.999)
        for place, one in enumerate(made)
    ]
    assert fit(loud, SimVGConfig.line_small()).threshold < 0.9


def test_fitting_again_changes_nothing() -> None:
    """A stored calibration is taken into account."""
    config = SimVGConfig.line_small()
    first = fit(outcomes(3.0, 1.0), config)
    store(config, first)
    made = outcomes(3.0, 1.0)
    said = [(np.log(one.scores / (1 - one.scores)) / first.temperature + first.bias) for one in made]
    again = [
        replace(one, scores=1 / (1 + np.exp(-value)), score=float(1 / (1 + np.exp(-value[0]))))
        for one, value in zip(made, said, strict=True)
    ]
    assert fit(again, config).temperature == pytest.approx(first.temperature, rel=1e-3)


@pytest.mark.parametrize("count", [1, 10, 50])
def test_few_questions_that_a_score_parts_make_no_certainty(count: int) -> None:
    """No temperature is small enough to fit them: what is said is no surer than their number allows."""
    made = [said(True, 0.8)] * count + [said(False, 0.3)] * count
    config = SimVGConfig.line_small()
    found = fit(made, config)
    assert found.temperature > 0.1
    store(config, found)
    sure, unsure = (1 / (1 + np.exp(-(np.log(p / (1 - p)) / found.temperature + found.bias))) for p in (0.8, 0.3))
    assert sure == pytest.approx((count + 1) / (count + 2), abs=1e-3) and unsure == pytest.approx(1 - sure, abs=2e-3)


def test_scores_that_tell_nothing_are_refused() -> None:
    """Those without a target score higher: the likeliest is the same chance for all."""
    made = outcomes(-1.0, 0.0)
    with pytest.raises(InputError, match=r"questions with a target are no higher than those of \d+ without.* train on"):
        fit(made, SimVGConfig.line_small())


def test_one_sided_outcomes_are_refused() -> None:
    """Without absent things there is nothing to fit."""
    with pytest.raises(InputError, match=r"got 1 with and 0 without"):
        fit([one for one in outcomes(1.0, 0.0) if len(one.truth)][:1], SimVGConfig.line_small())


def test_the_command_finds_the_states_that_cells_tell_surer_than_texts(tmp_path: Path) -> None:
    """Of the shipped model those of labels, and no fastener's; of too few questions none. Nothing else changes."""
    model = tmp_path / "model"
    shutil.copytree("models/line-small", model, ignore=shutil.ignore_patterns("onnx"))
    before = SimVGConfig.from_pretrained(model)
    asked = ["calibrate", str(model), "--data", "benchmarks/line/val", "--states", "--limit"]
    done = CliRunner().invoke(app, [*asked, "5"])
    assert done.exit_code == 0, done.output
    assert "states that cells tell: none" in done.output
    assert SimVGConfig.from_pretrained(model).cell_states == {}
    done = CliRunner().invoke(app, [*asked, "140"])
    assert "states that cells tell: label (temperature" in done.output, done.output
    found = SimVGConfig.from_pretrained(model)
    assert list(found.cell_states) == ["label"]
    temperature, bias = found.cell_states["label"]
    assert 0.2 < temperature < 0.8, "the dense aid's loss makes it less sure than it is right"
    assert 0 < bias < 2
    found.cell_states = before.cell_states
    assert found.to_dict() == before.to_dict()
    refused = CliRunner().invoke(app, [*asked, "5", "--threshold"])
    assert isinstance(refused.exception, InputError) and "give one of them" in str(refused.exception)
