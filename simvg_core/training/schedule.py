"""Parameter groups and the learning rate over a run.

The paper's (arXiv 2409.17531, section 4.1, and the published configurations): Adam with AMSGrad, the encoder at a tenth
of the rate, steps by epochs. AdamW and the cosine are ours, for the line's model.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from simvg_core.training.settings import TrainSettings

COSINE_END = 0.01  # of the learning rate, at the end of a cosine


def parameter_groups(model: torch.nn.Module, weight_decay: float, encoder_rate: float = 1.0) -> list[dict[str, Any]]:
    """Matrices decay, the words' too; biases, norms and positions do not.

    With another `encoder_rate` than 1 the encoder has groups of its own, before the others. "factor" is what a group's
    learning rate is multiplied by. Frozen parameters are in no group.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = parameter.ndim < 2 or "position" in name
        in_encoder = encoder_rate != 1.0 and name.startswith("encoder.")
        groups.setdefault((not in_encoder, plain), []).append(parameter)
    return [
        {
            "params": groups[key],
            "weight_decay": 0.0 if key[1] else weight_decay,
            "factor": 1.0 if key[0] else encoder_rate,
        }
        for key in sorted(groups)
    ]


def build_optimizer(model: torch.nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW, or the paper's Adam with AMSGrad."""
    groups = parameter_groups(model, settings.weight_decay, settings.encoder_rate)
    kind = torch.optim.Adam if settings.optimizer == "adam_amsgrad" else torch.optim.AdamW
    return kind(
        groups,
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        amsgrad=settings.optimizer == "adam_amsgrad",
        fused=True,
    )


def learning_rate(settings: TrainSettings, step: int, share: float, epoch_steps: int | None) -> float:
    """The rate of the next step, before the factors of the groups.

    Args:
        step: steps done.
        share: of the run done, 0 … 1.
        epoch_steps: steps of one epoch; None where the data may grow.
    """
    if settings.schedule == "steps":
        assert epoch_steps is not None  # settings refuse the schedule for growing data
        epoch = step // epoch_steps
        warm = min(1.0, (epoch + 1) / (settings.warmup_epochs + 1))
        passed = sum(epoch + 1 >= boundary for boundary in settings.decay_epochs)
        return settings.learning_rate * warm * settings.decay**passed
    steps = settings.warmup_epochs * epoch_steps if settings.warmup_epochs and epoch_steps else settings.warmup_steps
    warm = min(1.0, (step + 1) / max(1, steps))
    fall = (1 + math.cos(math.pi * min(1.0, share))) / 2
    return settings.learning_rate * warm * (COSINE_END + (1 - COSINE_END) * fall)
