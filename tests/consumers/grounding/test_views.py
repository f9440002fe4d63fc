"""Views of a frame, and boxes mapped back from them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.grounding.findings import Finding
from consumers.grounding.views import WHOLE, crop, merge, too_small, views_of
from infra.contracts import StandingQuery, State

MADE = datetime(2026, 1, 1, tzinfo=UTC)
ABSENT = Finding(State.ABSENT, 0.1)
LEFT, RIGHT = (0.0, 0.0, 0.575, 1.0), (0.425, 0.0, 1.0, 1.0)

Box = tuple[float, float, float, float]


def query(**changes: object) -> StandingQuery:
    return StandingQuery(id="q", text="bolt", created=MADE, changed=MADE, raise_threshold=0.5, **changes)


def seen(score: float, *boxes: tuple[float, float, float, float]) -> Finding:
    return Finding(State.PRESENT, score, boxes, (score,) * len(boxes))


def shown(view: Box, *found: tuple[float, Box]) -> tuple[Box, Finding]:
    """A view, and scores with boxes of the full frame as a model would see them in it: cut at its borders."""
    x0, y0, x1, y1 = view
    boxes = []
    for _, (left, top, right, bottom) in found:
        corners = ((left - x0) / (x1 - x0), (top - y0) / (y1 - y0), (right - x0) / (x1 - x0), (bottom - y0) / (y1 - y0))
        a, b, c, d = (min(max(corner, 0.0), 1.0) for corner in corners)
        boxes.append((a, b, c, d))
    scores = tuple(score for score, _ in found)
    best = max(scores, default=0.01)
    return view, Finding(State.PRESENT if boxes else State.ABSENT, best, tuple(boxes), scores)


def test_default_is_the_whole_frame() -> None:
    """Without region and tiles there is one view, the frame."""
    assert views_of(query()) == (WHOLE,)


@given(st.integers(1, 8), st.integers(1, 8))
def test_tiles_cover_the_region(columns: int, rows: int) -> None:
    """Tiles lie in the region, leave no gap and overlap where they meet."""
    region = (0.2, 0.1, 0.9, 0.6)
    tiles = views_of(query(region=region, tiles=(columns, rows)))
    assert len(tiles) == columns * rows
    assert all(0.2 <= x0 < x1 <= 0.9 and 0.1 <= y0 < y1 <= 0.6 for x0, y0, x1, y1 in tiles)
    for x in np.linspace(0.2, 0.9, 23):
        for y in np.linspace(0.1, 0.6, 17):
            assert any(x0 - 1e-9 <= x <= x1 + 1e-9 and y0 - 1e-9 <= y <= y1 + 1e-9 for x0, y0, x1, y1 in tiles)


def test_crop_is_whole_pixels() -> None:
    """A view is rounded outward to pixels, and the exact view of what was cut is told."""
    part, exact = crop(np.zeros((100, 200, 3), np.uint8), (0.251, 0.255, 0.5, 0.5))
    assert part.shape == (25, 50, 3)
    assert exact == (0.25, 0.25, 0.5, 0.5)


def test_crop_of_nothing_is_one_pixel() -> None:
    """A view without area still gives the model something to look at."""
    assert crop(np.zeros((100, 200, 3), np.uint8), (1.0, 1.0, 1.0, 1.0))[0].shape == (1, 1, 3)


def test_boxes_are_mapped_to_the_frame() -> None:
    """A box in a quarter of the frame is at its place on the frame."""
    found = merge(query(), [((0.5, 0.5, 1.0, 1.0), seen(0.9, (0.0, 0.0, 0.5, 0.5)))])
    assert (found.state, found.boxes) == (State.PRESENT, ((0.5, 0.5, 0.75, 0.75),))


def test_object_cut_by_a_border_is_one_box() -> None:
    """Two halves seen in two overlapping tiles become one box with the better score; another object stays its own."""
    a = seen(0.8, (0.8, 0.4, 1.0, 0.5), (0.1, 0.1, 0.2, 0.2))  # 0.46..0.575, and one far left
    b = seen(0.9, (0.06, 0.4, 0.3, 0.5))  # 0.4595..0.5975
    found = merge(query(tiles=(2, 1)), [(LEFT, a), (RIGHT, b)])
    assert found.score == 0.9
    assert len(found.boxes) == 2
    assert found.boxes[0] == pytest.approx((0.4595, 0.4, 0.5975, 0.5), abs=1e-3)


def test_what_a_border_cut_is_left_to_the_tile_that_shows_it_whole() -> None:
    """Half a nut at the border looks like a hole; the tile that shows all of it knows better."""
    halves = query(tiles=(2, 1))
    nut = (0.55, 0.4, 0.6, 0.5)
    found = merge(halves, [shown(LEFT, (0.9, nut)), (RIGHT, ABSENT)])
    assert found == Finding(State.ABSENT, 0.1)
    found = merge(halves, [shown(LEFT, (0.9, nut), (0.3, (0.1, 0.1, 0.2, 0.2))), (RIGHT, ABSENT)])
    assert (found.state, found.score) == (State.ABSENT, 0.3), "the next box of its tile counts"
    found = merge(halves, [shown(LEFT, (0.9, nut)), shown(RIGHT, (0.7, nut))])
    assert (found.score, found.boxes) == (0.7, (pytest.approx(nut),))


def test_cut_box_stays_where_the_other_tile_sees_more_than_it_can_tell() -> None:
    """A tile full of bolts names the best few: it has not denied the one that another tile's border cuts."""
    cut, bolt = (0.55, 0.4, 0.6, 0.5), (0.8, 0.4, 0.85, 0.5)
    found = merge(query(tiles=(2, 1)), [shown(LEFT, (0.9, cut)), shown(RIGHT, (0.8, bolt))])
    assert (found.score, found.box_scores) == (0.8, (0.8, 0.8))


def test_cut_box_counts_where_no_tile_shows_it_whole() -> None:
    """At the frame's own border, across a whole overlap, and where the other tile cannot be judged."""
    halves = query(tiles=(2, 1))
    assert merge(halves, [shown(LEFT, (0.9, (0.0, 0.4, 0.05, 0.5))), (RIGHT, ABSENT)]).score == 0.9
    assert merge(halves, [shown(LEFT, (0.9, (0.3, 0.4, 0.7, 0.5))), (RIGHT, ABSENT)]).score == 0.9
    blind = Finding(State.UNKNOWN, None, reason="black")
    assert merge(halves, [shown(LEFT, (0.9, (0.55, 0.4, 0.6, 0.5))), (RIGHT, blind)]).score == 0.9


def test_faint_box_swells_no_other() -> None:
    """What scores too low to be shown is gone before boxes become one."""
    bolt, faint = (0.46, 0.45, 0.5, 0.5), (0.43, 0.0, 0.9, 0.9)
    found = merge(query(tiles=(2, 1)), [shown(LEFT, (0.95, bolt)), shown(RIGHT, (0.05, faint))])
    assert (found.boxes, found.box_scores) == ((pytest.approx(bolt),), (0.95,))


@pytest.mark.parametrize("tiles", [(2, 1), (2, 2), (3, 2), (4, 3)], ids=str)
@pytest.mark.parametrize("side", [0.35, 0.5, 0.8])
def test_object_longer_than_a_tile_is_one_box(tiles: tuple[int, int], side: float) -> None:
    """Whatever part of it each tile shows."""
    large = (0.5 - side / 2, 0.5 - side / 2, 0.5 + side / 2, 0.5 + side / 2)
    long = query(tiles=tiles)
    seen = []
    for view in views_of(long):
        overlap = min(view[2], large[2]) - max(view[0], large[0]), min(view[3], large[3]) - max(view[1], large[1])
        seen.append(shown(view, (0.9, large)) if min(overlap) > 0 else (view, ABSENT))
    assert merge(long, seen).boxes == (pytest.approx(large),)


def test_neighbours_at_a_border_stay_two() -> None:
    """Two things that each reach into the other's tile, but not at one height, are not halves of one."""
    upper, lower = (0.3, 0.1, 0.7, 0.2), (0.3, 0.25, 0.7, 0.35)
    found = merge(query(tiles=(2, 1)), [shown(LEFT, (0.9, upper)), shown(RIGHT, (0.8, lower))])
    assert len(found.boxes) == 2


def test_boxes_join_the_one_they_are_most_alike() -> None:
    """A thing that lies on another keeps its box, whichever of them the tiles are surer of."""
    outer, inner = (0.44, 0.40, 0.56, 0.60), (0.48, 0.45, 0.52, 0.52)
    seen = [shown(LEFT, (0.95, outer), (0.85, inner)), shown(RIGHT, (0.90, inner), (0.88, outer))]
    found = merge(query(tiles=(2, 1)), seen)
    assert (found.boxes, found.box_scores) == ((pytest.approx(outer), pytest.approx(inner)), (0.95, 0.90))


def test_box_without_area_is_not_shown() -> None:
    """No message could carry it."""
    found = merge(query(), [(WHOLE, seen(0.9, (0.1, 0.1, 0.1, 0.2), (0.1, 0.1, 0.2, 0.2)))])
    assert found.boxes == ((0.1, 0.1, 0.2, 0.2),)


def test_view_of_a_few_pixels_cannot_be_judged() -> None:
    """One pixel short, whatever the model says."""
    assert too_small(np.zeros((16, 200, 3), np.uint8)) is None
    small = too_small(np.zeros((15, 200, 3), np.uint8))
    assert small is not None
    assert (small.state, small.score, small.boxes) == (State.UNKNOWN, None, ())
    assert small.reason == (
        "view of 200×15 pixels is too small (shorter side below 16); give the query a larger region or fewer tiles"
    )


def test_two_boxes_of_one_view_stay_two() -> None:
    """The model's own answer of two overlapping objects is not merged."""
    found = merge(query(), [(WHOLE, seen(0.9, (0.1, 0.1, 0.5, 0.5), (0.12, 0.1, 0.5, 0.5)))])
    assert len(found.boxes) == 2


def test_polygon_leaves_out_what_lies_beside_it() -> None:
    """A box whose middle is in the polygon's bounding box but not in the polygon is not the query's."""
    triangle = query(region=((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    outside, inside = (0.8, 0.8, 0.9, 0.9), (0.1, 0.1, 0.2, 0.2)
    assert merge(triangle, [(WHOLE, seen(0.9, outside))]).state is State.ABSENT
    found = merge(triangle, [(WHOLE, Finding(State.PRESENT, 0.9, (outside, inside), (0.9, 0.7)))])
    assert (found.state, found.score, found.boxes) == (State.PRESENT, 0.7, (inside,))


def test_polygon_is_asked_of_the_whole_object() -> None:
    """Tiles change nothing about which side of the polygon an object's middle lies on."""
    lshape = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.55, 1.0), (0.55, 0.1), (0.0, 0.1))
    beside = (0.38, 0.4, 0.70, 0.6)  # its middle is outside, that of its right half inside
    whole = merge(query(region=lshape), [shown(WHOLE, (0.95, beside))])
    tiled = merge(query(region=lshape, tiles=(2, 1)), [shown(view, (0.95, beside)) for view in (LEFT, RIGHT)])
    assert whole == tiled == Finding(State.ABSENT, 0.0)


def test_unknown_view_makes_unknown_unless_seen() -> None:
    """Not seen in one tile and unknown in the other is unknown; seen in one is present whatever the other."""
    blind = Finding(State.UNKNOWN, None, reason="black")
    halves = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)]
    assert merge(query(), [(halves[0], ABSENT), (halves[1], blind)]) == Finding(State.UNKNOWN, None, reason="black")
    assert merge(query(), [(halves[0], seen(0.9, WHOLE)), (halves[1], blind)]).state is State.PRESENT


def test_absent_has_no_boxes() -> None:
    """Below the query's threshold there is nothing to show, whatever the model's own threshold."""
    assert merge(query(), [(WHOLE, seen(0.4, (0.1, 0.1, 0.2, 0.2)))]) == Finding(State.ABSENT, 0.4)
