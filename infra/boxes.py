"""What two boxes of a frame have in common. Boxes are xyxy, in any one unit. Pure."""

from __future__ import annotations

from infra.values import Box


def area(box: Box) -> float:
    """In the squared unit of the corners."""
    return (box[2] - box[0]) * (box[3] - box[1])


def shared(a: Box, b: Box) -> float:
    """Area of what lies in both; 0 for boxes that only touch."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0 … 1; 0 for boxes without area."""
    both = shared(a, b)
    return both / (area(a) + area(b) - both) if both else 0.0
