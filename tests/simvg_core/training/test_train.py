"""The training loop on a toy model."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from simvg_core.errors import CheckpointError, ConfigurationError, SimVGError
from simvg_core.grounder import Grounder
from simvg_core.training.cli import app, main
from simvg_core.training.data import DataError
from simvg_core.training.sets.errors import SetError
from simvg_core.training.settings import SetSettings, TrainSettings
from simvg_core.training.train import Trainer
from tests.simvg_core.training.runs import write

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


def notes_of(settings: TrainSettings) -> list[dict[str, Any]]:
    """The lines of its log."""
    return [json.loads(line) for line in (Path(settings.output) / "log.jsonl").read_text().splitlines()]


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
    lines = notes_of(TrainSettings(**toy_settings))
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


def test_a_finished_run_is_not_trained_on(
    toy_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--resume` says so and leaves its model alone; one that is missing, or of an earlier end, is written."""
    settings = TrainSettings(**toy_settings | {"max_steps": 2})
    weights = Trainer(settings).run() / "model.safetensors"
    first, notes = weights.read_bytes(), notes_of(settings)
    weights.with_name("config.json").write_text("calibrated")
    monkeypatch.setattr(sys, "argv", ["simvg", "train", str(write(settings, tmp_path / "run.yaml")), "--resume"])
    app(standalone_mode=False)
    assert f"the run had ended at step 2; its model is in {weights.parent}" in capsys.readouterr().out
    assert weights.with_name("config.json").read_text() == "calibrated"
    weights.write_bytes(b"of an earlier end")
    os.utime(weights, (0, 0))
    assert Trainer(settings, resume=True).run() == weights.parent
    assert weights.read_bytes() == first
    weights.unlink()
    Trainer(settings, resume=True).run()
    assert weights.read_bytes() == first and notes_of(settings) == notes
    later = replace(settings, max_steps=3)
    assert sorted(losses_of(later, resume=True)) == [3]


def test_resuming_what_never_ran_is_refused(toy_settings: dict[str, Any]) -> None:
    """The remedy is to leave --resume out."""
    with pytest.raises(CheckpointError, match="start the run without --resume"):
        Trainer(TrainSettings(**toy_settings), resume=True)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            {"output": "file"},
            ConfigurationError,
            r"nothing can be written into .*file \(File exists\); name another folder with output",
        ),
        (
            {"output": "file/run"},
            ConfigurationError,
            r"nothing can be written into .*run \(Not a directory\); name another folder with output",
        ),
        ({"device": "xpu"}, ConfigurationError, r"device='xpu' cannot take the model \(.*\); use another, such as cpu"),
        ({"validation_set": SetSettings(path="gone")}, SetError, "there is no gone; name the folder of a data set"),
        ({"validation": "other"}, SetError, "other is no data set of a known format"),
    ],
)
def test_what_a_run_cannot_use_stops_it_at_once(
    wrong: dict[str, Any],
    error: type[SimVGError],
    message: str,
    toy_settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the first step, not after hours at the first evaluation; the validation's errors come from its set."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("other").mkdir()
    Path("other/notes.txt").touch()
    with pytest.raises(error, match=message):
        Trainer(TrainSettings(**toy_settings | wrong))


def test_two_runs_do_not_write_into_one_folder(toy_settings: dict[str, Any]) -> None:
    """One that begins, or goes on, while another is under way there is refused; afterwards it may."""
    settings = TrainSettings(**toy_settings | {"checkpoint_steps": 6})
    second = Trainer(settings)

    def meanwhile(step: int, terms: dict[str, float]) -> None:
        with pytest.raises(ConfigurationError, match=r"another run writes into .*run; wait for its end, or name"):
            second.run()

    Trainer(settings, on_step=meanwhile).run()
    assert [line["what"] for line in notes_of(settings)].count("start") == 1
    assert sorted(losses_of(replace(settings, max_steps=7), resume=True)) == [7]


@pytest.mark.parametrize("first", ["empty", "drawn"])
def test_a_run_without_a_picture_to_go_on_with_stops(
    first: str, toy_settings: dict[str, Any], drawn_set: Path, tmp_path: Path
) -> None:
    """Where first_data has none either, or may no longer be taken."""
    (tmp_path / "empty").mkdir()
    older = {"empty": tmp_path / "empty", "drawn": drawn_set}[first]
    fields = {"data": (str(tmp_path / "empty"),), "first_data": (str(older),), "first_share": 0.0, "first_until": 0}
    with pytest.raises(DataError, match=r"no picture to go on with: .*first_share=0, first_until=0.*raise first_until"):
        Trainer(TrainSettings(**toy_settings | fields)).run()


@pytest.mark.parametrize("made", [[], ["."], ["images", "truth"]], ids=["not there", "empty", "without pictures"])
def test_a_validation_set_that_is_not_rendered_yet_is_waited_for(
    made: list[str], toy_settings: dict[str, Any], drawn_set: Path, tmp_path: Path
) -> None:
    """Its evaluation is left out with a note, and made as soon as there are pictures."""
    folder = tmp_path / "later"
    for name in made:
        (folder / name).mkdir(parents=True)
    settings = TrainSettings(**toy_settings | {"validation": str(folder), "max_steps": 2, "evaluate_minutes": 0})

    def render(step: int, terms: dict[str, float]) -> None:
        if step == 2:
            shutil.copytree(drawn_set, folder, dirs_exist_ok=True)

    Trainer(settings, on_step=render).run()
    told = [line for line in notes_of(settings) if line["what"].startswith("validation")]
    assert [(line["what"], line["step"]) for line in told] == [("validation skipped", 1), ("validation", 2)]
    assert told[0]["reason"] == f"{folder} holds no picture yet" and told[1]["questions"] > 0


@pytest.mark.parametrize("questions", [4, 8], ids=["at the gradients", "at answers to several targets"])
def test_a_diverged_run_ends_with_the_remedy(
    questions: int,
    toy_settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line of the command, which ends with code 2."""
    wild = {"learning_rate": 1e30, "warmup_steps": 0, "queries": questions, "batch_size": questions // 2, "clip": 1e30}
    path = write(TrainSettings(**toy_settings | wild), tmp_path / "run.yaml")
    monkeypatch.setattr(sys, "argv", ["simvg", "train", str(path)])
    with pytest.raises(SystemExit, match="2"):
        main()
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"error: the gradients are no longer finite at step \d with learning_rate=1e\+30; resume with a lower one\.",
        error,
    )
