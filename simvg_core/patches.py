"""From pixels to patch vectors (arXiv 2409.17531, section 3.1).

The paper's are those of BEiT-3: one linear projection per patch. The residual stem and its fine map are our own.

Shapes: B images, H = W image side, P patch side or stride, G = H / P, D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simvg_core.configuration import SimVGConfig
from simvg_core.glimpse import FineMap


class Embedded(NamedTuple):
    """An image as the encoder takes it."""

    tokens: Tensor  # (B, G·G, D), row-major
    fine: Tensor | None = None  # (B, C, H / 4, W / 4), models with a glimpse


def cut(pixels: Tensor, side: int) -> Tensor:
    """(B, C, H, W) → (B, G·G, C·P·P): patches in rows, the numbers of each in the order of a convolution's weight."""
    parts: Tensor = pixels.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, C, G, P, G, P)
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class LinearPatches(nn.Module):
    """One linear projection per patch (BEiT-3): (B, 3, H, W) → (B, G·G, D), row-major."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)

    def forward(self, pixels: Tensor) -> Embedded:
        """(B, 3, H, W) → (B, G·G, D). On a GPU as one matrix product: its convolutions of large strides are slow."""
        if pixels.is_cuda:
            return Embedded(F.linear(cut(pixels, self.projection.stride[0]), *self.flat()))
        patches: Tensor = self.projection(pixels)
        return Embedded(patches.flatten(2).transpose(1, 2))

    @property
    def first(self) -> nn.Conv2d:
        """What the pixels go through first."""
        return self.projection

    def flat(self) -> tuple[Tensor, Tensor | None]:
        """The projection as a matrix (D, 3·P·P) and its bias."""
        return self.projection.weight.flatten(1), self.projection.bias


def convolve(convolution: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """Convolution, batch norm, addition of a shortcut and ReLU: (B, C, H, W) → (B, C', H', W').

    In one step where the convolution was given a `fused` one (`execution.pack`).
    """
    fused = getattr(convolution, "fused", None)
    if fused is not None and (done := fused(x, shortcut)) is not None:
        return done  # type: ignore[no-any-return]
    y: Tensor = norm(convolution(x))
    return torch.relu(y if shortcut is None else shortcut + y)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm around a shortcut; shape is kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        y = convolve(self.first, self.first_norm, x)
        return convolve(self.second, self.second_norm, y, x)

    def convolutions(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Each with the norm after it."""
        return [(self.first, self.first_norm), (self.second, self.second_norm)]


class Stage(nn.Sequential):
    """Halves the resolution, then a residual block or none."""

    def __init__(self, inner: int, width: int, *, residual: bool) -> None:
        halve = nn.Conv2d(inner, width, 3, stride=2, padding=1, bias=False)
        # `convolve` does the ReLU: the module keeps its place, for the names of the weights after it
        super().__init__(halve, nn.BatchNorm2d(width), nn.ReLU(), *([ResidualBlock(width)] if residual else []))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H / 2, W / 2)."""
        (convolution, norm), *_ = self.convolutions()
        x = convolve(convolution, norm, x)
        for block in list(self)[3:]:
            x = block(x)
        return x

    def convolutions(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Each with the norm after it, those of the residual block apart."""
        halve, norm = self[0], self[1]
        assert isinstance(halve, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d), "they were made so"
        return [(halve, norm)]


class ConvolutionalPatches(nn.Module):
    """A residual stem: each stage halves the resolution. (B, 3, H, W) → (B, G·G, D), row-major.

    The first stage has no residual block: at full resolution it would cost more than all later ones together.
    """

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        widths = list(config.stem_widths)
        sizes = enumerate(zip([3, *widths[:-1]], widths, strict=True))
        self.stages = nn.Sequential(*(Stage(inner, width, residual=index > 0) for index, (inner, width) in sizes))
        self.projection = nn.Linear(widths[-1], config.hidden_size)
        self.fine = FineMap(config) if config.glimpse_side else None

    @property
    def first(self) -> nn.Conv2d:
        """What the pixels go through first."""
        return self.stages[0].convolutions()[0][0]  # type: ignore[no-any-return,operator]

    def forward(self, pixels: Tensor) -> Embedded:
        """(B, 3, H, W) → tokens (B, G·G, D) and, for a glimpse, the fine map."""
        features = pixels.contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        tokens = self.projection(features.flatten(2).transpose(1, 2))
        return Embedded(tokens, None if self.fine is None else self.fine(maps))


@contextlib.contextmanager
def from_levels(patches: nn.Module, std: Sequence[float]) -> Iterator[None]:
    """Meanwhile an embedding takes grey levels less their mean, blue-green-red, in place of normalised red-green-blue:
    for a graph, where turning the channels round and dividing would pass over all pixels again.

    The mean stays out of it: a convolution pads with zeros, which are pixels of the mean.
    """
    assert isinstance(patches, (LinearPatches, ConvolutionalPatches)), "there are no others"
    weight = patches.first.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.copy_((kept / kept.new_tensor(std)[None, :, None, None]).flip(1))
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def build_patches(config: SimVGConfig) -> nn.Module:
    """The patch embedding that `config.patch_embedding` names."""
    return LinearPatches(config) if config.patch_embedding == "linear" else ConvolutionalPatches(config)
