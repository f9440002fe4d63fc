"""Start values of a model trained without pretrained weights.

transformers asks leaf by leaf, and only for leaves that a checkpoint has not filled; so `plan` first marks the leaves
whose start depends on where they stand, and `initialise` then fills one of them. The paper's model, a BEiT-3 encoder
under DETR-like heads (arXiv 2409.17531, section 3.1), follows the published code of both. Our small models start from
Xavier weights, distinct object tokens and a sine grid as image positions: they have no pretraining to take them from.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from transformers import initialization as init

from simvg_core.auxiliary import AuxiliaryHeads
from simvg_core.branches import HEAT_GAIN, PointerHead, QueryGenerator
from simvg_core.configuration import SimVGConfig
from simvg_core.decoder import Attention, DecoderLayer
from simvg_core.encoder import FIRST_POSITION, FeedForward, MultiwayEncoder, MultiwayLayer
from simvg_core.glimpse import Glimpse
from simvg_core.patches import ConvolutionalPatches
from simvg_core.positions import grid_positions

# What the layers of a small model add to their input starts this much smaller: else twelve random branches bury the
# pixels' own signal, and colours, plain to see in the stem, take several times as many steps to be learned.
RESIDUAL_GAIN = 0.1
# … and what the stem gives them starts this much larger.
PATCH_GAIN = 2.0


def plan(model: nn.Module, config: SimVGConfig) -> None:
    """Marks every leaf that does not start like any other of its type with a name in `start`."""
    paper = config.patch_embedding == "linear"
    for module in model.modules():
        if isinstance(module, MultiwayLayer):
            _mark(module, "truncated" if paper else "xavier")
            if not paper:
                _mark(module.output, "residual")
                for expert in module.feed_forward.values():
                    _mark(cast(FeedForward, expert).contract, "residual")
        elif isinstance(module, MultiwayEncoder):
            for name in ("words", "text_positions", "image_positions"):
                _mark(getattr(module, name), name)
        elif isinstance(module, Attention):
            _mark(module.output, "xavier")
        elif isinstance(module, DecoderLayer):
            _mark(module.expand, "xavier weight")
            _mark(module.contract, "xavier weight")
        elif isinstance(module, QueryGenerator):
            _mark(module.queries, "normal")
        elif isinstance(module, PointerHead):
            _mark(module.locate, "box")
        elif isinstance(module, Glimpse):
            _mark(module.classify, "nothing")
            _mark(module.locate, "nothing")
        elif isinstance(module, ConvolutionalPatches):
            _mark(module.projection, "patch")


def _mark(module: nn.Module, start: str) -> None:
    for leaf in module.modules():
        if isinstance(leaf, nn.Linear | nn.Embedding):
            leaf.start = start  # type: ignore[assignment]  # torch types every attribute as a module


def initialise(module: nn.Module, config: SimVGConfig) -> None:
    """Fills one module's own start values."""
    start = getattr(module, "start", "")
    if isinstance(module, nn.Linear | nn.Conv2d):
        _linear(module, start)
    elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
        init.ones_(module.weight)
        init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            init.zeros_(cast(Tensor, module.running_mean))
            init.ones_(cast(Tensor, module.running_var))
            init.zeros_(cast(Tensor, module.num_batches_tracked))
    elif isinstance(module, nn.Embedding):
        _embedding(module, start, config)
    elif isinstance(module, Attention):
        init.xavier_uniform_(module.input_weight)
        init.zeros_(module.input_bias)
    elif isinstance(module, MultiwayEncoder) and config.num_object_tokens > 1:
        init.normal_(module.object_tokens, std=0.3)
    elif isinstance(module, MultiwayEncoder):
        init.zeros_(module.object_tokens)
    elif isinstance(module, PointerHead):
        init.constant_(module.heat_gain, HEAT_GAIN)
    elif isinstance(module, AuxiliaryHeads):
        init.constant_(module.heat_bias, -4.0)


def _linear(module: nn.Linear | nn.Conv2d, start: str) -> None:
    weight, bias = module.weight, module.bias
    if start == "nothing":  # a correction starts as none
        init.zeros_(weight)
    elif start == "truncated":
        init.trunc_normal_(weight, std=0.02, a=-0.02, b=0.02)
    elif start in ("xavier", "xavier weight", "residual"):
        init.xavier_uniform_(weight, gain=RESIDUAL_GAIN if start == "residual" else 1.0)
    elif start == "patch":
        init.xavier_uniform_(weight, gain=PATCH_GAIN)
    elif start == "box":
        init.normal_(weight, std=0.01)
    else:
        init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is None:
        return
    if start == "box":
        # boxes start at a tenth of the image, at the place the pointer looks at
        init.copy_(bias, torch.tensor([0.0, 0.0, -2.2, -2.2]))
    elif start in ("truncated", "xavier", "residual", "patch", "nothing"):
        init.zeros_(bias)
    else:
        bound = 1 / math.sqrt(weight[0].numel())
        init.uniform_(bias, -bound, bound)


def _embedding(module: nn.Embedding, start: str, config: SimVGConfig) -> None:
    if config.patch_embedding == "linear" or start == "normal":
        init.normal_(module.weight, std=config.hidden_size**-0.5 if start == "words" else 1.0)
        return
    init.normal_(module.weight, std={"words": 0.3, "text_positions": 0.05, "image_positions": 0.02}[start])
    if start == "image_positions" and not module.weight.is_meta and config.hidden_size % 4 == 0:
        valid = torch.ones(1, config.grid_size, config.grid_size, dtype=torch.bool)
        sine = grid_positions(valid, config.hidden_size)[0]
        table = module.weight.detach().clone()
        table[FIRST_POSITION + 1 :] = 0.3 * sine.to(table)
        init.copy_(module.weight, table)
