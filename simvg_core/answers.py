"""From a model's raw answers to what is said about a text in a frame. NumPy only: every engine ends here.

Shapes: B frames, S texts, Q answers per text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simvg_core.box_arrays import cxcywh_to_xyxy

Floats = NDArray[np.float32]

PRESENT, ABSENT, UNKNOWN = "present", "absent", "unknown"

NO_NUMBER = "the model gave no number (NaN or infinity)"
"""Why a text is unknown whose scores or boxes are no numbers; as any number they would pass for "absent"."""

# As in the published metrics, added to the union.
_EPSILON = 1e-6


class Answer(NamedTuple):
    """What is said about one text in one frame; no boxes = not there."""

    score: float  # probability that anything fits; NaN where the model gave no numbers
    boxes_xyxy_px: Floats  # (n, 4) corners in the original frame, best first
    scores: Floats  # (n,)


class Grounding(NamedTuple):
    """What is known about one text in one frame.

    `state` is "present" (a box reaches the threshold), "absent", or "unknown" (the frame cannot be judged; `reason`
    says why, `score` is None). `boxes_xyxy_px` are corners in pixels of the frame, best first, with `scores`.
    `asked` is False where the gate answered, or where a part that the text needs was found too seldom to matter: the
    score is then what texts have on average that the gate keeps out.
    """

    state: str
    score: float | None
    boxes_xyxy_px: tuple[tuple[float, float, float, float], ...] = ()
    scores: tuple[float, ...] = ()
    reason: str | None = None
    asked: bool = True

    @classmethod
    def of(cls, answer: Answer) -> Grounding:
        """Present where an answer has boxes, unknown where it is no number."""
        if not len(answer.boxes_xyxy_px):
            return cls(UNKNOWN, None, reason=NO_NUMBER) if math.isnan(answer.score) else cls(ABSENT, answer.score)
        boxes = tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in answer.boxes_xyxy_px.tolist())
        return cls(PRESENT, answer.score, boxes, tuple(answer.scores.tolist()))


def assemble(
    scores: Floats,
    boxes_cxcywh: Floats,
    sizes: Sequence[tuple[int, int]],
    floor: NDArray[np.float32],
    max_iou: float | None,
    most: NDArray[np.intp] | None = None,
) -> list[list[Answer]]:
    """Answers in pixels of the original frames.

    Args:
        scores: (B, S, Q) probabilities.
        boxes_cxcywh: (B, S, Q, 4), normalised.
        sizes: (height, width) per frame.
        floor: lowest score of a box, broadcastable to (B, S, Q).
        max_iou: overlap above which the worse box of a text is dropped; None keeps all.
        most: boxes of a text at most, broadcastable to (B, S), of the best ones; None keeps all.

    Returns:
        [frame][text]. Boxes are clipped to the frame; a box without area is dropped. A text of whose scores or boxes
        any is not finite has the score NaN and no boxes.
    """
    if not np.isfinite(scores.sum() + boxes_cxcywh.sum()):  # seldom, and one look at all numbers is enough to know
        broken = np.asarray(~(np.isfinite(scores).all(axis=-1) & np.isfinite(boxes_cxcywh).all(axis=(-1, -2))))
        best = np.where(broken, np.nan, scores.max(axis=-1, initial=0.0))
        scores = np.where(broken[..., None], -1, scores)
    else:
        best = scores.max(axis=-1, initial=0.0)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    answers = [[Answer(top, *none) for top in row] for row in best.tolist()]
    # Of a thousand texts few have an answer: only their boxes are looked at.
    high = np.asarray(scores >= floor)
    likely = np.nonzero(high.any(axis=-1))
    size = np.array([[w, h, w, h] for h, w in sizes], np.float32).reshape(-1, 1, 4)[likely[0]]
    pixels = np.minimum(np.maximum(cxcywh_to_xyxy(boxes_cxcywh[likely]) * size, 0), size)
    kept = high[likely] & np.all(pixels[..., 2:] > pixels[..., :2], axis=-1)
    found = kept.any(axis=-1)
    chosen = likely[0][found], likely[1][found]
    boxes, order, left = best_first(pixels[found], scores[chosen], kept[found], max_iou)
    columns = boxes, np.take_along_axis(scores[chosen], order, axis=1)
    if most is not None:
        left &= left.cumsum(axis=1) <= np.broadcast_to(most, scores.shape[:2])[chosen][:, None]
    for frame, text, boxes, values, rest in zip(*(part.tolist() for part in chosen), *columns, left, strict=True):
        answers[frame][text] = Answer(answers[frame][text].score, boxes[rest], values[rest])
    return answers


def best_first(
    boxes_xyxy: Floats, scores: Floats, kept: NDArray[np.bool_], max_iou: float | None
) -> tuple[Floats, NDArray[np.intp], NDArray[np.bool_]]:
    """Boxes (N, Q, 4) and scores (N, Q) of N texts → the boxes, each text's best first, the order that makes them so,
    and which of them remain (N, Q) of those `kept` once the worse of two that overlap is dropped.

    With a thousand queries a loop over texts would take as long as the model: only one over the few answers is left.
    """
    order = np.argsort(np.where(kept, -scores, np.inf), axis=1, kind="stable")
    boxes = np.take_along_axis(boxes_xyxy, order[..., None], axis=1)
    kept = np.take_along_axis(kept, order, axis=1)
    if max_iou is not None:
        crowded = overlaps(boxes) > max_iou
        for place in range(1, kept.shape[1]):
            kept[:, place] &= ~(crowded[:, place, :place] & kept[:, :place]).any(axis=1)
    return boxes, order, kept


def groundings(
    answers: Sequence[Sequence[Answer]], asked: NDArray[np.bool_] | None, gate_score: float
) -> list[list[Grounding]]:
    """What is said of each text in each frame; ``asked`` (B, S): False where `Grounding.asked` is, None: nowhere."""
    if asked is None:
        return [[Grounding.of(answer) for answer in row] for row in answers]
    gated = Grounding(ABSENT, gate_score, asked=False)
    return [
        [Grounding.of(one) if was else gated for one, was in zip(row, own, strict=True)]
        for row, own in zip(answers, asked.tolist(), strict=True)
    ]


def overlaps(boxes_xyxy: Floats, others: Floats | None = None) -> Floats:
    """Intersection over union of each with each, (..., n, 4) and (..., m, 4) → (..., n, m); of the boxes with
    themselves without others."""
    # side by side: numpy takes three times as long over pairs of numbers as over long rows of them
    x0, y0, x1, y1 = (boxes_xyxy[..., :, side, None] for side in range(4))
    left, top, right, bottom = ((boxes_xyxy if others is None else others)[..., None, :, side] for side in range(4))
    wide = np.maximum(np.minimum(x1, right) - np.maximum(x0, left), 0)
    shared = wide * np.maximum(np.minimum(y1, bottom) - np.maximum(y0, top), 0)
    ratio: Floats = shared / ((x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - shared + _EPSILON)
    return ratio
