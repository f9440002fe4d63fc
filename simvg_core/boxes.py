"""Box geometry; conventions are converted here and, on NumPy arrays, in `box_arrays.py`.

`cxcywh`: centre and size, normalised to 0 … 1 of the image. `xyxy`: two corners, normalised or (`_px`) in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The published losses and metrics add this to every denominator.
EPSILON = 1e-6


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) centre and size → (..., 4) corners, same unit."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def area(boxes_xyxy: Tensor) -> Tensor:
    """(..., 4) corners → (...) area in the squared unit of the corners."""
    size = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    return size[..., 0] * size[..., 1]


def _overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    size = (high - low).clamp(min=0)
    shared = size[..., 0] * size[..., 1]
    return shared, area(first) + area(second) - shared


def iou(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """Intersection over union of broadcastable (..., 4) corners, in 0 … 1."""
    shared, union = _overlap(first_xyxy, second_xyxy)
    return shared / (union + EPSILON)


def generalized_iou(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """IoU minus the empty share of the common hull, in -1 … 1, for broadcastable (..., 4) corners."""
    shared, union = _overlap(first_xyxy, second_xyxy)
    low = torch.minimum(first_xyxy[..., :2], second_xyxy[..., :2])
    high = torch.maximum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    size = (high - low).clamp(min=0)
    hull = size[..., 0] * size[..., 1]
    return shared / (union + EPSILON) - (hull - union) / (hull + EPSILON)
