"""Runs of toy models for tests: their settings as files, their losses by step."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from simvg_core.training.settings import TrainSettings
from simvg_core.training.train import Trainer


def write(settings: TrainSettings, path: Path) -> Path:
    """As a config file."""
    plain = {key: value for key, value in asdict(settings).items() if value not in (None, (), {})}
    path.write_text(yaml.safe_dump(_lists(plain)))
    return path


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(one) for key, one in value.items() if one is not None}
    return [_lists(one) for one in value] if isinstance(value, tuple | list) else value


def losses(settings: TrainSettings, *, resume: bool = False) -> dict[int, float]:
    """By step, to the end."""
    return {step: terms["loss"] for step, terms in terms_of(settings, resume=resume).items()}


def terms_of(settings: TrainSettings, *, resume: bool = False) -> dict[int, dict[str, float]]:
    """The loss and its terms by step, to the end."""
    found: dict[int, dict[str, float]] = {}
    Trainer(settings, resume=resume, on_step=lambda step, terms: found.update({step: terms})).run()
    return found
