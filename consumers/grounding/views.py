"""What of a frame the model is shown for a query, and where its boxes lie on the full frame. Pure.

A view is an xyxy box of the frame, normalised. Without region and tiles it is the whole frame; queries that share a
view share the model's pass over it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from infra.contracts import Box, Polygon, StandingQuery, State
from infra.regions import WHOLE as WHOLE
from infra.regions import is_box
from infra.regions import views_of as views_of

SAME_IOU = 0.5
CUT_OVERLAP = 0.6
"""Two boxes are one object when they overlap by this IoU, or when this share of the smaller one lies in the other."""


def crop(pixels: Pixels, view: Box) -> tuple[Pixels, Box]:
    """The part of a picture that a view shows, and the view rounded outward to whole pixels; at least 1×1."""
    height, width = pixels.shape[:2]
    left, top = min(int(view[0] * width), width - 1), min(int(view[1] * height), height - 1)
    right = min(max(left + 1, math.ceil(view[2] * width)), width)
    bottom = min(max(top + 1, math.ceil(view[3] * height)), height)
    return pixels[top:bottom, left:right], (left / width, top / height, right / width, bottom / height)


def merge(query: StandingQuery, seen: Sequence[tuple[Box, Finding]]) -> Finding:
    """What the query's views say together, on the full frame.

    The best score counts. Boxes are mapped back; those of one object, cut or seen twice at a tile's border, become one.
    Boxes whose middle lies outside a region's polygon are not the query's, and a query left without any has not seen
    anything. Unknown in any view is unknown altogether, unless another view has seen the object.
    """
    found = [
        (score, _to_frame(view, box), number)
        for number, (view, finding) in enumerate(seen)
        for score, box in zip(finding.box_scores, finding.boxes, strict=True)
    ]
    polygon = query.region if query.region is not None and not is_box(query.region) else None
    scores = [finding.score for _, finding in seen if finding.score is not None]
    score = max(scores, default=None)
    if polygon is not None:
        inside = [
            (s, box, number)
            for s, box, number in found
            if _contains(polygon, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        ]
        if found and not inside:
            score = 0.0 if score is not None else None
        elif inside:
            score = max(s for s, _, _ in inside)
        found = inside
    blind = next((finding for _, finding in seen if finding.state is State.UNKNOWN), None)
    if blind is not None and (score is None or score < query.raise_threshold):
        return Finding(State.UNKNOWN, None, reason=blind.reason)
    assert score is not None  # no view is unknown, so each has its score
    state = State.PRESENT if score >= query.raise_threshold else State.ABSENT
    merged = [(s, box) for s, box in _merge_boxes(found) if s >= query.clears_below] if state is State.PRESENT else []
    return Finding(state, score, tuple(box for _, box in merged), tuple(s for s, _ in merged))


def _to_frame(view: Box, box: Box) -> Box:
    width, height = view[2] - view[0], view[3] - view[1]
    corners = (view[0] + box[0] * width, view[1] + box[1] * height, view[0] + box[2] * width, view[1] + box[3] * height)
    x0, y0, x1, y1 = (min(max(corner, 0.0), 1.0) for corner in corners)
    return x0, y0, x1, y1


def _merge_boxes(found: list[tuple[float, Box, int]]) -> list[tuple[float, Box]]:
    """Joins boxes of different views; two boxes of one view are two objects, as the model says."""
    merged: list[tuple[float, Box, set[int]]] = []
    for score, box, view in sorted(found, key=lambda entry: -entry[0]):
        for place, (best, other, views) in enumerate(merged):
            if view not in views and _same(box, other):
                merged[place] = (best, _union(box, other), views | {view})
                break
        else:
            merged.append((score, box, {view}))
    return [(score, box) for score, box, _ in merged]


def _same(a: Box, b: Box) -> bool:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return False
    shared = width * height
    return shared > SAME_IOU * (_area(a) + _area(b) - shared) or shared > CUT_OVERLAP * min(_area(a), _area(b))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _contains(polygon: Polygon | Box, x: float, y: float) -> bool:
    """Even-odd rule."""
    inside = False
    points: Polygon = polygon  # type: ignore[assignment] # callers pass polygons only
    for (ax, ay), (bx, by) in zip(points, (*points[1:], points[0]), strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            inside = not inside
    return inside
