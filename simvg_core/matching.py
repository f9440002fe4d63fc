"""One-to-one assignment of answers to targets (paper section 3.4; Hungarian matching of DETR).

Shapes: N samples, Q answers each, M = largest number of targets of one sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from simvg_core.boxes import cxcywh_to_xyxy, generalized_iou

L1_WEIGHT, GIOU_WEIGHT = 5.0, 2.0


class Targets(NamedTuple):
    """Target boxes of N samples, padded to the longest."""

    boxes_cxcywh: Tensor  # (N, M, 4)
    counts: Tensor  # (N,) long, on the CPU

    @classmethod
    def of(cls, boxes: list[Tensor], device: torch.device) -> Targets:
        """From one (n, 4) tensor per sample; n may be 0."""
        counts = torch.tensor([len(sample) for sample in boxes], dtype=torch.long)
        if len(boxes) == 0 or int(counts.max()) == 0:
            return cls(torch.zeros(len(boxes), 0, 4, device=device), counts)
        floats = [sample.reshape(-1, 4).float() for sample in boxes]
        # padded where they are: a thousand copies to a GPU would take longer than its part of the step
        return cls(pad_sequence(floats, batch_first=True).to(device), counts)


class Matches(NamedTuple):
    """Matched pairs, sorted by sample, then by answer; each (m,) long on the device of the answers."""

    sample: Tensor
    answer: Tensor
    target: Tensor


@torch.no_grad()
def match(logits: Tensor, boxes_cxcywh: Tensor, targets: Targets) -> Matches:
    """Cheapest assignment by −p(object) + 5·L1 − 2·GIoU, per sample.

    Args:
        logits: (N, Q, 2), object first.
        boxes_cxcywh: (N, Q, 4) normalised.
    """
    device = logits.device
    width = targets.boxes_cxcywh.shape[1]
    if width == 0:
        none = torch.zeros(0, dtype=torch.long, device=device)
        return Matches(none, none, none)
    answers, wanted = boxes_cxcywh.float()[:, :, None], targets.boxes_cxcywh[:, None]
    cost = -logits.float().softmax(-1)[..., :1] + L1_WEIGHT * (answers - wanted).abs().sum(-1)
    cost = cost - GIOU_WEIGHT * generalized_iou(cxcywh_to_xyxy(answers), cxcywh_to_xyxy(wanted))
    # Where answers are no numbers any assignment will do: their loss is none either, which ends a training by its name.
    costs = np.nan_to_num(cost.cpu().numpy())
    samples, chosen, goals = [], [], []
    for sample, count in enumerate(targets.counts.tolist()):
        if count == 0:
            continue
        if count == 1:
            rows, columns = np.array([costs[sample, :, 0].argmin()]), np.array([0])
        else:
            rows, columns = linear_sum_assignment(costs[sample, :, :count])
        samples.append(np.full(len(rows), sample))
        chosen.append(rows)
        goals.append(columns)
    joined = (torch.from_numpy(np.concatenate(part)).to(device) for part in (samples, chosen, goals))
    return Matches(*joined)
