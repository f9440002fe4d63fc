"""Settings of a training run, read from one YAML file; unknown keys refuse to start."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from simvg_core.errors import ConfigurationError
from simvg_core.training.augment import AugmentSettings
from simvg_core.training.jitter import JitterSettings

T = TypeVar("T")

_CHOICES = {
    "precision": ("auto", "bf16", "fp16", "fp32"),
    "start_part": ("all", "encoder"),
    "optimizer": ("adamw", "adam_amsgrad"),
    "schedule": ("cosine", "steps"),
    "architecture": ("line_small", "base", "large", "tiny"),
}


@dataclass(frozen=True, kw_only=True)
class SetSettings:
    """A data set of expressions, as `simvg_core.training.sets.open_set` opens it.

    Args:
        path: its folder or file.
        format: None = found from the files.
        split: None = all of them.
        images: folder of the images; None = where the format has them.
    """

    path: str
    format: str | None = None
    split: str | None = None
    images: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One run, on rendered sets (`data`) or on data sets of expressions (`sets`).

    It ends at `max_steps`, `max_minutes` or `max_epochs`, whichever comes first; a cosine follows them all.

    Args:
        sets: data sets of expressions to train on.
        validation_set: one for the periodic evaluation.
        jitter: large-scale jitter of their pictures; None = none.
        tokenizer: a folder with the tokenizer; None = that of `start_from` where it has one, else the one that is made
            from the line's vocabulary.
        data: folders of rendered sets; pictures that appear while training are taken in.
        first_data: drawn or older sets that fill the rounds while less than `first_share` of the run is done, or while
            `data` holds fewer than `first_until` pictures.
        validation: a rendered set for the periodic evaluation.
        augmentation: of rendered pictures.
        architecture: which of `SimVGConfig`'s sizes the model has.
        model: fields of `SimVGConfig` by name, instead of those of the architecture.
        batch_size: pictures per process and pass, each with `queries` questions.
        accumulation: passes per step; a step's gradients are the mean of theirs.
        color_there: see `Grammar`.
        false_texts: see `BatchMaker`; beside `queries`.
        designations: see `BatchMaker`.
        optimizer: "adamw", or the paper's "adam_amsgrad".
        epsilon: of the optimizer.
        encoder_rate: factor of the learning rate for the encoder (0.1 in the paper).
        schedule: "cosine" to a hundredth at the end, after `warmup_steps` (or `warmup_epochs`); or the paper's
            "steps": epoch by epoch, a rise over `warmup_epochs`, then times `decay` from each of `decay_epochs` on.
        clip: largest norm of the gradients.
        ema: how slowly the averaged model follows; 0 = none is kept.
        round_steps: the folders are listed anew after so many steps.
        workers: picture preparation; `worker_processes` for GPUs, which threads cannot feed.
        precision: "bf16" (autocast), "fp16" (autocast with loss scaling, on CUDA), "fp32", or "auto": bf16 where the
            device has instructions for it, else fp32 (bf16 is several times slower on a CPU without them).
        gradient_checkpointing: encoder layers are computed again in the backward pass instead of being remembered.
        threads: of torch on the CPU.
        start_from: whose weights are the start: a model folder, or a file of official SimVG or BEiT-3 weights.
        start_part: "all" of them, or of a model folder the "encoder" only, for heads or a picture size of another kind.
    """

    sets: tuple[SetSettings, ...] = ()
    validation_set: SetSettings | None = None
    jitter: JitterSettings | None = None
    tokenizer: str | None = None
    data: tuple[str, ...] = ()
    first_data: tuple[str, ...] = ()
    first_share: float = 0.1
    first_until: int = 1600
    validation: str | None = None
    output: str = "data/runs/line"
    architecture: str = "line_small"
    model: dict[str, Any] = field(default_factory=dict)
    augmentation: AugmentSettings = field(default_factory=AugmentSettings)
    batch_size: int = 8
    accumulation: int = 1
    queries: int = 14
    max_targets: int = 8
    color_there: float = 0.55
    false_texts: int = 0
    designations: float = 0.0
    seed: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    encoder_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-8
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup_steps: int = 150
    warmup_epochs: int = 0
    decay_epochs: tuple[int, ...] = ()
    decay: float = 0.1
    clip: float = 1.0
    ema: float = 0.998
    max_steps: int | None = None
    max_minutes: float | None = None
    max_epochs: int | None = None
    round_steps: int = 200
    evaluate_minutes: float = 8.0
    evaluate_pictures: int = 150
    checkpoint_steps: int = 100
    log_steps: int = 20
    workers: int = 1
    worker_processes: bool = False
    threads: int = 1
    precision: str = "auto"
    gradient_checkpointing: bool = False
    device: str = "auto"
    start_from: str | None = None
    start_part: str = "all"

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_minutes is None and self.max_epochs is None:
            raise ConfigurationError("the run has no end; set max_steps or max_minutes, or max_epochs.")
        positive = ("batch_size", "accumulation", "queries", "round_steps", "checkpoint_steps", "log_steps", "threads")
        for name in positive:
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 1.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigurationError(
                    f"{name}={getattr(self, name)!r} is not known; use one of {', '.join(choices)}."
                )
        if self.false_texts < 0:
            raise ConfigurationError(f"false_texts={self.false_texts} must be at least 0.")
        if not 0 <= self.designations <= 1:
            raise ConfigurationError(f"designations={self.designations} is a share of the texts; it lies in 0 … 1.")
        if not 0 <= self.ema < 1:
            raise ConfigurationError(f"ema={self.ema} must lie in 0 … 1, 1 excluded; 0 keeps no averaged model.")
        if self.data and (self.schedule == "steps" or self.max_epochs or self.warmup_epochs):
            raise ConfigurationError(
                "rendered sets may grow, so they have no epochs: leave out schedule: steps, max_epochs and "
                "warmup_epochs, or train on a grounding set."
            )
        if not self.data and not self.sets:
            raise ConfigurationError("data names no folder; give at least one rendered set, or a data set in sets.")
        if self.data and self.sets:
            raise ConfigurationError("data and sets are trained on apart; give rendered sets or sets of expressions.")


_NESTED: dict[str, type[Any]] = {
    "augmentation": AugmentSettings,
    "jitter": JitterSettings,
    "sets": SetSettings,
    "validation_set": SetSettings,
}


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


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: {value!r} must be a mapping of names to values.")
    return value


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
        if key in _NESTED and value is not None:
            nested = value if isinstance(value, list) else [value]
            parts = [build(_NESTED[key], _mapping(part, f"{where}, {key}"), f"{where}, {key}") for part in nested]
            value = parts if key == "sets" else parts[0]
        values[key] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigurationError(f"{where}: {error}.") from error
