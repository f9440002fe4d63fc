"""Start values of a model trained without pretrained weights.

transformers' `init` functions leave alone what a checkpoint has already filled.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from transformers import initialization as init

from simvg_core.auxiliary import AuxiliaryHeads
from simvg_core.branches import PointerHead, QueryGenerator
from simvg_core.configuration import SimVGConfig
from simvg_core.decoder import Attention, DecoderLayer
from simvg_core.encoder import FIRST_POSITION, MultiwayEncoder, MultiwayLayer
from simvg_core.positions import grid_positions


def initialise(module: nn.Module, config: SimVGConfig) -> None:
    """Fills one module's own start values; called for every module, children before parents.

    The paper's model follows the published code. Our small models start from Xavier weights, distinct object tokens
    and a sine grid as image positions: they have no pretraining to take them from.
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        if module.bias is not None:
            bound = 1 / math.sqrt(module.weight[0].numel())
            init.uniform_(module.bias, -bound, bound)
    elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
        init.ones_(module.weight)
        init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            init.zeros_(cast(Tensor, module.running_mean))
            init.ones_(cast(Tensor, module.running_var))
            init.zeros_(cast(Tensor, module.num_batches_tracked))
    elif isinstance(module, Attention):
        init.xavier_uniform_(module.input_weight)
        init.zeros_(module.input_bias)
        init.xavier_uniform_(module.output.weight)
        init.zeros_(module.output.bias)
    elif isinstance(module, DecoderLayer):
        init.xavier_uniform_(module.expand.weight)
        init.xavier_uniform_(module.contract.weight)
    elif isinstance(module, QueryGenerator):
        init.normal_(module.queries.weight)
    elif isinstance(module, MultiwayLayer):
        _layer(module, config)
    elif isinstance(module, MultiwayEncoder):
        _embeddings(module, config)
    elif isinstance(module, PointerHead):
        # boxes start at a tenth of the image, at the place the pointer looks at
        init.normal_(module.locate.weight, std=0.01)
        init.copy_(module.locate.bias, torch.tensor([0.0, 0.0, -2.2, -2.2]))
    elif isinstance(module, AuxiliaryHeads):
        init.constant_(module.heat_bias, -4.0)


def _layer(layer: MultiwayLayer, config: SimVGConfig) -> None:
    for module in layer.modules():
        if isinstance(module, nn.Linear):
            if config.patch_embedding == "linear":
                init.trunc_normal_(module.weight, std=0.02, a=-0.02, b=0.02)
            else:
                init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)


def _embeddings(encoder: MultiwayEncoder, config: SimVGConfig) -> None:
    init.normal_(encoder.words.weight, std=config.hidden_size**-0.5)
    if config.patch_embedding == "linear":
        init.normal_(encoder.image_positions.weight)
        init.normal_(encoder.text_positions.weight)
    else:
        init.normal_(encoder.image_positions.weight, std=0.02)
        if not encoder.image_positions.weight.is_meta and config.hidden_size % 4 == 0:
            valid = torch.ones(1, config.grid_size, config.grid_size, dtype=torch.bool)
            sine = grid_positions(valid, config.hidden_size)[0]
            table = encoder.image_positions.weight.detach().clone()
            table[FIRST_POSITION + 1 :] = 0.3 * sine.to(table)
            init.copy_(encoder.image_positions.weight, table)
        init.normal_(encoder.text_positions.weight, std=0.05)
        init.normal_(encoder.words.weight, std=0.3)
    if config.num_object_tokens > 1:
        init.normal_(encoder.object_tokens, std=0.3)
    else:
        init.zeros_(encoder.object_tokens)
