"""Training aids of the small models: heat map, dense cells, existence, and the pointer's own loss.

They make learning from scratch fast; the heat map also stays at run time, to guide the pointer and to explain.
Shapes: B images, N texts, P = G·G image tokens, E head width, Q answers, M dense instances of the fullest image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from simvg_core.boxes import area, cxcywh_to_xyxy, generalized_iou
from simvg_core.cell_states import classes_of
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
    turns: Tensor | None = None  # (B, P, 4): how the thing lies, and how the plate under it does


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
        self.turn = nn.Linear(width, 4) if "turn" in (config.loss_weights or {}) else None

    def heat_cells(self, image: Tensor) -> Tensor:
        """Image tokens (B, P, E) → what texts are compared with, (B, P, E)."""
        return self.heat_image(image)  # type: ignore[no-any-return]

    def heat_map(self, pooled: Tensor, cells: Tensor) -> Tensor:
        """Pooled texts (B, S, E) or (S, E) and `heat_cells` (B, P, E) → logits (B, S, P)."""
        keys = cells.transpose(1, 2)
        product = self.heat_text(pooled) @ keys
        return product.float() * keys.shape[1] ** -0.5 + self.heat_bias  # type: ignore[no-any-return]

    def existence(self, features: Tensor) -> Tensor:
        """Answer features (..., Q, E) → logit that anything fits, (...)."""
        return self.exists(features.mean(dim=-2)).squeeze(-1).float()  # type: ignore[no-any-return]

    def states(self, image: Tensor, fitted: Mapping[str, Sequence[float]]) -> Tensor | None:
        """Image tokens (B, P, E) → log-odds that what lies on a cell is in its bad state, (B, P, kinds).

        Args:
            fitted: kinds with temperature and bias (`SimVGConfig.cell_states`); None is returned for none.
        """
        if not fitted:
            return None
        bad, usual = map(list, zip(*map(classes_of, fitted), strict=True))
        temperature, offset = torch.tensor(list(fitted.values()), device=image.device).unbind(dim=1)
        weight = (self.dense.weight[bad] - self.dense.weight[usual]) / temperature[:, None]
        bias = (self.dense.bias[bad] - self.dense.bias[usual]) / temperature + offset
        hidden = torch.relu(self.dense_hidden(image))
        return F.linear(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype)).float()

    def cells(self, image: Tensor) -> DenseAnswers:
        """Image tokens (B, P, E) → dense answers; a cell's box is centred within two cells of it."""
        hidden = torch.relu(self.dense_hidden(image))
        raw = self.dense(hidden).float()
        kinds, colors, place = raw.split([self.num_kinds + 1, self.num_colors, 4], dim=-1)
        centre = cell_centres(self.grid, image.device) + place[..., :2].tanh() * 2 / self.grid
        turns = None if self.turn is None else self.turn(hidden).float()
        return DenseAnswers(kinds, colors, torch.cat([centre, place[..., 2:].sigmoid()], dim=-1), turns)


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


class DenseTruth(NamedTuple):
    """What dense answers should be, cell by cell."""

    targets: Targets  # the instances of each image
    owner: Tensor  # (B, P) which of them lies on top
    owned: Tensor  # (B, P) bool: any does
    cells: Tensor  # (B, P) how many cells that one has

    @classmethod
    def of(cls, labels: Sequence[dict[str, Any]], grid: int, device: torch.device) -> DenseTruth:
        """Where instances overlap, the smaller one is on top: a bolt, not the plate under it."""
        targets = Targets.of([label["boxes"] for label in labels], device)
        if targets.boxes_cxcywh.shape[1] == 0:  # a place for an instance that is not there
            targets = targets._replace(boxes_cxcywh=F.pad(targets.boxes_cxcywh, (0, 0, 0, 1)))
        inside = _cells_inside(targets, grid, shrink=1.0)
        sizes = area(cxcywh_to_xyxy(targets.boxes_cxcywh))
        size, owner = torch.where(inside, sizes[..., None], torch.inf).min(dim=1)
        owned = size.isfinite()
        cells = torch.zeros_like(sizes).scatter_add(1, owner, owned.to(sizes.dtype)).gather(1, owner)
        return cls(targets, owner, owned, cells)

    def values(self, labels: Sequence[dict[str, Any]], name: str, none: float) -> Tensor:
        """A label of each cell's owner, (B, P) or (B, P, n); `none` where there is no instance at all."""
        rows = [label[name] for label in labels]
        padded = pad_sequence(rows, batch_first=True, padding_value=none).to(self.owner.device)
        if padded.shape[1] == 0:
            padded = F.pad(padded.transpose(1, -1), (0, 1), value=none).transpose(1, -1)
        owner = self.owner if padded.ndim == 2 else self.owner[..., None].expand(-1, -1, padded.shape[2])
        return padded.gather(1, owner)


def dense_loss(dense: DenseAnswers, labels: Sequence[dict[str, Any]], grid: int) -> Tensor:
    """Kind, colour and box of the instance under each cell.

    Args:
        labels: one dict per image: "boxes" (m, 4) cxcywh, "kinds" (m,), "colors" (m,), -1 = no colour, and "weights"
            (m,), how much the kind of an instance counts.
    """
    truth = DenseTruth.of(labels, grid, dense.kinds.device)
    owned, cells = truth.owned, truth.cells
    kinds, colors = (truth.values(labels, name, -1).long() for name in ("kinds", "colors"))
    wanted = torch.where(owned, kinds, dense.kinds.shape[-1] - 1)
    # Instances count alike whatever their size, so that a plate's hundred cells do not drown a washer's one.
    even = torch.where(owned, 1 / cells.clamp(min=1), 0.0)
    spare = (~owned).sum(dim=1, keepdim=True).clamp(min=1)
    ground = BACKGROUND_WEIGHT * even.sum(dim=1, keepdim=True).clamp(min=1) / spare
    weights = torch.where(owned, even * truth.values(labels, "weights", 1.0), ground)
    entropy = F.cross_entropy(dense.kinds.flatten(0, 1), wanted.flatten(), reduction="none")
    loss = (weights.flatten() * entropy).sum() / over_processes(weights.sum())
    color = torch.where(owned, colors, -1)
    entropy = F.cross_entropy(dense.colors[color >= 0], color[color >= 0], reduction="none")
    loss = loss + (even[color >= 0] * entropy).sum() / over_processes(even[color >= 0].sum(), least=_TINY)
    boxes = truth.values(labels, "boxes", 0.0)[owned]
    share = cells[owned].rsqrt()
    share = share / over_processes(share.sum(), least=_TINY)
    answers = dense.boxes_cxcywh[owned]
    overlap = generalized_iou(cxcywh_to_xyxy(answers), cxcywh_to_xyxy(boxes))
    return loss + (share * (5 * (answers - boxes).abs().sum(-1) + 2 * (1 - overlap))).sum()


def turn_loss(turns: Tensor, labels: Sequence[dict[str, Any]], grid: int) -> Tensor:
    """Mean square of what cells (B, P, 4) say of how the thing on them lies, and the plate under it.

    A picture only shows how a rectangle's sides run, not which is which: a turn by a quarter must look the same. So a
    way is told as (cos 4a, sin 4a), the mean over both sides, which perspective does not leave at right angles.

    Args:
        labels: one dict per image: "boxes" (m, 4) cxcywh and "turns" (m, 4), NaN where they are not known.
    """
    truth = DenseTruth.of(labels, grid, turns.device)
    wanted = truth.values(labels, "turns", torch.nan)
    known = truth.owned[..., None] & wanted.isfinite()
    even = known / truth.cells.clamp(min=1)[..., None]
    wrong = (turns - wanted.nan_to_num()).square()
    return (even * wrong).sum() / over_processes(even.sum(), least=_TINY)


def _cells_inside(targets: Targets, grid: int, shrink: float) -> Tensor:
    """(N, M, P) bool: cells whose centre lies in the (shrunk) box, and the cell that holds the box's centre."""
    boxes = targets.boxes_cxcywh[:, :, None]
    centres = cell_centres(grid, boxes.device)
    offset = (centres - boxes[..., :2]).abs()
    reach = torch.maximum(boxes[..., 2:] * shrink, torch.full_like(boxes[..., 2:], 1 / grid)) / 2
    exists = torch.arange(boxes.shape[1], device=boxes.device) < targets.counts.to(boxes.device)[:, None]
    return (offset <= reach).all(dim=-1) & exists[..., None]
