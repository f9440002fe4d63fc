"""What of a frame the model is shown for a query, and where its boxes lie on the full frame. Pure.

A view is an xyxy box of the frame, normalised. Without region and tiles it is the whole frame; queries that share a
view share the model's pass over it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from infra.boxes import area, iou, shared
from infra.contracts import Box, Polygon, StandingQuery, State
from infra.regions import WHOLE as WHOLE
from infra.regions import is_box, pixels_of
from infra.regions import views_of as views_of

SAME_IOU = 0.5
CUT_OVERLAP = 0.6
"""Two boxes are one object when they overlap by this IoU, or when this share of the smaller one lies in the other."""
REACH = 0.05
ALIGNED_IOU = 0.5
"""Two boxes are one object cut by both tiles' borders when each comes this near to its own, in shares of the tile, and
they overlap along the border by this IoU."""

CUT = 0.01
WHOLE_FROM = 0.03
"""In shares of a tile: a box nearer to an inner border may have been cut there; one this far from all is whole."""

MIN_SIDE_PX = 16
"""In a smaller view not even a large part can be made out."""


class _Spot(NamedTuple):
    """A box on the full frame, and the view that showed it."""

    score: float
    box: Box
    view: Box


def crop(pixels: Pixels, view: Box) -> tuple[Pixels, Box]:
    """The part of a picture that a view shows, and the view rounded outward to whole pixels; at least 1×1."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = pixels_of(view, width=width, height=height)
    return pixels[top:bottom, left:right], (left / width, top / height, right / width, bottom / height)


def too_small(part: Pixels) -> Finding | None:
    """What is found in a part of the frame that is too small to show anything; None of a larger one."""
    height, width = part.shape[:2]
    if min(height, width) >= MIN_SIDE_PX:
        return None
    reason = f"view of {width}×{height} pixels is too small (shorter side below {MIN_SIDE_PX})"
    return Finding(State.UNKNOWN, None, reason=f"{reason}; give the query a larger region or fewer tiles")


def shows_pieces(query: StandingQuery) -> bool:
    """Whether a query's views show its region in pieces, or more than its region: what a text says of all that it
    means ("leftmost", "two") is then not what it says of a view."""
    return len(views_of(query)) > 1 or _is_polygon(query.region)


def merge(query: StandingQuery, seen: Sequence[tuple[Box, Finding]], most: int | None = None) -> Finding:
    """What the query's views say together, on the full frame: ``most`` boxes at most, the best ones.

    What a tile's border may have cut is left to the tile that shows it whole; of the rest the best score counts. Boxes
    of one object, seen twice or too long for a tile, become one. Those whose middle lies outside a region's polygon are
    not the query's. Unknown in any view is unknown altogether, unless another view has seen the object.
    """
    if len(seen) == 1 and not _is_polygon(query.region):  # as of most queries on most frames
        only = seen[0][1]
        if only.score is not None and only.score < query.raise_threshold:  # nothing is cut, and no box is shown
            return only if only.state is State.ABSENT and not only.box_scores else Finding(State.ABSENT, only.score)
    scores, found = _whole(seen)
    # First the scores: a box that is not shown must not swell one that is.
    boxes = _joined([spot for spot in found if spot.score >= query.clears_below])
    score = max(scores, default=None)
    if _is_polygon(query.region):
        boxes = [(s, box) for s, box in boxes if _within(query.region, box)]
        faint = [s for s, box, _ in found if s < query.clears_below and _within(query.region, box)]
        if found and score is not None:
            score = max([*(s for s, _ in boxes), *faint], default=0.0)
    blind = next((finding for _, finding in seen if finding.state is State.UNKNOWN), None)
    if blind is not None and (score is None or score < query.raise_threshold):
        return Finding(State.UNKNOWN, None, reason=blind.reason)
    assert score is not None  # no view is unknown, so each has its score
    if score < query.raise_threshold:
        return Finding(State.ABSENT, score)
    return Finding(State.PRESENT, score, tuple(box for _, box in boxes[:most]), tuple(s for s, _ in boxes[:most]))


def merge_parts(
    query: StandingQuery,
    seen: Mapping[str, Sequence[tuple[Box, Finding]]],
    floors: Mapping[str, float],
    compose: Callable[[str, Mapping[str, Finding]], Finding],
    most: int | None = None,
) -> Finding:
    """As :func:`merge`, of a query whose views were asked for parts of its text: each part is put together from all
    views, from its floor on, and what these say of the text is told by ``compose``. Places are those in the region; of
    what lies outside a polygon nothing is the utmost, nor beside anything."""
    region = _enclosing([view for spots in seen.values() for view, _ in spots])
    blind = next((one for spots in seen.values() for _, one in spots if one.state is State.UNKNOWN), None)
    if blind is not None:  # what a relation or an extreme would have been measured by may lie there
        return Finding(State.UNKNOWN, None, reason=blind.reason)
    parts = {}
    for text, spots in seen.items():
        joined = _joined([spot for spot in _whole(spots)[1] if spot.score >= floors[text]])
        joined = [(score, box) for score, box in joined if _within(query.region, box)]
        boxes = tuple(_to_view(region, box) for _, box in joined)
        state = State.PRESENT if boxes else State.ABSENT
        parts[text] = Finding(state, max((s for s, _ in joined), default=0.0), boxes, tuple(s for s, _ in joined))
    return merge(query, [(region, compose(query.text, parts))], most)


def _to_view(view: Box, box: Box) -> Box:
    width, height = view[2] - view[0], view[3] - view[1]
    return (
        (box[0] - view[0]) / width, (box[1] - view[1]) / height, (box[2] - view[0]) / width, (box[3] - view[1]) / height
    )  # fmt: skip


def _whole(seen: Sequence[tuple[Box, Finding]]) -> tuple[list[float], list[_Spot]]:
    """The views' scores, and their boxes on the full frame.

    What a border has cut looks like something else. A box that may have been cut, and lies whole in another view, does
    not count for its own view's score; its own is at most the other view's, which may see more than it can list.
    """
    if not any(finding.boxes for _, finding in seen):  # as on most frames
        return [finding.score for _, finding in seen if finding.score is not None], []
    frame = _enclosing([view for view, _ in seen])
    scores: dict[Box, float] = {}
    found: list[_Spot] = []
    cut: list[tuple[_Spot, list[Box]]] = []
    for view, finding in seen:
        if finding.score is None:
            continue
        scores[view] = finding.score
        before, doubts = len(found), len(cut)
        for score, part in zip(finding.box_scores, finding.boxes, strict=True):
            spot = _Spot(score, _to_frame(view, part), view)
            if not area(spot.box):
                continue
            others = _shown_whole(spot, seen, frame)
            if others:
                cut.append((spot, others))
            else:
                found.append(spot)
        if len(cut) > doubts:
            scores[view] = max((spot.score for spot in found[before:]), default=0.0)
    found += [spot._replace(score=min(spot.score, max(scores[view] for view in others))) for spot, others in cut]
    return list(scores.values()), found


def _shown_whole(spot: _Spot, seen: Sequence[tuple[Box, Finding]], frame: Box) -> list[Box]:
    """The judged views that show all of a box that its own view's border may have cut."""
    if _margin(spot.box, spot.view, frame) >= CUT:
        return []
    return [
        view for view, finding in seen if finding.score is not None and _margin(spot.box, view, frame) >= WHOLE_FROM
    ]


def _margin(box: Box, view: Box, frame: Box) -> float:
    """How far a box is from the view's inner borders, in shares of its sides; negative if it lies beyond one."""
    width, height = view[2] - view[0], view[3] - view[1]
    gaps = (
        (box[0] - view[0]) / width if view[0] > frame[0] else math.inf,
        (box[1] - view[1]) / height if view[1] > frame[1] else math.inf,
        (view[2] - box[2]) / width if view[2] < frame[2] else math.inf,
        (view[3] - box[3]) / height if view[3] < frame[3] else math.inf,
    )
    return min(gaps)


def _to_frame(view: Box, box: Box) -> Box:
    width, height = view[2] - view[0], view[3] - view[1]
    corners = (view[0] + box[0] * width, view[1] + box[1] * height, view[0] + box[2] * width, view[1] + box[3] * height)
    x0, y0, x1, y1 = (min(max(corner, 0.0), 1.0) for corner in corners)
    return x0, y0, x1, y1


def _joined(found: Sequence[_Spot]) -> list[tuple[float, Box]]:
    """Joins boxes of different views, those most alike first; two boxes of one view are two objects, as the model says.

    Best first.
    """
    if len(found) < 2:
        return [(spot.score, spot.box) for spot in found]
    groups = [[spot] for spot in found]
    pairs = [
        (iou(found[a].box, found[b].box), a, b)
        for a, b in combinations(range(len(found)), 2)
        if found[a].view != found[b].view and (_same(found[a].box, found[b].box) or _continued(found[a], found[b]))
    ]
    for _, a, b in sorted(pairs, key=lambda pair: -pair[0]):
        one, other = groups[a], groups[b]
        if {spot.view for spot in one}.isdisjoint(spot.view for spot in other):
            one += other
            for place, group in enumerate(groups):
                if group is other:
                    groups[place] = one
    unique = {id(group): group for group in groups}.values()
    joined = [(max(spot.score for spot in group), _enclosing([spot.box for spot in group])) for group in unique]
    return sorted(joined, key=lambda entry: -entry[0])


def _same(a: Box, b: Box) -> bool:
    return iou(a, b) > SAME_IOU or shared(a, b) > CUT_OVERLAP * min(area(a), area(b))


def _continued(a: _Spot, b: _Spot) -> bool:
    """Whether the views' borders cut one object into these two: each box reaches the border that lies in the other."""
    if not shared(a.box, b.box):
        return False
    for axis, across in ((0, 1), (1, 0)):
        low, high = (a, b) if a.view[axis] < b.view[axis] else (b, a)
        near = REACH * (low.view[axis + 2] - low.view[axis])
        cut = low.box[axis + 2] >= low.view[axis + 2] - near and high.box[axis] <= high.view[axis] + near
        if cut and low.view[axis] < high.view[axis] and _along(a.box, b.box, across) > ALIGNED_IOU:
            return True
    return False


def _along(a: Box, b: Box, axis: int) -> float:
    """IoU of two boxes' extents along one axis."""
    both = min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis])
    return both / (max(a[axis + 2], b[axis + 2]) - min(a[axis], b[axis]))


def _enclosing(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _is_polygon(region: Polygon | Box | None) -> bool:
    return region is not None and not is_box(region)


def _within(region: Polygon | Box | None, box: Box) -> bool:
    """Whether the middle of a box, which lies in a region's views, lies in the region."""
    if region is None or is_box(region):
        return True
    return _contains(region, box)


def _contains(region: Polygon | Box, box: Box) -> bool:
    """Whether a polygon has the middle of a box in it, by the even-odd rule."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    inside = False
    points: Polygon = region  # type: ignore[assignment] # callers pass polygons only
    for (ax, ay), (bx, by) in zip(points, (*points[1:], points[0]), strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            inside = not inside
    return inside
