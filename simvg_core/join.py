"""A linear layer over two inputs side by side, whose halves can be used apart.

Of `W [x, y] + b` the part of one input can be known long before the other's: what a text says, before there is a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Half(NamedTuple):
    """Columns of a linear layer's weights, with or without its bias."""

    columns: slice
    biased: bool

    def of(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """Weights (out, columns) and bias."""
        return layer.weight[:, self.columns], layer.bias if self.biased else None


class Join(nn.Linear):
    """(..., width) and (..., width) → (..., width): `first(x) + second(y)`. Weights and names: of one layer."""

    # set by `execution.pack`: the same on weights laid out otherwise
    run_first: Callable[[Tensor], Tensor] | None = None
    run_second: Callable[[Tensor], Tensor] | None = None

    def __init__(self, width: int) -> None:
        super().__init__(2 * width, width)

    def halves(self) -> tuple[Half, Half]:
        """Of the first input, which carries the bias, and of the second."""
        width = self.out_features
        return Half(slice(width), biased=True), Half(slice(width, None), biased=False)

    def first(self, x: Tensor) -> Tensor:
        """The part of the first input, bias included."""
        return F.linear(x, *self.halves()[0].of(self)) if self.run_first is None else self.run_first(x)

    def second(self, y: Tensor) -> Tensor:
        """The part of the second input."""
        return F.linear(y, *self.halves()[1].of(self)) if self.run_second is None else self.run_second(y)
