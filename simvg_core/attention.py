"""Scaled dot-product attention, computed the way that is fastest where it runs.

Shapes: any leading dimensions, L queries, M keys, d head width.
"""

from __future__ import annotations

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
