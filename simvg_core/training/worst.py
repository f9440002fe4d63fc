"""The answers that are furthest from right, as pictures with boxes."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from simvg_core.images import read_frame
from simvg_core.training.metrics import Outcome, best_iou, f1_of

PER_GROUP = 8
_SAME_TEXT = 2
_WIDTH, _QUALITY = 400, 80


@dataclass(frozen=True)
class Case:
    """One wrong answer: the picture as a data URI, and boxes (x, y, width, height) in pixels of the original."""

    text: str
    note: str
    picture: str
    width: int
    height: int
    truth: tuple[tuple[float, ...], ...]
    answer: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Group:
    """Wrong answers of one kind, the worst first; `count` is of all there are."""

    title: str
    count: int
    cases: tuple[Case, ...]


def worst(outcomes: Sequence[Outcome], threshold: float, task: str) -> list[Group]:
    """Wrong answers by kind; in a referring set only boxes at the wrong place are wrong."""
    wrong = [one for one in outcomes if not one.exact(threshold)]
    if task == "rec":
        missed = [one for one in outcomes if one.there and best_iou(one) < 0.5]
        return [_group("Wrong place", missed, lambda one: -one.score, 0.0)]
    return [
        _group("Nothing is there", (one for one in wrong if not one.there), lambda one: -one.score, threshold),
        _group(
            "Missed",
            (one for one in wrong if one.there and not len(one.answered(threshold))),
            lambda one: one.score,
            threshold,
        ),
        _group(
            "Wrong place or number",
            (one for one in wrong if one.there and len(one.answered(threshold))),
            lambda one: f1_of(one.answered(threshold), one.truth) - one.score,
            threshold,
        ),
    ]


def _group(title: str, outcomes: Iterable[Outcome], order: Callable[[Outcome], float], threshold: float) -> Group:
    ranked = sorted(outcomes, key=order)
    said: Counter[str] = Counter()
    chosen: list[Case] = []
    for one in ranked:
        said[one.text] += 1
        if said[one.text] <= _SAME_TEXT and len(chosen) < PER_GROUP:
            chosen.append(_case(one, threshold))
    return Group(title, len(ranked), tuple(chosen))


def _case(one: Outcome, threshold: float) -> Case:
    answer = one.boxes[:1] if threshold == 0.0 else one.answered(threshold)
    targets = len(one.truth)
    meant = "no target" if targets == 0 else "1 target" if targets == 1 else f"{targets} targets"
    return Case(
        text=one.text,
        note=f"{one.kind}, {meant}, score {one.score:.2f}",
        picture=_picture(one.image),
        width=one.size[0],
        height=one.size[1],
        truth=_rectangles(one.truth),
        answer=_rectangles(answer),
    )


def _rectangles(boxes: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(
        (round(x0, 1), round(y0, 1), round(x1 - x0, 1), round(y1 - y0, 1)) for x0, y0, x1, y1 in boxes.tolist()
    )


def _picture(path: str) -> str:
    image: Any = read_frame(Path(path))
    if image.shape[1] > _WIDTH:
        height = max(1, round(image.shape[0] * _WIDTH / image.shape[1]))
        image = cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    coded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert coded, "OpenCV encodes an 8-bit BGR picture"
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
