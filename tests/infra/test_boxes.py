"""What two boxes have in common."""

from __future__ import annotations

import pytest

from infra.boxes import area, iou, shared
from infra.values import Box

UNIT: Box = (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("other", "both", "expected"),
    [
        ((0.2, 0.2, 0.2, 0.2), 0.0, 0.0),
        ((2.0, 2.0, 3.0, 3.0), 0.0, 0.0),
        ((1.0, 0.0, 2.0, 1.0), 0.0, 0.0),
        ((0.5, 0.0, 1.5, 1.0), 0.5, 1 / 3),
        ((0.0, 0.0, 0.5, 0.5), 0.25, 0.25),
        (UNIT, 1.0, 1.0),
    ],
    ids=["without area", "apart", "touching", "half beside", "inside", "the same"],
)
def test_boxes_overlap(other: Box, both: float, expected: float) -> None:
    """By area and by IoU, whichever comes first."""
    assert shared(UNIT, other) == shared(other, UNIT) == pytest.approx(both)
    assert iou(UNIT, other) == iou(other, UNIT) == pytest.approx(expected)
    assert area(UNIT) == 1.0


def test_points_overlap_with_nothing() -> None:
    """Not even with themselves: nothing is divided by 0."""
    point: Box = (0.2, 0.2, 0.2, 0.2)
    assert iou(point, point) == 0.0
