"""A second look: what the pointer found is read again, close up, from the stem's fine features.

A bolt of 17 pixels is one image token wide: enough to say that something is there, too coarse to say whether it stands
straight and where exactly it ends. A few samples of the fine map around the first box answer that, for next to
nothing. Two-stage detectors do the same with RoIAlign (arXiv 1703.06870).

Shapes: B images, S slots per image, Q answers per text, E head width, C fine channels, F fine map side, n samples
per side. Boxes are cxcywh, normalised to the image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simvg_core.configuration import SimVGConfig
from simvg_core.join import Join

# The samples span the first box, this much larger, so that its surroundings and its true border are in view …
MARGIN = 1.6
# … and never less than this share of the image side: a first box may be far too small.
LEAST_SPAN = 0.05
# The second box moves at most half the first one's span and grows or shrinks at most by e^1.
MOST_MOVE, MOST_SCALE = 0.5, 1.0


class FineMap(nn.Module):
    """The stem's maps at strides 4 and 8, brought to few channels and joined at stride 4."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        self.at_4 = nn.Conv2d(config.stem_widths[1], config.glimpse_channels, 1)
        self.at_8 = nn.Conv2d(config.stem_widths[2], config.glimpse_channels, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Outputs of the stem's stages → (B, C, F, F) with F = image side / 4."""
        fine: Tensor = self.at_4(maps[1])
        return fine + F.interpolate(self.at_8(maps[2]), size=fine.shape[-2:], mode="nearest")


class Glimpse(nn.Module):
    """Reads the fine map around first boxes and corrects classes and boxes."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        width, self.side = config.head_size, config.glimpse_side
        self.read = nn.Linear(config.glimpse_channels * self.side**2, width)
        self.join = Join(width)
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, 2)
        self.locate = nn.Linear(width, 4)
        self.both: nn.Linear | None = None  # `in_one`

    def forward(self, hidden: Tensor, boxes_cxcywh: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, S, Q, E) and first boxes (B, S, Q, 4) → what to add to the logits (B, S, Q, 2), second boxes."""
        boxes = boxes_cxcywh.detach()
        span = (boxes[..., 2:] * MARGIN).clamp(min=LEAST_SPAN)
        seen = self._seen(self.samples(boxes[..., :2], span, fine).to(hidden.dtype)).unflatten(1, boxes.shape[1:3])
        joined = torch.relu(self.norm(self.join.first(hidden) + seen))
        logits, change = self.classify(joined).float(), self.locate(joined).float()
        centre = boxes[..., :2] + MOST_MOVE * span * change[..., :2].tanh()
        size = (boxes[..., 2:].clamp(min=LEAST_SPAN / 4) * (MOST_SCALE * change[..., 2:].tanh()).exp()).clamp(max=1.0)
        return logits, torch.cat([centre, size], dim=-1)

    def samples(self, centre: Tensor, span: Tensor, fine: Tensor) -> Tensor:
        """n × n bilinear samples of the fine map (B, C, F, F) over each span, (B, S·Q, C·n·n); zero outside."""
        axis = (torch.arange(self.side, device=fine.device) + 0.5) / self.side - 0.5
        offset = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).view(-1, 1, 2)
        middle, reach = ((2 * part).flatten(1, 2).unsqueeze(1) for part in (centre, span))  # (B, 1, S·Q, 2)
        grid = middle - 1 + offset * reach  # (B, n·n, S·Q, 2), from -1 to 1
        # An answer's samples lie in a column: the layer that reads them takes columns as well as rows.
        return F.grid_sample(fine.float(), grid.float(), align_corners=False).flatten(1, 2).mT

    def _seen(self, samples: Tensor) -> Tensor:
        """(B, S·Q, C·n·n) → their part of what is joined, (B, S·Q, E)."""
        if self.both is not None:
            return self.both(samples)  # type: ignore[no-any-return]
        return self.join.second(self.read(samples))

    def _product(self) -> nn.Linear:
        """What reads the samples and their half of the join, as one layer."""
        weight, _ = self.join.halves()[1].of(self.join)
        layer = nn.Linear(self.read.in_features, self.join.out_features)
        with torch.no_grad():
            layer.weight.copy_(weight @ self.read.weight)
            layer.bias.copy_(weight @ self.read.bias)
        return layer


@contextlib.contextmanager
def in_one(model: nn.Module) -> Iterator[None]:
    """Meanwhile two linear layers in a row of every glimpse are one: for a graph, whose weights change no more."""
    found = [module for module in model.modules() if isinstance(module, Glimpse)]
    for glimpse in found:
        glimpse.both = glimpse._product()
    try:
        yield
    finally:
        for glimpse in found:
            glimpse.both = None
