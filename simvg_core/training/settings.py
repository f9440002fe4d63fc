"""Settings of a training run, read from one YAML file; unknown keys refuse to start."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from simvg_core.errors import ConfigurationError
from simvg_core.training.augment import AugmentSettings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One run. It ends at `max_steps` or `max_minutes`, whichever comes first; the schedule follows both.

    Args:
        data: folders of rendered sets; pictures that appear while training are taken in.
        first_data: drawn or older sets that fill the rounds while less than `first_share` of the run is done, or while
            `data` holds fewer than `first_until` pictures.
        validation: a rendered set for the periodic evaluation.
        model: fields of `SimVGConfig.line_small` by name.
        batch_size: pictures per step, each with `queries` questions.
        round_steps: the folders are listed anew after so many steps.
        workers: picture preparation; `worker_processes` for GPUs, which threads cannot feed.
        precision: "bf16" (autocast) or "fp32".
        threads: of torch on the CPU.
        start_from: a model folder whose weights are the start.
    """

    data: tuple[str, ...]
    first_data: tuple[str, ...] = ()
    first_share: float = 0.1
    first_until: int = 1600
    validation: str | None = None
    output: str = "data/runs/line"
    model: dict[str, Any] = field(default_factory=dict)
    augmentation: AugmentSettings = field(default_factory=AugmentSettings)
    batch_size: int = 8
    queries: int = 14
    max_targets: int = 8
    seed: int = 1
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    warmup_steps: int = 150
    clip: float = 1.0
    ema: float = 0.998
    max_steps: int | None = None
    max_minutes: float | None = None
    round_steps: int = 200
    evaluate_minutes: float = 8.0
    evaluate_pictures: int = 150
    checkpoint_steps: int = 100
    log_steps: int = 20
    workers: int = 1
    worker_processes: bool = False
    threads: int = 1
    precision: str = "bf16"
    device: str = "auto"
    start_from: str | None = None

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_minutes is None:
            raise ConfigurationError("the run has no end; set max_steps or max_minutes.")
        for name in ("batch_size", "queries", "round_steps", "checkpoint_steps", "log_steps", "threads"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.precision not in ("bf16", "fp32"):
            raise ConfigurationError(f"precision={self.precision!r} is not known; use bf16 or fp32.")
        if not self.data:
            raise ConfigurationError("data names no folder; give at least one rendered set.")


def read_settings(path: Path, **overrides: Any) -> TrainSettings:
    """Settings from a YAML file; `overrides` win.

    Raises:
        ConfigurationError: the file cannot be read, or has an unknown key or a wrong value.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"training settings {path} cannot be read ({error}).") from error
    if not isinstance(raw, dict):
        raise ConfigurationError(f"training settings {path} must be a mapping of names to values.")
    raw.update({key: value for key, value in overrides.items() if value is not None})
    if isinstance(raw.get("data"), str):
        raw["data"] = [raw["data"]]
    return build(TrainSettings, raw, str(path))


def build(kind: type[T], raw: dict[str, Any], where: str) -> T:
    """A settings dataclass from plain values; lists become tuples, mappings nested settings."""
    assert is_dataclass(kind)
    known = {one.name: one for one in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}."
            raise ConfigurationError(f"{where} has no setting {key!r}{hint}")
        if key == "augmentation":
            value = build(AugmentSettings, value or {}, f"{where}, augmentation")
        values[key] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigurationError(f"{where}: {error}.") from error
