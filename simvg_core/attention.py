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
    weights = F.dropout(attention_weights(query, key, mask), dropout, training=dropout > 0)
    return weights.to(value.dtype) @ value


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """(..., L, d), (..., M, d) → (..., L, M) softmax over the keys; `mask` as in `attend`."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights: Tensor = scores.softmax(dim=-1)
    return weights


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """(..., L, M) of (..., M, d) → (..., L, d), for a few queries over a few values, many times.

    The batched product of torch on a CPU takes three times as long for one row as multiplying and adding up, and makes
    up for that from a few rows on; that of ONNX Runtime takes a third.
    """
    if values.shape[-2] == 1:
        return weights * values
    if weights.shape[-2] > 1 or weights.device.type != "cpu" or torch.compiler.is_exporting():
        return weights @ values
    return (weights.transpose(-1, -2) * values).sum(dim=-2, keepdim=True)


class Part(NamedTuple):
    """What queries found in one part of their keys; parts join exactly, whatever their sizes."""

    found: Tensor  # (..., L, d) mean of the part's values, weighted by the softmax over this part
    mass: Tensor  # (..., L) log of the sum of the exponentials of the part's scores

    def merged(self, other: Part) -> Tensor:
        """(..., L, d): attention over the keys of both parts."""
        share = torch.sigmoid(self.mass - other.mass).unsqueeze(-1).to(self.found.dtype)
        return self.found * share + other.found * (1 - share)


def attend_part(query: Tensor, key: Tensor, value: Tensor) -> Part:
    """(..., L, d) scaled queries, (..., M, d), (..., M, d) → what they found."""
    scores = (query @ key.transpose(-1, -2)).float()
    mass = scores.logsumexp(dim=-1)
    return Part((scores - mass.unsqueeze(-1)).exp().to(value.dtype) @ value, mass)


def attend_beside(query: Tensor, key: Tensor, value: Tensor, own_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over keys that many queries share, and over keys of each one's own, in one softmax.

    The places of the own scores are made by padding the shared keys, which are few, so that the scores, which are many,
    are never copied.

    Args:
        query: (..., L, d), scaled.
        key, value: (..., P, d), shared.
        own_scores: (..., L, M).

    Returns:
        What was found in the shared values (..., L, d), and the weights of the own ones (..., L, M).
    """
    own = own_scores.shape[-1]
    if torch.compiler.is_exporting():
        # a graph has no assignment in place: there it would be transposes and copies of all scores
        weights = torch.cat([query @ key.transpose(-1, -2), own_scores], dim=-1).softmax(dim=-1)
        return weights[..., :-own] @ value, weights[..., -own:]
    scores = (query @ F.pad(key, (0, 0, 0, own)).transpose(-1, -2)).float()
    scores[..., -own:] = own_scores
    weights = scores.softmax(dim=-1).to(value.dtype)
    return weights[..., :-own] @ value, weights[..., -own:]
