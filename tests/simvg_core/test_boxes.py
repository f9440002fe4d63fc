"""Conversions of boxes and how far boxes overlap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simvg_core import box_arrays
from simvg_core.boxes import cxcywh_to_xyxy, generalized_iou, iou

BOXES = np.array([[0.3, 0.4, 0.2, 0.1], [0.8, 0.8, 0.1, 0.1]], np.float32)


@pytest.mark.parametrize("boxes", [BOXES[:0], BOXES, BOXES[:, None]], ids=["none", "two", "two rows of one"])
def test_arrays_are_converted_as_tensors(boxes: np.ndarray) -> None:
    """The same corners to the bit, whatever the leading axes, and back again."""
    corners = box_arrays.cxcywh_to_xyxy(boxes)
    assert corners.dtype == np.float32 and corners.shape == boxes.shape
    np.testing.assert_array_equal(corners, cxcywh_to_xyxy(torch.from_numpy(boxes)).numpy())
    np.testing.assert_allclose(box_arrays.xyxy_to_cxcywh(corners), boxes, atol=1e-6)


def test_boxes_overlap_fully_or_less_than_not_at_all() -> None:
    """Equal boxes fully; distant ones have a negative GIoU."""
    corners = cxcywh_to_xyxy(torch.from_numpy(BOXES))
    assert iou(corners[0], corners[0]).item() == pytest.approx(1, abs=1e-4)
    assert iou(corners[0], corners[1]).item() == 0
    assert generalized_iou(corners[0], corners[1]).item() < 0
