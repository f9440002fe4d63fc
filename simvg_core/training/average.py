"""The mean of several models' weights, which often is better than each: runs that began from the same weights lie in
one basin (Wortsman et al. 2022, "Model soups", arXiv 2203.05482)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, InputError, listed
from simvg_core.model import SimVGForGrounding
from simvg_core.model_folder import rewriting
from simvg_core.processing import SimVGProcessor
from simvg_core.words import FastPieces

_FITTED = ("gate.", "token_branch.text_bias.")
_WORDS = "encoder.words.weight"
# What is measured of finished weights, or chosen for their training or use; the mean needs its own.
_OWN = (
    "score_temperature", "score_bias", "score_threshold", "gate_floors", "gate_thresholds", "gate_score",
    "gate_queries", "gate_heads", "gate_width", "text_bias", "vocab_size", "loss_weights", "no_object_weight",
    "counted_answers", "composed_answers", "cell_states",
)  # fmt: skip


def average(folders: Sequence[Path], out: Path, weights: Sequence[float] | None = None) -> Path:
    """Writes the mean of model folders as a model folder: without gate and text bias, else calibrated as the first.

    One whose tokenizer is the beginning of the first's counts in the words that it has. A word was heard as often as by
    the model that heard it most.

    Args:
        weights: how much each counts; None = all the same.

    Raises:
        InputError: fewer than two folders, or weights that are not one per folder or not above 0.
        CheckpointError: a folder is broken, or they hold models of different kinds or tokenizers.
        ConfigurationError: nothing can be written into `out`.
    """
    shares = [1.0] * len(folders) if weights is None else list(weights)
    if len(folders) < 2:
        raise InputError(f"{len(folders)} model folders; give at least two.")
    if len(shares) != len(folders) or not all(0 < share < math.inf for share in shares):
        raise InputError(f"weights {shares} for {len(folders)} folders; give one above 0 for each.")
    first, processor = SimVGForGrounding.from_pretrained(folders[0]), SimVGProcessor.from_pretrained(folders[0])
    heard: dict[str, int] = {}
    mean: dict[str, torch.Tensor] = {}
    for folder, share in zip(folders, shares, strict=True):
        model, pieces = SimVGForGrounding.from_pretrained(folder), SimVGProcessor.from_pretrained(folder).text.pieces
        _check_alike(first, model, folders[0], folder)
        own = processor.text.pieces
        if isinstance(pieces, FastPieces) and isinstance(own, FastPieces):
            if not pieces.tokenizer.get_vocab().items() <= own.tokenizer.get_vocab().items():
                raise CheckpointError(f"{folder} has words that {folders[0]} has not, or has under other ids.")
            # not their sum: models that began from the same weights have most of it in common
            heard |= {word: max(times, heard.get(word, 0)) for word, times in pieces.learned.items()}
        for name, value in model.state_dict().items():
            if not name.startswith(_FITTED):
                given = first.state_dict()[name]
                if name == _WORDS and len(value) < len(given):
                    value = torch.cat([value, given[len(value) :]])
                part = value.double() * (share / sum(shares))
                mean[name] = mean[name] + part if name in mean else part
    config = copy.deepcopy(first.config)
    config.gate_heads, config.gate_floors, config.gate_thresholds, config.text_bias = 0, [], [], False
    config.cell_states = {}  # fitted to other weights
    averaged = SimVGForGrounding(config)
    averaged.load_state_dict({name: mean[name].to(value.dtype) for name, value in averaged.state_dict().items()})
    if isinstance(processor.text.pieces, FastPieces):
        processor.text.pieces.learned = heard
    processor.config = config
    with rewriting(out, anew=True) as part:
        averaged.save_pretrained(part)
        processor.save_pretrained(part)
    return out


def _check_alike(first: SimVGForGrounding, other: SimVGForGrounding, where: Path, there: Path) -> None:
    names = set(SimVGConfig.__annotations__) - set(_OWN)
    if changed := sorted(name for name in names if getattr(first.config, name) != getattr(other.config, name)):
        raise CheckpointError(f"{there} is another model than {where}: {listed(changed)} differ; their mean is none.")
    layers = [{name for name in model.state_dict() if not name.startswith(_FITTED)} for model in (first, other)]
    if lone := sorted(layers[0] ^ layers[1]):
        raise CheckpointError(
            f"{there} is another model than {where}: only one has {listed(lone)} (see loss_weights in their "
            "config.json); their mean is none."
        )
