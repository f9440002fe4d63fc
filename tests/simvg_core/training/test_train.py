"""The training loop on a toy model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.grounder import Grounder
from simvg_core.training.settings import TrainSettings, read_settings
from simvg_core.training.train import Trainer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")


class Killed(Exception):
    """Stands for the end of the process."""


def losses_of(settings: TrainSettings, *, stop_after: int | None = None, resume: bool = False) -> dict[int, float]:
    """Loss by step; ends with `Killed` where the process is killed."""
    losses: dict[int, float] = {}

    def note(step: int, terms: dict[str, float]) -> None:
        losses[step] = terms["loss"]
        if stop_after is not None and step > stop_after:
            raise Killed

    try:
        Trainer(settings, resume=resume, on_step=note).run()
    except Killed:
        losses.pop(max(losses))  # this step was never saved
    return losses


def test_a_killed_run_resumes_with_the_losses_of_an_undisturbed_one(
    toy_settings: dict[str, Any], tmp_path: Path
) -> None:
    """In the middle of a round and of the schedule, to the last bit."""
    whole = losses_of(TrainSettings(**toy_settings | {"output": str(tmp_path / "whole")}))
    settings = TrainSettings(**toy_settings)
    first = losses_of(settings, stop_after=2)
    rest = losses_of(settings, resume=True)
    assert sorted(first) == [1, 2] and sorted(rest) == [3, 4, 5, 6]
    assert first | rest == whole


def test_a_finished_run_leaves_a_model_that_grounds(toy_settings: dict[str, Any]) -> None:
    """The folder holds weights, config and tokenizer."""
    folder = Trainer(TrainSettings(**toy_settings)).run()
    answer = Grounder.from_pretrained(str(folder)).ground([torch.zeros(60, 80, 3).byte().numpy()], ["missing bolt"])
    assert answer[0][0].state in ("present", "absent", "unknown")
    lines = [json.loads(line) for line in (folder.parent / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["what"] == "train"] == [1, 2, 3, 4, 5, 6]


def test_a_toy_model_learns_its_pictures(toy_settings: dict[str, Any]) -> None:
    """The loss of thirty steps on two pictures falls."""
    losses = losses_of(TrainSettings(**toy_settings | {"max_steps": 30, "learning_rate": 3e-3}))
    assert sum(losses[step] for step in range(26, 31)) < 0.8 * sum(losses[step] for step in range(1, 6))


def test_minutes_end_a_run(toy_settings: dict[str, Any]) -> None:
    """The clock is passed in: ten seconds a look, two minutes to go."""
    now = iter(range(0, 100_000, 10))
    settings = TrainSettings(**toy_settings | {"max_steps": None, "max_minutes": 2.0})
    trainer = Trainer(settings, clock=lambda: float(next(now)))
    trainer.run()
    assert 3 <= trainer.progress.step <= 12


def test_a_new_run_does_not_overwrite_an_old_one(toy_settings: dict[str, Any]) -> None:
    """Resume it or go elsewhere."""
    settings = TrainSettings(**toy_settings | {"max_steps": 1})
    Trainer(settings).run()
    with pytest.raises(ConfigurationError, match="already holds a run; resume it"):
        Trainer(settings)


def test_resuming_what_never_ran_is_refused(toy_settings: dict[str, Any]) -> None:
    """The remedy is to leave --resume out."""
    with pytest.raises(CheckpointError, match="start the run without --resume"):
        Trainer(TrainSettings(**toy_settings), resume=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rat: 0.1", "no setting 'learning_rat'; did you mean 'learning_rate'"),
        ("augmentation: {blurr: 0.1}", "no setting 'blurr'; did you mean 'blur'"),
        ("batch_size: 0", "batch_size=0 must be at least 1"),
        ("precision: fp8", "precision='fp8' is not known"),
    ],
)
def test_wrong_settings_name_key_and_remedy(tmp_path: Path, line: str, message: str) -> None:
    """Nothing unknown is taken silently."""
    path = tmp_path / "run.yaml"
    path.write_text(f"data: [x]\nmax_steps: 1\n{line}\n")
    with pytest.raises(ConfigurationError, match=message):
        read_settings(path)


def test_a_run_without_an_end_is_refused(tmp_path: Path) -> None:
    """Steps or minutes."""
    path = tmp_path / "run.yaml"
    path.write_text("data: x\n")
    with pytest.raises(ConfigurationError, match="set max_steps or max_minutes"):
        read_settings(path)


def test_shipped_configs_are_valid() -> None:
    """Every YAML file in configs/."""
    folder = Path(__file__).parents[3] / "simvg_core/training/configs"
    assert [read_settings(path) for path in sorted(folder.glob("*.yaml"))]
