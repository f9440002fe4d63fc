"""Killed for good and gone on with: real processes, both kinds of data."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from simvg_core.errors import CheckpointError
from simvg_core.training.settings import JitterSettings, SetSettings, TrainSettings, read_settings
from simvg_core.training.train import CHECKPOINT, Trainer
from tests.simvg_core.training.runs import losses, write

# A process that imports torch takes seconds on an idle machine, and minutes on a crowded one.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard"), pytest.mark.timeout(900)]

# Ends itself as a kill would, after its fifth step and before that is saved; writes every loss to the last bit.
CHILD = """
import os, signal, sys
from pathlib import Path
from simvg_core.training.settings import read_settings
from simvg_core.training.train import Trainer

def note(step, terms):
    with open(sys.argv[2], "a") as file:
        file.write(f"{step} {terms['loss'].hex()}\\n")
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

Trainer(read_settings(Path(sys.argv[1])), on_step=note).run()
"""


@pytest.fixture(params=["rendered", "worded"])
def settings(request: pytest.FixtureRequest, toy_settings: dict[str, Any], worded_set: Path) -> TrainSettings:
    """Seven steps, saved after every second one; rounds and epochs end in between."""
    common = toy_settings | {"max_steps": 7, "checkpoint_steps": 2, "workers": 1}
    if request.param == "rendered":
        return TrainSettings(**common)
    model = {"tokenizer": "fast", "num_queries": 2, "dropout": 0.1, "drop_path_rate": 0.3}
    worded = {"data": (), "sets": (SetSettings(path=str(worded_set)),), "architecture": "tiny", "model": model}
    return TrainSettings(**common | worded | {"batch_size": 8, "accumulation": 2, "jitter": JitterSettings()})


def test_a_run_killed_outright_goes_on_with_the_losses_of_an_undisturbed_one(
    settings: TrainSettings, tmp_path: Path
) -> None:
    """To the last bit, dropout and jitter included, and with the same averaged weights."""
    config = write(settings, tmp_path / "run.yaml")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, config, tmp_path / "losses"], capture_output=True, text=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert (Path(settings.output) / CHECKPOINT).is_file()
    told = dict(line.split() for line in (tmp_path / "losses").read_text().splitlines())
    killed = {int(step): float.fromhex(loss) for step, loss in told.items()}
    resumed = losses(read_settings(config), resume=True)
    whole = losses(read_settings(config, output=str(tmp_path / "whole")))
    assert sorted(killed) == [1, 2, 3, 4, 5] and sorted(resumed) == [5, 6, 7]
    assert killed | resumed == whole and killed[5] == resumed[5]
    assert settings.ema > 0
    averaged, undisturbed = (
        load_file(folder / "model/model.safetensors") for folder in (Path(settings.output), tmp_path / "whole")
    )
    assert averaged.keys() == undisturbed.keys()
    assert all(torch.equal(value, undisturbed[name]) for name, value in averaged.items())


@pytest.fixture
def begun(toy_settings: dict[str, Any]) -> TrainSettings:
    """A run with a checkpoint."""
    settings = TrainSettings(**toy_settings | {"max_steps": 1})
    losses(settings)
    return settings


# Goes on with a run where no file may grow beyond so many bytes.
FULL = """
import resource, signal
from simvg_core.training.fields import build
from simvg_core.training.settings import TrainSettings
from simvg_core.training.train import Trainer

trainer = Trainer(build(TrainSettings, {settings!r}, "settings"), resume=True)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, resource.RLIM_INFINITY))
trainer.run()
"""


class Evil:
    """Runs a command when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("true",))


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _with_code(path: Path) -> None:
    torch.save(torch.load(path) | {"scaler": Evil()}, path)


def _a_list(path: Path) -> None:
    torch.save([1, 2], path)


def _weights_only(path: Path) -> None:
    torch.save({"model": torch.load(path)["model"]}, path)


def _no_weights(path: Path) -> None:
    torch.save(torch.load(path) | {"model": {"encoder.object_tokens": 3}}, path)


def _no_optimizer(path: Path) -> None:
    torch.save(torch.load(path) | {"optimizer": {"state": 1, "param_groups": 2}}, path)


def _other_progress(path: Path) -> None:
    torch.save(torch.load(path) | {"progress": {"stride": 3}}, path)


def _no_progress(path: Path) -> None:
    torch.save(torch.load(path) | {"progress": {"step": "three"}}, path)


BROKEN = {
    "empty": (_emptied, r"is truncated or not a torch file \(it is empty\)"),
    "truncated": (_cut, r"is truncated or not a torch file \(its end is missing\)"),
    "code": (_with_code, "holds more than tensors and plain containers, and is not opened"),
    "a list": (_a_list, "holds a list, not a dictionary"),
    "weights only": (_weights_only, "is no checkpoint of a training run: it has no ema, optimizer, progress"),
    "no weights": (_no_weights, "does not fit this run's settings"),
    "no optimizer": (_no_optimizer, "does not fit this run's settings"),
    "other progress": (_other_progress, r"(?s)does not fit this run's settings .*stride"),
    "no progress": (_no_progress, r"(?s)does not fit this run's settings .*'three'"),
}


@pytest.mark.parametrize(("harm", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_checkpoint_is_refused_with_the_remedy(
    harm: Callable[[Path], None], message: str, begun: TrainSettings
) -> None:
    """The file, what is wrong with it, and how to begin anew; nothing in it is run."""
    path = Path(begun.output) / CHECKPOINT
    harm(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        Trainer(begun, resume=True)
    assert str(path) in str(caught.value)
    assert "leave out --resume" in str(caught.value)


def test_a_checkpoint_of_other_samples_is_refused(
    toy_settings: dict[str, Any], worded_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its steps name them by their places: they would be taken for others. An earlier version's does not tell them."""
    folder = shutil.copytree(worded_set, tmp_path / "mine")
    settings = TrainSettings(**toy_settings | {"data": (), "sets": (SetSettings(path=str(folder)),), "max_steps": 2})
    losses(settings)
    later = replace(settings, max_steps=3)
    document = json.loads((folder / "annotations.json").read_text())
    first = document["expressions"].pop(0)
    (folder / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=r"trained with other samples than the sets hold now .*start anew with"):
        Trainer(later, resume=True)
    path = Path(settings.output) / CHECKPOINT
    state = torch.load(path)
    del state["samples"]
    torch.save(state, path)
    Trainer(later, resume=True)
    assert [text for text in caplog.messages if "does not tell its samples" in text]
    document["expressions"].insert(0, first)
    (folder / "annotations.json").write_text(json.dumps(document))
    assert sorted(losses(later, resume=True)) == [3]


def test_other_rendered_sets_get_a_round_of_their_own(
    toy_settings: dict[str, Any], drawn_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left of the checkpoint's round names its sets by their places."""
    second = str(shutil.copytree(drawn_set, tmp_path / "second"))
    settings = TrainSettings(**toy_settings | {"data": (second, str(drawn_set)), "round_steps": 12, "max_steps": 2})
    losses(settings)
    shutil.rmtree(second)
    later = replace(settings, data=(str(drawn_set),), max_steps=10)
    assert sorted(losses(later, resume=True)) == list(range(3, 11))
    assert [text for text in caplog.messages if "the rendered sets are others than the checkpoint's" in text]


def test_the_weights_stay_those_of_the_checkpoint_where_no_average_is_kept_any_more(begun: TrainSettings) -> None:
    """Not the averaged ones, which the optimizer's state does not belong to."""
    state = torch.load(Path(begun.output) / CHECKPOINT)
    model = Trainer(replace(begun, ema=0.0, max_steps=2), resume=True).model.state_dict()
    assert any(not torch.equal(value, state["ema"][name]) for name, value in state["model"].items())
    assert all(torch.equal(value, state["model"][name]) for name, value in model.items())


@pytest.mark.parametrize(("room", "what"), [(100_000, CHECKPOINT), (300, "log.jsonl")])
def test_a_full_disk_ends_a_run_with_the_remedy(room: int, what: str, begun: TrainSettings) -> None:
    """The checkpoint before it stays, and the run goes on from there."""
    child = FULL.format(room=room, settings=asdict(begun) | {"max_steps": 3})
    told = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=False)
    assert re.search(rf"ConfigurationError: \S*{what} cannot be written \(.+\); make room on its disk", told.stderr)
    assert not (Path(begun.output) / "checkpoint.part").exists()
    assert sorted(losses(replace(begun, max_steps=3), resume=True)) == [2, 3]


def test_a_checkpoint_of_another_model_is_refused(begun: TrainSettings) -> None:
    """Its settings are the remedy."""
    other = replace(begun, model=begun.model | {"num_hidden_layers": 2})
    with pytest.raises(
        CheckpointError, match=r"(?s)does not fit this run's settings .*resume with those it was begun with"
    ):
        Trainer(other, resume=True)
