"""Several processes, several passes and layers computed twice learn what one process in one pass does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from simvg_core.encoder import MultiwayLayer
from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.training.processes import make_processes
from simvg_core.training.settings import SetSettings, TrainSettings
from simvg_core.training.train import CHECKPOINT, Trainer
from tests.simvg_core.training.runs import losses, terms_of, write

# A process that imports torch takes seconds on an idle machine, and minutes on a crowded one.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard"), pytest.mark.timeout(900)]

# Trains by each config, stopped in its fourth step and gone on with; writes every term of every step beside it. A
# thread of the process group that outlives the interpreter aborts now and then, at the very end.
CHILD = """
import json, sys
from pathlib import Path
from simvg_core.training.settings import read_settings
from simvg_core.training.train import Trainer

class Stopped(Exception):
    pass

def stop(step, terms):
    found[step] = terms
    if step == 4:
        raise Stopped

for config in map(Path, sys.argv[1:]):
    settings, found = read_settings(config), {}
    try:
        Trainer(settings, on_step=stop).run()
    except Stopped:
        del found[4]
    trainer = Trainer(settings, resume=True, on_step=lambda step, terms: found.update({step: terms}))
    trainer.run()
    if trainer.processes.first:
        config.with_suffix(".json").write_text(json.dumps({"count": trainer.processes.count, "steps": found}))
trainer.close()
threads = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
assert not any("gloo" in thread for thread in threads), threads
"""


@pytest.fixture
def worded(toy_settings: dict[str, Any], worded_set: Path) -> TrainSettings:
    """Five steps of the paper's model at toy size, with nothing random in a step."""
    model = {"tokenizer": "fast", "num_queries": 2, "dropout": 0.0}
    fields = {"data": (), "sets": (SetSettings(path=str(worded_set)),), "architecture": "tiny", "model": model}
    return TrainSettings(**toy_settings | fields | {"batch_size": 4, "max_steps": 5})


@pytest.fixture
def rendered(toy_settings: dict[str, Any], tmp_path: Path) -> TrainSettings:
    """Five steps of the line's model at toy size, with all its terms."""
    fields = {"output": str(tmp_path / "rendered"), "batch_size": 2, "max_steps": 5}
    return TrainSettings(**toy_settings | fields)


def test_two_processes_stopped_and_resumed_have_the_losses_of_one_with_twice_the_batch(
    worded: TrainSettings, rendered: TrainSettings, tmp_path: Path
) -> None:
    """Every term of both kinds of model, whatever its part of the batch holds: targets or none, colours or none. And
    the words of both count, whatever accelerate's configuration says of precision."""
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    # batch norm is over a process's own pictures, so the line's model goes without its stem here
    rendered = replace(rendered, model={**rendered.model, "patch_embedding": "linear"})
    runs = {name: write(settings, tmp_path / f"{name}.yaml") for name, settings in (("a", worded), ("b", rendered))}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": "bf16"}
    launched = subprocess.run(
        [*launcher, child, *runs.values()], env=environment, capture_output=True, text=True, check=False
    )
    assert launched.returncode == 0, launched.stderr
    for settings, config in zip((worded, rendered), runs.values(), strict=True):
        told = json.loads(config.with_suffix(".json").read_text())
        assert told["count"] == 2
        whole = terms_of(replace(settings, batch_size=2 * settings.batch_size, output=f"{settings.output}-whole"))
        assert list(whole) == [int(step) for step in told["steps"]] == [1, 2, 3, 4, 5]
        for step, terms in whole.items():
            assert told["steps"][str(step)] == pytest.approx(terms, rel=1e-5), step
        heard, of_one = (
            torch.load(Path(folder) / CHECKPOINT)["progress"]["heard"]
            for folder in (settings.output, f"{settings.output}-whole")
        )
        assert heard == of_one and heard


def test_one_of_several_processes_draws_the_progress_bar(rendered: TrainSettings, tmp_path: Path) -> None:
    """And says where the model is; the terminal is theirs together. The bar ends full."""
    config = write(replace(rendered, max_steps=1), tmp_path / "run.yaml")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    apart = ["--redirects", "3", "--log-dir", str(tmp_path / "told")]
    command = [*launcher, *apart, "-m", "simvg_core.training.cli", "train", str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FORCE_COLOR": "1", "COLUMNS": "120"}
    launched = subprocess.run(
        command, cwd=Path(__file__).parents[3], env=environment, capture_output=True, text=True, check=False
    )
    first, second = sorted((tmp_path / "told").rglob("stdout.log"))
    assert launched.returncode == 0, launched.stderr + second.with_name("stderr.log").read_text()
    assert re.search(r"step 1, loss \d+\.\d{3}", first.read_text()) and "model written to" in first.read_text()
    assert second.read_text() == ""


def test_a_step_in_several_passes_is_the_mean_of_them(worded: TrainSettings, worded_set: Path, tmp_path: Path) -> None:
    """Where all passes hold as many targets, loss and gradients are those of one pass, to rounding."""
    folder = tmp_path / "single"
    folder.mkdir()
    (folder / "images").symlink_to(worded_set / "images")
    document = json.loads((worded_set / "annotations.json").read_text())
    document["expressions"] = [one for one in document["expressions"] if len(one["annotation_ids"]) == 1]
    (folder / "annotations.json").write_text(json.dumps(document))
    fields: dict[str, Any] = {
        "model": {**worded.model, "loss_weights": {"decoder": 1.0, "token": 2.0}},
        "sets": (SetSettings(path=str(folder)),),
    }
    whole = replace(worded, **fields, batch_size=8, output=str(tmp_path / "whole"))
    parts = replace(worded, **fields, batch_size=2, accumulation=4, output=str(tmp_path / "parts"))
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)
    assert norms(parts) == pytest.approx(norms(whole), rel=1e-4)


def norms(settings: TrainSettings) -> list[float]:
    """Of the gradients, by step; the log has five digits."""
    lines = [json.loads(line) for line in (Path(settings.output) / "log.jsonl").read_text().splitlines()]
    return [line["norm"] for line in lines if line["what"] == "train"]


@pytest.mark.parametrize("attention", ["joint", "standing"])
def test_remembering_less_changes_nothing(
    attention: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoder layers are computed twice, with the same draws, and give the losses of layers computed once."""
    settings: TrainSettings = request.getfixturevalue("worded" if attention == "joint" else "rendered")
    random = {"drop_path_rate": 0.3, "num_hidden_layers": 2}
    settings = replace(settings, model={**settings.model, **random}, max_steps=3)
    runs: list[int] = []
    update = MultiwayLayer.update
    monkeypatch.setattr(MultiwayLayer, "update", lambda *args: runs.append(0) or update(*args))
    plain = losses(replace(settings, output=str(tmp_path / "plain")))
    once = len(runs)
    again = losses(replace(settings, gradient_checkpointing=True, output=str(tmp_path / "again")))
    assert once > 0 and len(runs) - once == 2 * once
    assert again == pytest.approx(plain, rel=1e-6)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    """With the remedy."""
    with pytest.raises(ConfigurationError, match="torch sees no GPU; use device: cpu"):
        make_processes("cuda:7")


def test_one_named_device_is_refused_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes its own."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match="device='cpu:0' is one for 2 processes; use device: cpu"):
        make_processes("cpu:0")


def test_a_launcher_that_started_fewer_processes_than_it_was_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As accelerate launch --cpu --num_processes 2 does, which leaves nothing but the meeting point behind."""
    for name in ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ConfigurationError, match=r"started this one alone, .* --multi_gpu"):
        make_processes("cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert make_processes("cpu").count == 1


def test_a_run_is_not_resumed_with_another_number_of_pictures_per_step(rendered: TrainSettings) -> None:
    """A round that was cut for two processes would lose half its pictures in one."""
    Trainer(replace(rendered, batch_size=4, max_steps=1)).run()
    with pytest.raises(CheckpointError, match="trained with 4 pictures per step, this run has 2"):
        Trainer(rendered, resume=True)
    assert Trainer(replace(rendered, accumulation=2), resume=True).progress.step == 1
