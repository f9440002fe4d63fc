"""Transformer decoder layers (post-norm), shared by the query generator and the decoder branch (sections 3.2, 3.3).

Shapes: B rows of S slots with Q queries each, M memory tokens, E width, h heads, d = E / h.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simvg_core.attention import attend
from simvg_core.configuration import SimVGConfig


class Attention(nn.Module):
    """Multi-head attention with stacked query, key and value projections."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.input_weight = nn.Parameter(torch.empty(3 * width, width))
        self.input_bias = nn.Parameter(torch.zeros(3 * width))
        self.output = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.input_weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, Q, E), (B, M, E), (B, M, E) → (B, Q, E); `mask` (B, M), True = may be attended to."""
        weights, biases = self.input_weight.chunk(3), self.input_bias.chunk(3)
        query, key, value = (
            F.linear(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        mask = None if mask is None else mask[:, None, None, :]
        attended = attend(query, key, value, mask, self.dropout if self.training else 0.0)
        return self.output(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """Self-attention, norm; cross-attention, norm; ReLU feed-forward, norm."""

    def __init__(self, config: SimVGConfig, ffn_size: int) -> None:
        super().__init__()
        width, dropout = config.head_size, config.dropout
        self.self_attention = Attention(width, config.num_head_heads, dropout)
        self.cross_attention = Attention(width, config.num_head_heads, dropout)
        self.expand = nn.Linear(width, ffn_size)
        self.contract = nn.Linear(ffn_size, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, query_position: Tensor, memory: Tensor, memory_position: Tensor, mask: Tensor | None
    ) -> Tensor:
        """(B, S, Q, E) queries and (B, M, E) memory → (B, S, Q, E). Slots of one row share the memory but do not
        see each other. Positions go to queries and keys, never to values."""
        rows, slots = x.shape[:2]
        alone, alone_position = x.flatten(0, 1), query_position.flatten(0, 1)
        placed = alone + alone_position
        alone = self.norms[0](alone + self.self_attention(placed, placed, alone))
        together = alone.unflatten(0, (rows, slots)).flatten(1, 2)
        asked = together + query_position.flatten(1, 2)
        attended = self.cross_attention(asked, memory + memory_position, memory, mask)
        together = self.norms[1](together + attended)
        hidden = self.dropout(torch.relu(self.expand(together)))
        together = self.norms[2](together + self.dropout(self.contract(hidden)))
        return together.unflatten(1, (slots, -1))  # type: ignore[no-any-return]


class QueryDecoder(nn.Module):
    """A stack of decoder layers that starts from zeros, with one final norm shared by everything read out."""

    def __init__(self, config: SimVGConfig, num_layers: int, ffn_size: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config, ffn_size) for _ in range(num_layers))
        self.norm = nn.LayerNorm(config.head_size)

    def forward(
        self, query_position: Tensor, memory: Tensor, memory_position: Tensor, mask: Tensor | None
    ) -> list[Tensor]:
        """Normed output of every layer, each (B, S, Q, E), for query positions (B, S, Q, E), memory (B, M, E) and its
        mask (B, M), True = may be attended to."""
        x = torch.zeros_like(query_position)
        outputs = []
        for layer in self.layers:
            x = layer(x, query_position, memory, memory_position, mask)
            outputs.append(self.norm(x))
        return outputs
