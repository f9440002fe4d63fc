"""Linear layers in a row made one, and one that gives several things taken apart: for a graph, whose weights change no
more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@runtime_checkable
class Foldable(Protocol):
    """A module with layers that are better laid out otherwise."""

    folded: nn.Module | None

    def fold(self) -> None:
        """Sets `folded`, which it then uses instead of the layers."""
        ...


def products(run: Callable[[Tensor], tuple[Tensor, ...]], width: int) -> list[nn.Linear]:
    """Layers that give what `run` does, one for each of its results, which are affine in its (..., width) input.

    Made with the precision of the layers that it calls: of float32, to some 1e-6.
    """
    with torch.no_grad():
        of_nothing, of_each = run(torch.zeros(1, width)), run(torch.eye(width))
    layers = []
    for bias, rows in zip(of_nothing, of_each, strict=True):
        layer = nn.Linear(width, rows.shape[-1])
        with torch.no_grad():
            layer.weight.copy_((rows - bias).T)
            layer.bias.copy_(bias[0])
        layers.append(layer)
    return layers


@contextlib.contextmanager
def folding(model: nn.Module) -> Iterator[None]:
    """Meanwhile what can be folded is; weights and their names are afterwards what they were."""
    found = [module for module in model.modules() if isinstance(module, Foldable)]
    for module in found:
        module.fold()
    try:
        yield
    finally:
        for module in found:
            module.folded = None


@contextlib.contextmanager
def in_rows(model: nn.Module) -> Iterator[None]:
    """Meanwhile a linear layer takes (B, L, D) as B · L rows: of two dimensions a graph makes product and bias one
    step.

    For passes whose L does not vary: else the graph computes shapes, which costs as much.
    """
    found = [module for module in model.modules() if type(module) is nn.Linear]
    for layer in found:
        layer.forward = partial(_by_rows, layer)  # type: ignore[method-assign]  # torch calls the instance's
    try:
        yield
    finally:
        for layer in found:
            del layer.forward


def _by_rows(layer: nn.Linear, x: Tensor) -> Tensor:
    if x.dim() != 3:
        return F.linear(x, layer.weight, layer.bias)
    rows = F.linear(x.flatten(0, 1), layer.weight, layer.bias)
    return rows.view(-1, x.shape[1], rows.shape[-1])
