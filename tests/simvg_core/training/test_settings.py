"""Settings of a run: what a file may say, and how it is told what it may not."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from simvg_core.errors import ConfigurationError
from simvg_core.training.augment import AugmentSettings
from simvg_core.training.cli import main
from simvg_core.training.jitter import JitterSettings
from simvg_core.training.settings import SetSettings, TrainSettings, read_settings

WRONG = {
    "learning_rat: 0.1": "has no setting 'learning_rat'; did you mean 'learning_rate'?",
    "1: 2": "has no setting 1; known are sets, ",
    "learning_rate: -1": "learning_rate=-1.0 must be above 0.",
    "learning_rate: fast": "learning_rate='fast' must be a finite number.",
    "learning_rate: .nan": "learning_rate=nan must be a finite number.",
    "learning_rate: null": "learning_rate=None must be a finite number.",
    "clip: true": "clip=True must be a finite number.",
    "betas: [0.9]": "betas=[0.9] must be a list of 2 values.",
    "betas: 0.9": "betas=0.9 must be a list of 2 values.",
    "betas: [0.9, 1]": "betas[1]=1.0 must lie in 0 … 1, 1 excluded.",
    "decay_epochs: [21, x]": "decay_epochs[1]='x' must be a whole number.",
    "ema: 1": "ema=1.0 must lie in 0 … 1, 1 excluded.",
    "designations: 2": "designations=2.0 must lie in 0 … 1.",
    "batch_size: 0": "batch_size=0 must be at least 1.",
    "batch_size: 2.5": "batch_size=2.5 must be a whole number.",
    "max_steps: 0": "max_steps=0 must be at least 1.",
    "max_minutes: 0": "max_minutes=0.0 must be above 0.",
    "max_epochs: 0": "max_epochs=0 must be at least 1.",
    "workers: -1": "workers=-1 must be at least 0.",
    "threads: x": "threads='x' must be a whole number.",
    "seed: [1]": "seed=[1] must be a whole number.",
    "seed: 99999999999999": "seed=99999999999999 must lie in 0 … 1e+10.",
    "worker_processes: 1": "worker_processes=1 must be true or false.",
    "output: 2024": "output=2024 must be text; put it in quotes.",
    "data: [1]": "data[0]=1 must be text; put it in quotes.",
    "device: foo": "device='foo' is not known; use auto, cpu, cuda, cuda:N, mps or xpu.",
    "precision: fp8": "precision='fp8' is not known; use one of auto, bf16, fp16, fp32.",
    "schedule: [steps]": "schedule=['steps'] is not known; use one of cosine, steps.",
    "model: [1]": "model=[1] must be a mapping of names to values.",
    "model: {1: 2}": "a name in model=1 must be text; put it in quotes.",
    "sets: [a]": "sets[0]='a' must be a mapping of names to values.",
    "validation_set: {split: val}": "validation_set lacks path; add it.",
    "jitter: {tries: 0}": "jitter: tries=0 must be at least 1.",
    "jitter: {scale: [1.4, 0.3]}": "jitter: scale=(1.4, 0.3) must rise from above 0.",
    "augmentation: {blurr: 0.1}": "augmentation has no setting 'blurr'; did you mean 'blur'?",
    "augmentation: {blur: much}": "augmentation: blur='much' must be a finite number.",
    "augmentation: {zoom: 2}": "augmentation: zoom=2 must be a list of 2 values.",
    "augmentation: {gain: [0, 1]}": "augmentation: gain=(0.0, 1.0) must rise from above 0.",
    "augmentation: {noise_sigma: 1}": "augmentation: noise_sigma=1.0 must be at least 1.5.",
    "augmentation: {jpeg_quality: [20, 200]}": "augmentation: jpeg_quality[1]=200 must lie in 1 … 100.",
    "augmentation: {jpeg_quality: [20, 20]}": "augmentation: jpeg_quality=(20, 20) must rise from above 0.",
    "augmentation: strong": "augmentation='strong' must be a mapping of names to values.",
    "schedule: steps": "rendered sets may grow, so they have no epochs: leave out schedule: steps",
}


def written(folder: Path, line: str) -> Path:
    """A file with that line and a run around it."""
    path = folder / "run.yaml"
    base = {"data": "data: [x]", "max_steps": "max_steps: 1"}
    path.write_text("\n".join([line, *(one for key, one in base.items() if not line.startswith(key))]))
    return path


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_setting_is_named_with_its_value_and_the_remedy(line: str, tmp_path: Path) -> None:
    """In one line, with the file; nothing unknown is taken silently."""
    path = written(tmp_path, line)
    with pytest.raises(ConfigurationError, match=re.escape(WRONG[line])) as caught:
        read_settings(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"data: x\n", "the run has no end; set max_steps or max_minutes, or max_epochs"),
        (b"max_steps: 1\n", "data names no folder; give at least one rendered set"),
        (b"data: x\nsets: {path: y}\nmax_steps: 1\n", "data and sets are trained on apart"),
        (b"sets: {path: y}\nfirst_data: x\nmax_steps: 1\n", "first_data goes before rendered sets; leave it out"),
        (
            b"data: x\nvalidation: y\nvalidation_set: {path: z}\nmax_steps: 1\n",
            "are for one purpose; leave one of them out",
        ),
        (b"", "must be a mapping of names to values"),
        (b"output: \xfc\n", r"cannot be read \(.*can't decode byte 0xfc.*\); give a YAML file in UTF-8"),
        (b"data: [x\n", r"cannot be read \(.*expected ',' or '\]'.*\); give a YAML file in UTF-8"),
    ],
    ids=["endless", "without data", "both kinds", "first data", "two validations", "empty", "not UTF-8", "not YAML"],
)
def test_a_file_that_describes_no_run_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    """In one line, with its path."""
    path = tmp_path / "run.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_settings(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("learning_rate: 5e-4", "learning_rate", 5e-4),
        ("max_steps: 1e4", "max_steps", 10_000),
        ("clip: 1", "clip", 1.0),
        ("betas: [9e-1, 0.98]", "betas", (0.9, 0.98)),
        ("first_data: older", "first_data", ("older",)),
        ("decay_epochs: 25", "decay_epochs", (25,)),
        ("ema: 0", "ema", 0.0),
        ("device: cuda:1", "device", "cuda:1"),
        ("jitter: null", "jitter", None),
        ("jitter: {scale: [1, 1]}", "jitter", JitterSettings(scale=(1.0, 1.0))),
        ("augmentation: {noise: 0}", "augmentation", AugmentSettings(noise=0.0)),
        ("validation_set: {path: x, split: val}", "validation_set", SetSettings(path="x", split="val")),
    ],
)
def test_values_get_the_type_of_their_setting(line: str, name: str, value: Any, tmp_path: Path) -> None:
    """YAML 1.1 reads 5e-4 as text, and what is meant as a list of one may be written without brackets."""
    found = getattr(read_settings(written(tmp_path, line)), name)
    assert found == value and type(found) is type(value)


def test_settings_made_in_code_are_checked_as_well() -> None:
    """With the same words."""
    with pytest.raises(ConfigurationError, match="workers=-1 must be at least 0"):
        TrainSettings(data=("x",), max_steps=1, workers=-1)


def test_the_command_prints_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And ends with code 2; its options are checked like the file."""
    path = written(tmp_path, "threads: 1")
    monkeypatch.setattr(sys, "argv", ["simvg", "train", str(path), "--minutes", "0"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == f"error: {path}: max_minutes=0.0 must be above 0.\n"


def test_shipped_configs_are_valid() -> None:
    """Every YAML file in configs/."""
    folder = Path(__file__).parents[3] / "simvg_core/training/configs"
    assert [read_settings(path) for path in sorted(folder.glob("*.yaml"))]
