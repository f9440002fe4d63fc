"""From a model's raw answers to what is said about a text in a frame. NumPy only: every engine ends here.

Shapes: B frames, S texts, Q answers per text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PRESENT, ABSENT, UNKNOWN = "present", "absent", "unknown"

# As in the published metrics, added to the union.
_EPSILON = 1e-6


class Answer(NamedTuple):
    """What is said about one text in one frame; no boxes = not there."""

    score: float  # probability that anything fits
    boxes_xyxy_px: Floats  # (n, 4) corners in the original frame, best first
    scores: Floats  # (n,)


@dataclass(frozen=True)
class Grounding:
    """What is known about one text in one frame.

    `state` is "present" (a box reaches the threshold), "absent", or "unknown" (the frame cannot be judged; `reason`
    says why, `score` is None). `boxes_xyxy_px` are corners in pixels of the frame, best first, with `scores`.
    """

    state: str
    score: float | None
    boxes_xyxy_px: tuple[tuple[float, float, float, float], ...] = ()
    scores: tuple[float, ...] = ()
    reason: str | None = None

    @classmethod
    def of(cls, answer: Answer) -> Grounding:
        """Present where an answer has boxes."""
        boxes = tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in answer.boxes_xyxy_px.tolist())
        return cls(PRESENT if boxes else ABSENT, answer.score, boxes, tuple(answer.scores.tolist()))


def assemble(
    scores: Floats,
    boxes_cxcywh: Floats,
    sizes: Sequence[tuple[int, int]],
    floor: NDArray[np.float32],
    max_iou: float | None,
) -> list[list[Answer]]:
    """Answers in pixels of the original frames.

    Args:
        scores: (B, S, Q) probabilities.
        boxes_cxcywh: (B, S, Q, 4), normalised.
        sizes: (height, width) per frame.
        floor: lowest score of a box, broadcastable to (B, S, Q).
        max_iou: overlap above which the worse box of a text is dropped; None keeps all.

    Returns:
        [frame][text]. Boxes are clipped to the frame; a box without area is dropped.
    """
    size = np.array([[w, h, w, h] for h, w in sizes], np.float32).reshape(-1, 1, 1, 4)
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    pixels = np.minimum(np.maximum(np.concatenate([centre - half, centre + half], axis=-1) * size, 0), size)
    solid = np.all(pixels[..., 2:] > pixels[..., :2], axis=-1)
    kept = solid & (scores >= floor)
    best = scores.max(axis=-1, initial=0.0)
    found = kept.any(axis=-1)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)

    def one(frame: int, text: int) -> Answer:
        top = float(best[frame, text])
        if not found[frame, text]:
            return Answer(top, *none)
        chosen = kept[frame, text]
        return _merged(top, pixels[frame, text][chosen], scores[frame, text][chosen], max_iou)

    return [[one(frame, text) for text in range(scores.shape[1])] for frame in range(scores.shape[0])]


def _merged(best: float, boxes: Floats, scores: Floats, max_iou: float | None) -> Answer:
    order = np.argsort(-scores, kind="stable").tolist() if max_iou is None else suppress(boxes, scores, max_iou)
    return Answer(best, boxes[order], scores[order])


def suppress(boxes_xyxy: Floats, scores: Floats, max_iou: float) -> list[int]:
    """Greedy non-maximum suppression of a handful of boxes.

    Args:
        boxes_xyxy: (n, 4) corners.
        scores: (n,).
        max_iou: a box that overlaps a better one by more than this is dropped.

    Returns:
        Indices of the kept boxes, best first.
    """
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    if len(order) < 2:
        return order
    low = np.maximum(boxes_xyxy[:, None, :2], boxes_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], boxes_xyxy[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=-1)
    overlaps = shared / (areas[:, None] + areas[None] - shared + _EPSILON)
    kept: list[int] = []
    for index in order:
        if all(overlaps[index, other] <= max_iou for other in kept):
            kept.append(index)
    return kept
