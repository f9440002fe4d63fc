"""Losses of the paper (section 3.4): set prediction, and dynamic weight-balance distillation (DWBD).

Shapes: N samples, Q answers each, m matched pairs. Boxes cxcywh, normalised. Class 0 = object, 1 = no object.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from simvg_core.boxes import cxcywh_to_xyxy, generalized_iou, iou
from simvg_core.matching import GIOU_WEIGHT, L1_WEIGHT, Matches, Targets, match

NO_OBJECT_WEIGHT = 0.1
"""The paper's weight of an answer that matches nothing, against 1 for one that matches."""


class SetLoss(NamedTuple):
    """Loss of one set of answers: three weighted terms and the assignment behind them."""

    classes: Tensor
    l1: Tensor
    giou: Tensor
    matches: Matches

    @property
    def total(self) -> Tensor:
        """Sum of the three terms."""
        return self.classes + self.l1 + self.giou


def set_loss(
    logits: Tensor, boxes_cxcywh: Tensor, targets: Targets, no_object_weight: float = NO_OBJECT_WEIGHT
) -> SetLoss:
    """Cross-entropy + 5·L1 + 2·(1 − GIoU) after matching; (N, Q, 2) and (N, Q, 4) against `targets`.

    Cross-entropy is the weighted mean over all answers; the box terms are summed over matches and divided by the
    number of targets in the batch (at least 1). In a distributed training all processes divide by the same, see
    `over_processes`.
    """
    logits, boxes_cxcywh = logits.float(), boxes_cxcywh.float()
    matches = match(logits, boxes_cxcywh, targets)
    wanted_class = torch.ones(logits.shape[:2], dtype=torch.long, device=logits.device)
    wanted_class[matches.sample, matches.answer] = 0
    class_weight = torch.tensor([1.0, no_object_weight], device=logits.device)
    entropy = F.cross_entropy(logits.flatten(0, 1), wanted_class.flatten(), class_weight, reduction="sum")
    classes = entropy / over_processes(class_weight[wanted_class].sum())
    answers = boxes_cxcywh[matches.sample, matches.answer]
    wanted = targets.boxes_cxcywh[matches.sample, matches.target]
    count = over_processes(targets.counts.sum().to(logits.device, torch.float32), least=1.0)
    l1 = (answers - wanted).abs().sum() / count
    giou = (1 - generalized_iou(cxcywh_to_xyxy(answers), cxcywh_to_xyxy(wanted))).sum() / count
    return SetLoss(classes, L1_WEIGHT * l1, GIOU_WEIGHT * giou, matches)


def over_processes(value: Tensor, least: float = 0.0) -> Tensor:
    """What a process divides by: the processes' values summed, at least `least`, divided by their number.

    So the mean of their losses is the loss of their batches joined. The published code does so with the box terms, but
    weighs the classes and the balance of distillation per GPU, by that GPU's part of the batch. Without other processes
    the value itself. Every process must come here equally often in a step, whatever its batch holds.
    """
    value, count = value.detach(), 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value, count = value.clone(), torch.distributed.get_world_size()
        torch.distributed.all_reduce(value)
    return value.clamp(min=least) / count


class Teacher(NamedTuple):
    """What the decoder branch teaches: its matched boxes as targets, and how far it can be trusted."""

    targets: Targets
    weights: Tensor  # (m,) p(object) · IoU of each match
    balance: Tensor  # () their mean, 0 for a batch without any target


@torch.no_grad()
def teacher_of(logits: Tensor, boxes_cxcywh: Tensor, targets: Targets, matches: Matches) -> Teacher:
    """Distillation targets from the last decoder layer, (N, Q, 2) and (N, Q, 4), and its `matches` to the truth."""
    boxes = boxes_cxcywh.float()[matches.sample, matches.answer]
    truth = targets.boxes_cxcywh[matches.sample, matches.target]
    sure = logits.float().softmax(-1)[matches.sample, matches.answer, 0]
    weights = sure * iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(truth))
    total, count = over_processes(torch.stack([weights.sum(), weights.new_tensor(float(len(weights)))]))
    balance = total / count if count else torch.zeros_like(total)
    per_sample = torch.bincount(matches.sample, minlength=len(logits)).tolist()
    return Teacher(Targets.of(list(boxes.split(per_sample)), boxes.device), weights, balance)


class BranchLosses(NamedTuple):
    """Weighted losses of the branches that run; None where a branch does not."""

    decoder: Tensor | None
    token: Tensor | None
    distill: Tensor | None
    balance_weight: Tensor | None
    token_matches: Matches | None


def branch_losses(
    weights: dict[str, float],
    targets: Targets,
    token: tuple[Tensor, Tensor] | None,
    decoder: list[tuple[Tensor, Tensor]] | None,
    no_object_weight: float = NO_OBJECT_WEIGHT,
) -> BranchLosses:
    """The paper's sum, term by term.

    decoder = w_decoder · Σ over layers; token = w_token · (1 − W) · loss against the truth; distill = w_distill · W ·
    loss against the decoder's boxes, with W the mean trust in the teacher. Without a decoder W is 0.

    Args:
        weights: `SimVGConfig.loss_weights`.
        token: logits (N, Q, 2) and boxes (N, Q, 4) of the token branch.
        decoder: the same per decoder layer.
        no_object_weight: of answers that match nothing, in the cross-entropy.
    """
    decoder_loss = distill_loss = balance = token_loss = None
    teacher = None
    if decoder is not None:
        layers = [set_loss(logits, boxes, targets, no_object_weight) for logits, boxes in decoder]
        decoder_loss = weights["decoder"] * torch.stack([layer.total for layer in layers]).sum()
        if token is not None and "distill" in weights:
            teacher = teacher_of(*decoder[-1], targets, layers[-1].matches)
            balance = teacher.balance
    matches = None
    if token is not None:
        truth = set_loss(*token, targets, no_object_weight)
        matches = truth.matches
        share = 1.0 if balance is None else 1 - balance
        token_loss = weights["token"] * share * truth.total
        if teacher is not None and balance is not None:
            distill_loss = weights["distill"] * balance * set_loss(*token, teacher.targets, no_object_weight).total
    return BranchLosses(decoder_loss, token_loss, distill_loss, balance, matches)
