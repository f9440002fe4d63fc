"""Probabilities from class logits, and back, by the temperature and bias stored with a model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simvg_core.configuration import SimVGConfig


def calibrated(logits: Tensor, config: SimVGConfig) -> Tensor:
    """(..., 2) logits (object, no object) → (...) probabilities."""
    difference = logits[..., 0].float() - logits[..., 1].float()
    return torch.sigmoid(difference / config.score_temperature + config.score_bias)


def raw_logit(score: float, config: SimVGConfig) -> float:
    """Difference of the class logits whose calibrated score this is."""
    chance = min(max(score, 1e-6), 1 - 1e-6)
    return (math.log(chance / (1 - chance)) - config.score_bias) * config.score_temperature
