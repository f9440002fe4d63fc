"""Killed for good and gone on with: real processes, both kinds of data."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simvg_core.training.settings import JitterSettings, SetSettings, TrainSettings, read_settings
from simvg_core.training.train import CHECKPOINT
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
    """To the last bit, dropout and jitter included."""
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
