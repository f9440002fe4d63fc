"""A second look: what the pointer found is read again, close up, from the stem's fine features.

A bolt of 17 pixels is one image token wide: enough to say that something is there, too coarse to say whether it stands
straight and where exactly it ends. A few samples of the fine map around the first box answer that, for next to
nothing. Two-stage detectors do the same with RoIAlign (arXiv 1703.06870).

Shapes: B images, S slots per image, Q answers per text, A answers of all slots, E head width, C fine channels, F fine
map side, n samples per side. Boxes are cxcywh, normalised to the image.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simvg_core.configuration import SimVGConfig
from simvg_core.folding import products
from simvg_core.join import Join

# The samples span the first box, this much larger, so that its surroundings and its true border are in view …
MARGIN = 1.6
# … and never less than this share of the image side: a first box may be far too small.
LEAST_SPAN = 0.05
# An answer whose first logits say "object" with a probability below the lower one is left as it is, unless it is the
# best of its text: of 16,000 such answers of models/line-small no second look made more than 0.08. From there to the
# upper one the second look counts more and more.
LEAST_HOPE, HOPE = 0.02, 0.04
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
        self.folded: nn.Linear | None = None  # `fold`

    def forward(self, hidden: Tensor, logits: Tensor, boxes_cxcywh: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, S, Q, E), first logits (B, S, Q, 2) and boxes (B, S, Q, 4) → second logits and boxes.

        In training every answer is looked at again; else those only that `hope` leaves, which on a CPU alone are
        computed, as many in each image of a batch as in the one that has most.
        """
        slots, first = logits.shape[1:3], logits
        hidden, logits, boxes = (part.flatten(1, 2) for part in (hidden, logits, boxes_cxcywh))
        if self.training:
            more, second = self._again(hidden, boxes, fine)
            return (logits + more).unflatten(1, slots), second.unflatten(1, slots)
        share = hope(first).flatten(1, 2).unsqueeze(-1)
        if logits.device.type == "cpu":
            rows = _most_hopeful(share.squeeze(-1)).unsqueeze(-1)
            own = [part.gather(1, rows.expand(-1, -1, part.shape[-1])) for part in (hidden, boxes, share)]
        else:
            rows, own = None, [hidden, boxes, share]
        more, second = self._again(own[0], own[1], fine)
        changes = own[2] * more, own[2] * (second - own[1])
        found = (
            part + change if rows is None else part.scatter_add(1, rows.expand(-1, -1, part.shape[-1]), change)
            for part, change in zip((logits, boxes), changes, strict=True)
        )
        second_logits, second_boxes = (part.unflatten(1, slots) for part in found)
        return second_logits, second_boxes

    def _again(self, hidden: Tensor, boxes_cxcywh: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, A, E) and first boxes (B, A, 4) → what to add to the logits (B, A, 2), second boxes."""
        boxes = boxes_cxcywh.detach()
        span = (boxes[..., 2:] * MARGIN).clamp(min=LEAST_SPAN)
        seen = self._seen(self.samples(boxes[..., :2], span, fine).to(hidden.dtype))
        joined = torch.relu(self.norm(self.join.first(hidden) + seen))
        logits, change = self.classify(joined).float(), self.locate(joined).float()
        centre = boxes[..., :2] + MOST_MOVE * span * change[..., :2].tanh()
        size = (boxes[..., 2:].clamp(min=LEAST_SPAN / 4) * (MOST_SCALE * change[..., 2:].tanh()).exp()).clamp(max=1.0)
        return logits, torch.cat([centre, size], dim=-1)

    def samples(self, centre: Tensor, span: Tensor, fine: Tensor) -> Tensor:
        """Centres and spans (B, A, 2) → n × n bilinear samples of the fine map (B, C, F, F) over each span,
        (B, A, C·n·n); zero outside."""
        axis = (torch.arange(self.side, device=fine.device) + 0.5) / self.side - 0.5
        offset = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).view(-1, 2)
        middle, reach = ((2 * part).unsqueeze(1) for part in (centre, span))  # (B, 1, A, 2)
        if torch.compiler.is_exporting():
            # as a product of few columns: pairs of numbers take ONNX Runtime ten times as long
            apart = reach * torch.eye(2).unsqueeze(1)  # (B, 2, A, 2)
            steps = torch.cat([offset, torch.ones(len(offset), 1)], dim=-1)
            grid = (steps @ torch.cat([apart, middle - 1], dim=1).flatten(2)).unflatten(-1, (-1, 2))
        else:
            grid = middle - 1 + offset.unsqueeze(1) * reach  # (B, n·n, A, 2), from -1 to 1
        # An answer's samples lie in a column: the layer that reads them takes columns as well as rows.
        return F.grid_sample(fine.float(), grid.float(), align_corners=False).flatten(1, 2).mT

    def _seen(self, samples: Tensor) -> Tensor:
        """(B, A, C·n·n) → their part of what is joined, (B, A, E)."""
        if self.folded is not None:
            return self.folded(samples)  # type: ignore[no-any-return]
        return self.join.second(self.read(samples))

    def fold(self) -> None:
        """Makes one layer of those that read the samples and of their half of the join."""
        (self.folded,) = products(lambda samples: (self.join.second(self.read(samples)),), self.read.in_features)


def hope(logits: Tensor) -> Tensor:
    """First logits (B, S, Q, 2) → how much a second look counts, (B, S, Q), 0 … 1; for the best answer of a text 1."""
    least, enough = (math.log(chance / (1 - chance)) for chance in (LEAST_HOPE, HOPE))
    difference = logits[..., 0] - logits[..., 1]
    best = difference >= difference.amax(dim=-1, keepdim=True)
    return ((difference - least) / (enough - least)).clamp(0, 1).masked_fill(best, 1.0)


def _most_hopeful(share: Tensor) -> Tensor:
    """(B, A) → places (B, K) of those above zero, the rest of a row's K being some that are not; K is at least 1."""
    most: Any = (share > 0).sum(dim=1).amax(dim=0).clamp(min=1).item()
    if torch.compiler.is_exporting():
        torch._check(most >= 1)
        torch._check(most <= share.shape[1])
    return share.argsort(dim=1, descending=True)[:, :most]
