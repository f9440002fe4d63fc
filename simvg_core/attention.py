"""Scaled dot-product attention, computed the way that is fastest where it runs.

Shapes: any leading dimensions, L queries, M keys, d head width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """(..., L, d), (..., M, d), (..., M, d) → (..., L, d); `mask` broadcasts to (..., L, M), True = may attend.

    On a CPU the fused kernel's backward pass takes four times as long as three plain matrix products, so training
    there uses those; the numbers agree to rounding.
    """
    if not (query.device.type == "cpu" and torch.is_grad_enabled() and query.requires_grad):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = F.dropout(scores.softmax(dim=-1), dropout, training=dropout > 0)
    return weights.to(value.dtype) @ value


class Part(NamedTuple):
    """What queries found in one part of their keys; parts join exactly, whatever their sizes."""

    found: Tensor  # (..., L, d) mean of the part's values, weighted by the softmax over this part
    mass: Tensor  # (..., L) log of the sum of the exponentials of the part's scores

    def merged(self, other: Part) -> Tensor:
        """(..., L, d): attention over the keys of both parts."""
        share = torch.sigmoid(self.mass - other.mass).unsqueeze(-1)
        return self.found * share + other.found * (1 - share)


def attend_part(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None = None) -> Part:
    """(..., L, d) scaled queries, (..., M, d), (..., M, d) → what they found; `hidden` (..., M) keys are not seen."""
    scores = query @ key.transpose(-1, -2)
    if hidden is not None:
        scores = scores.masked_fill(hidden.unsqueeze(-2), float("-inf"))
    scores = scores.float()
    mass = scores.logsumexp(dim=-1)
    return Part((scores - mass.unsqueeze(-1)).exp().to(value.dtype) @ value, mass)


class Memory:
    """Keys and values that many queries look at, laid out once: those of one image.

    On a CPU outside training the heads become groups of a 1×1 convolution: its kernel needs no transposed copies and is
    a third faster than batched matrix products. A spare key keeps room for the other part's mass in every row of scores.
    """

    # Rows of scores at once: larger ones leave the processor's cache.
    ROWS = 1024

    def __init__(self, key: Tensor, value: Tensor) -> None:
        """`key` and `value` (B, h, P, d)."""
        self.key, self.value = key, value
        self._as_convolution = key.device.type == "cpu" and not (
            torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
        )
        if self._as_convolution:
            self._keys = F.pad(key, (0, 0, 0, 1)).flatten(1, 2)[..., None, None]  # (B, h·(P+1), d, 1, 1)
            self._values = F.pad(value.transpose(-1, -2), (0, 1)).flatten(1, 2)[..., None, None]  # (B, h·d, P+1, 1, 1)

    def attend(self, query: Tensor, beside: Part) -> Tensor:
        """Attention over the memory and another part together.

        Args:
            query: (B, L, h, d), scaled.
            beside: what the same queries found elsewhere, (B, L, h, d) and (B, L, h).

        Returns:
            (B, L, h, d)
        """
        if self._as_convolution and query.shape[0] * query.shape[1]:
            return torch.stack([self._frame(*parts) for parts in zip(query, *beside, self._keys, self._values, strict=True)])
        scores = torch.cat([query.transpose(1, 2) @ self.key.transpose(-1, -2), beside.mass.mT.unsqueeze(-1)], dim=-1)
        weights = scores.softmax(dim=-1).to(query.dtype)
        found = weights[..., :-1] @ self.value + weights[..., -1:] * beside.found.transpose(1, 2)
        return found.transpose(1, 2)

    def _frame(self, query: Tensor, found: Tensor, mass: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """One frame: (L, h, d) queries → (L, h, d)."""
        heads, rows = query.shape[1], []
        for start in range(0, len(query), self.ROWS):
            part = slice(start, start + self.ROWS)
            scores = _product(query[part].flatten(1), keys, heads)
            scores[..., -1] = mass[part]
            weights = scores.softmax(dim=-1)
            on_memory = _product(weights.flatten(1), values, heads)
            rows.append(torch.addcmul(on_memory, weights[..., -1:], found[part].to(on_memory.dtype)))
        return rows[0] if len(rows) == 1 else torch.cat(rows)


def _product(x: Tensor, weights: Tensor, heads: int) -> Tensor:
    """(L, h·a) times each head's own matrix, as convolution weights (h·b, a, 1, 1) → (L, h, b)."""
    result = F.conv2d(x.t()[None, :, :, None], weights, groups=heads)
    return result[0, :, :, 0].t().unflatten(1, (heads, -1))
