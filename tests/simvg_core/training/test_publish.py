"""From a run to a model folder with its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError
from simvg_core.grounder import Grounder
from simvg_core.training.publish import Training, halves, publish
from simvg_core.training.settings import TrainSettings
from simvg_core.training.train import Trainer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")


@pytest.fixture
def run(toy_settings: dict[str, Any]) -> Path:
    """A finished toy run."""
    return Trainer(TrainSettings(**toy_settings)).run().parent


def test_a_run_becomes_a_calibrated_model_with_its_card(run: Path, drawn_set: Path, tmp_path: Path) -> None:
    """The folder grounds, its config holds the calibration, and its card says how it was made and scored."""
    out = tmp_path / "toy-line"
    result = publish(run, out, drawn_set)
    config = Grounder.from_pretrained(out).config
    assert config.score_temperature == result["calibration"]["temperature"]
    assert result["pictures"] == 6
    assert json.loads((out / "evaluation.json").read_text())["all"] == result["all"]
    card = (out / "README.md").read_text()
    assert card.startswith("# toy-line\n") and "6 steps of 2 pictures with 4 questions" in card
    assert "| **all** |" in card


def test_pictures_that_calibrate_are_not_scored() -> None:
    """The halves share nothing and leave nothing out."""
    names = [f"{index:06d}" for index in range(7)]
    first, second = halves(names)
    assert not set(first) & set(second) and sorted(first + second) == names


def test_an_unfinished_run_is_refused(tmp_path: Path, drawn_set: Path) -> None:
    """No weights, no model folder."""
    with pytest.raises(CheckpointError, match="let the run end"):
        publish(tmp_path, tmp_path / "out", drawn_set)
    assert not (tmp_path / "out").exists()


def test_a_log_without_steps_is_refused(tmp_path: Path) -> None:
    """The card would have nothing to tell."""
    (tmp_path / "log.jsonl").write_text('{"what": "settings"}\n')
    with pytest.raises(CheckpointError, match="tells of no training step"):
        Training.of(tmp_path)


def test_the_run_itself_stays_as_it_was(run: Path, drawn_set: Path, tmp_path: Path) -> None:
    """Publishing calibrates the copy only."""
    publish(run, tmp_path / "out", drawn_set)
    assert SimVGConfig.from_pretrained(run / "model").score_temperature == 1.0
