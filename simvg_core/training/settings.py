"""Settings of a training run, read from one YAML file; unknown keys refuse to start."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from simvg_core.errors import ConfigurationError
from simvg_core.training.augment import AugmentSettings
from simvg_core.training.fields import (
    Amount,
    Count,
    NotNegative,
    Positive,
    Seed,
    Share,
    ShareBelow1,
    build,
    check,
)
from simvg_core.training.jitter import JitterSettings

_DEVICE = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")


@dataclass(frozen=True, kw_only=True)
class SetSettings:
    """A data set of expressions, as `simvg_core.training.sets.open_set` opens it.

    Args:
        path: its folder or file.
        format: None = found from the files.
        split: None = all of them.
        images: folder of the images; None = where the format has them.
        any_box: of Flickr30k: each box of a phrase is right; a step teaches one of them, drawn anew. Else the box
            around them all is.
    """

    path: str
    format: str | None = None
    split: str | None = None
    images: str | None = None
    any_box: bool = False

    def __post_init__(self) -> None:
        check(self)


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
        first_data: other, such as older, sets that fill the rounds while less than `first_share` of the run is done, or
            while `data` holds fewer than `first_until` pictures.
        validation: a rendered set for the periodic evaluation.
        output: the run's folder.
        augmentation: of rendered pictures.
        architecture: which of `SimVGConfig`'s sizes the model has.
        model: fields of `SimVGConfig` by name, instead of those of the architecture.
        batch_size: pictures per process and pass, each with `queries` questions.
        accumulation: passes per step; a step's gradients are the mean of theirs.
        max_targets: see `Grammar`.
        color_there: see `Grammar`.
        further_wordings: see `Grammar`.
        false_texts: see `BatchMaker`; beside `queries`.
        designations: see `BatchMaker`.
        seed: decides everything that is random.
        learning_rate: the highest, of all but the encoder.
        betas: of the optimizer.
        weight_decay: of matrices, the words' too; biases, norms and positions have none.
        optimizer: "adamw", or the paper's "adam_amsgrad".
        epsilon: of the optimizer.
        encoder_rate: factor of the learning rate for the encoder (0.1 in the paper).
        schedule: "cosine" to a hundredth at the end, after `warmup_steps` (or `warmup_epochs`); or the paper's
            "steps": epoch by epoch, a rise over `warmup_epochs`, then times `decay` from each of `decay_epochs` on.
        clip: largest norm of the gradients.
        ema: how slowly the averaged model follows; 0 = none is kept.
        evaluate_minutes: from one evaluation on `evaluate_pictures` pictures to the next; also at the end.
        checkpoint_steps: from one checkpoint to the next.
        log_steps: from one line of the log to the next.
        round_steps: the folders are listed anew after so many steps.
        workers: picture preparation; `worker_processes` for GPUs, which threads cannot feed.
        precision: "bf16" (autocast), "fp16" (autocast with loss scaling, on CUDA), "fp32", or "auto": bf16 where the
            device has instructions for it, else fp32 (bf16 is several times slower on a CPU without them).
        gradient_checkpointing: encoder layers are computed again in the backward pass instead of being remembered.
        device: "auto" = the GPU where torch sees one, else the CPU; or what torch calls it: "cpu", "cuda:1".
        threads: of torch on the CPU.
        start_from: whose weights are the start: a model folder, or a file of official SimVG or BEiT-3 weights.
        start_part: "all" of them, or of a model folder the "encoder" only, for heads of another kind.

    Raises:
        ConfigurationError: a value of another type or out of range, or settings that contradict each other.
    """

    sets: tuple[SetSettings, ...] = ()
    validation_set: SetSettings | None = None
    jitter: JitterSettings | None = None
    tokenizer: str | None = None
    data: tuple[str, ...] = ()
    first_data: tuple[str, ...] = ()
    first_share: Share = 0.1
    first_until: Amount = 1600
    validation: str | None = None
    output: str = "data/runs/line"
    architecture: Literal["line_small", "base", "large", "tiny"] = "line_small"
    model: dict[str, Any] = field(default_factory=dict)
    augmentation: AugmentSettings = field(default_factory=AugmentSettings)
    batch_size: Count = 8
    accumulation: Count = 1
    queries: Count = 14
    max_targets: Count = 8
    color_there: Share = 0.55
    further_wordings: Share = 0.0
    false_texts: Amount = 0
    designations: Share = 0.0
    seed: Seed = 1
    optimizer: Literal["adamw", "adam_amsgrad"] = "adamw"
    learning_rate: Positive = 1e-3
    encoder_rate: NotNegative = 1.0
    betas: tuple[ShareBelow1, ShareBelow1] = (0.9, 0.98)
    epsilon: NotNegative = 1e-8
    weight_decay: NotNegative = 0.05
    schedule: Literal["cosine", "steps"] = "cosine"
    warmup_steps: Amount = 150
    warmup_epochs: Amount = 0
    decay_epochs: tuple[Count, ...] = ()
    decay: Share = 0.1
    clip: Positive = 1.0
    ema: ShareBelow1 = 0.998
    max_steps: Count | None = None
    max_minutes: Positive | None = None
    max_epochs: Count | None = None
    round_steps: Count = 200
    evaluate_minutes: NotNegative = 8.0
    evaluate_pictures: Count = 150
    checkpoint_steps: Count = 100
    log_steps: Count = 20
    workers: Amount = 1
    worker_processes: bool = False
    threads: Count = 1
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    gradient_checkpointing: bool = False
    device: str = "auto"
    start_from: str | None = None
    start_part: Literal["all", "encoder"] = "all"

    def __post_init__(self) -> None:
        check(self)
        if not _DEVICE.fullmatch(self.device):
            raise ConfigurationError(f"device={self.device!r} is not known; use auto, cpu, cuda, cuda:N, mps or xpu.")
        if self.max_steps is None and self.max_minutes is None and self.max_epochs is None:
            raise ConfigurationError("the run has no end; set max_steps or max_minutes, or max_epochs.")
        if self.data and (self.schedule == "steps" or self.max_epochs or self.warmup_epochs):
            raise ConfigurationError(
                "rendered sets may grow, so they have no epochs: leave out schedule: steps, max_epochs and "
                "warmup_epochs, or train on a grounding set."
            )
        if not self.data and not self.sets:
            raise ConfigurationError("data names no folder; give at least one rendered set, or a data set in sets.")
        if self.data and self.sets:
            raise ConfigurationError("data and sets are trained on apart; give rendered sets or sets of expressions.")
        if self.sets and self.first_data:
            raise ConfigurationError("first_data goes before rendered sets; leave it out where sets are trained on.")
        if self.validation is not None and self.validation_set is not None:
            raise ConfigurationError("validation and validation_set are for one purpose; leave one of them out.")


def read_settings(path: Path, **overrides: Any) -> TrainSettings:
    """Settings from a YAML file; `overrides` win.

    Raises:
        ConfigurationError: the file cannot be read, or has an unknown key or a wrong value.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise ConfigurationError(
            f"training settings {path} cannot be read ({why}); give a YAML file in UTF-8."
        ) from error
    if not isinstance(raw, dict):
        raise ConfigurationError(f"training settings {path} must be a mapping of names to values.")
    raw.update({key: value for key, value in overrides.items() if value is not None})
    return build(TrainSettings, raw, str(path))
