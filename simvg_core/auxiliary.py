"""Training aids of the small models: heat map, dense cells, existence, and the pointer's own loss.

They make learning from scratch fast; the heat map also stays at run time, as a gate and as a first explanation.
Shapes: B images, N texts, P = G·G image tokens, E head width, Q answers, M dense instances of the fullest image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from simvg_core.boxes import area, cxcywh_to_xyxy, generalized_iou
from simvg_core.configuration import SimVGConfig
from simvg_core.losses import over_processes
from simvg_core.matching import Matches, Targets
from simvg_core.positions import cell_centres

BACKGROUND_WEIGHT = 0.2
# Sums over instances are 0 or far larger; what they divide is then 0 too.
_TINY = 1e-12


class DenseAnswers(NamedTuple):
    """What every cell says about the instance it lies on."""

    kinds: Tensor  # (B, P, num_kinds + 1), the last one is background
    colors: Tensor  # (B, P, num_colors)
    boxes_cxcywh: Tensor  # (B, P, 4)


class AuxiliaryHeads(nn.Module):
    """The layers behind the training aids."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        width = config.head_size
        self.grid = config.grid_size
        self.num_kinds, self.num_colors = config.num_kinds, config.num_colors
        self.heat_text = nn.Linear(width, width)
        self.heat_image = nn.Linear(width, width)
        self.heat_bias = nn.Parameter(torch.full((), -4.0))
        self.exists = nn.Linear(width, 1)
        self.dense_hidden = nn.Linear(width, width)
        self.dense = nn.Linear(width, config.num_kinds + 1 + config.num_colors + 4)

    def heat_map(self, pooled: Tensor, image: Tensor) -> Tensor:
        """Pooled texts (B, S, E) or (S, E) and image tokens (B, P, E) → logits (B, S, P)."""
        keys = self.heat_image(image).transpose(1, 2)
        product = self.heat_text(pooled) @ keys
        return product.float() * keys.shape[1] ** -0.5 + self.heat_bias  # type: ignore[no-any-return]

    def existence(self, features: Tensor) -> Tensor:
        """Answer features (..., Q, E) → logit that anything fits, (...)."""
        return self.exists(features.mean(dim=-2)).squeeze(-1).float()  # type: ignore[no-any-return]

    def cells(self, image: Tensor) -> DenseAnswers:
        """Image tokens (B, P, E) → dense answers; a cell's box is centred within two cells of it."""
        raw = self.dense(torch.relu(self.dense_hidden(image))).float()
        kinds, colors, place = raw.split([self.num_kinds + 1, self.num_colors, 4], dim=-1)
        centre = cell_centres(self.grid, image.device) + place[..., :2].tanh() * 2 / self.grid
        return DenseAnswers(kinds, colors, torch.cat([centre, place[..., 2:].sigmoid()], dim=-1))


def pointer_loss(pointer: Tensor, targets: Targets, matches: Matches, grid: int) -> Tensor:
    """Cross-entropy of where matched answers look, (N, Q, P), against the four cells around the target's centre."""
    looked = pointer[matches.sample, matches.answer].log_softmax(dim=-1)
    centres = targets.boxes_cxcywh[matches.sample, matches.target, :2]
    place = (centres.clamp(0, 1) * grid - 0.5).clamp(0, grid - 1)
    axis = torch.arange(grid, device=pointer.device)
    # Bilinear weights: 1 at the centre's own cell, falling to 0 one cell away.
    x, y = ((1 - (place[:, i, None] - axis).abs()).clamp(min=0) for i in (0, 1))
    wanted = (y[:, :, None] * x[:, None, :]).flatten(1)
    # masked cells are -inf and never wanted; 0 · -inf must not become NaN
    count = over_processes(torch.tensor(float(len(looked)), device=looked.device), least=1.0)
    return -(wanted * looked.clamp(min=-1e4)).sum() / count


def heat_map_loss(logits: Tensor, targets: Targets, grid: int) -> Tensor:
    """Focal loss (gamma 2) of heat maps (N, P): cells in the inner half of a target, and the one at its centre."""
    wanted = _cells_inside(targets, grid, shrink=0.5).any(dim=1).float()
    chance = logits.sigmoid()
    wrong = torch.where(wanted > 0, 1 - chance, chance)
    share = torch.where(wanted > 0, 0.75, 0.25)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (share * wrong.square() * entropy).sum() / over_processes(wanted.sum(), least=1.0)


def existence_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Binary cross-entropy of "anything fits", (N,)."""
    wanted = (targets.counts > 0).to(logits.device, logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
    return entropy / over_processes(logits.new_tensor(len(logits)), least=1.0)


def dense_loss(dense: DenseAnswers, labels: list[dict[str, Any]], grid: int) -> Tensor:
    """Kind, colour and box of the instance under each cell.

    Args:
        labels: one dict per image: "boxes" (m, 4) cxcywh, "kinds" (m,) and "colors" (m,), -1 = no colour.
    """
    device = dense.kinds.device
    targets = Targets.of([label["boxes"] for label in labels], device)
    background = dense.kinds.shape[-1] - 1
    if targets.boxes_cxcywh.shape[1] == 0:  # a place for an instance that is not there
        targets = targets._replace(boxes_cxcywh=F.pad(targets.boxes_cxcywh, (0, 0, 0, 1)))
        labels = [{name: torch.full((1,), -1) for name in ("kinds", "colors")} for _ in labels]
    kinds, colors = (
        pad_sequence([label[name].to(device).long() for label in labels], batch_first=True, padding_value=-1)
        for name in ("kinds", "colors")
    )
    inside = _cells_inside(targets, grid, shrink=1.0)
    # Where instances overlap, the smaller one is on top: a bolt, not the plate under it.
    sizes = area(cxcywh_to_xyxy(targets.boxes_cxcywh))
    size, owner = torch.where(inside, sizes[..., None], torch.inf).min(dim=1)
    owned = size.isfinite()
    wanted = torch.where(owned, kinds.gather(1, owner), background)
    # Instances count alike whatever their size, so that a plate's hundred cells do not drown a washer's one.
    cells = torch.zeros_like(kinds, dtype=torch.float32).scatter_add(1, owner, owned.float()).gather(1, owner)
    even = torch.where(owned, 1 / cells.clamp(min=1), 0.0)
    spare = (~owned).sum(dim=1, keepdim=True).clamp(min=1)
    ground = BACKGROUND_WEIGHT * even.sum(dim=1, keepdim=True).clamp(min=1) / spare
    weights = torch.where(owned, even, ground)
    entropy = F.cross_entropy(dense.kinds.flatten(0, 1), wanted.flatten(), reduction="none")
    loss = (weights.flatten() * entropy).sum() / over_processes(weights.sum())
    color = torch.where(owned, colors.gather(1, owner), -1)
    entropy = F.cross_entropy(dense.colors[color >= 0], color[color >= 0], reduction="none")
    loss = loss + (even[color >= 0] * entropy).sum() / over_processes(even[color >= 0].sum(), least=_TINY)
    truth = targets.boxes_cxcywh.gather(1, owner[..., None].expand(-1, -1, 4))[owned]
    share = cells[owned].rsqrt()
    share = share / over_processes(share.sum(), least=_TINY)
    answers = dense.boxes_cxcywh[owned]
    overlap = generalized_iou(cxcywh_to_xyxy(answers), cxcywh_to_xyxy(truth))
    return loss + (share * (5 * (answers - truth).abs().sum(-1) + 2 * (1 - overlap))).sum()


def _cells_inside(targets: Targets, grid: int, shrink: float) -> Tensor:
    """(N, M, P) bool: cells whose centre lies in the (shrunk) box, and the cell that holds the box's centre."""
    boxes = targets.boxes_cxcywh[:, :, None]
    centres = cell_centres(grid, boxes.device)
    offset = (centres - boxes[..., :2]).abs()
    reach = torch.maximum(boxes[..., 2:] * shrink, torch.full_like(boxes[..., 2:], 1 / grid)) / 2
    exists = torch.arange(boxes.shape[1], device=boxes.device) < targets.counts.to(boxes.device)[:, None]
    return (offset <= reach).all(dim=-1) & exists[..., None]
