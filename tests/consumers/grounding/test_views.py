"""Views of a frame, and boxes mapped back from them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.grounding.findings import Finding
from consumers.grounding.views import WHOLE, crop, merge, views_of
from infra.contracts import StandingQuery, State

MADE = datetime(2026, 1, 1, tzinfo=UTC)
ABSENT = Finding(State.ABSENT, 0.1)


def query(**changes: object) -> StandingQuery:
    return StandingQuery(id="q", text="bolt", created=MADE, changed=MADE, raise_threshold=0.5, **changes)


def seen(score: float, *boxes: tuple[float, float, float, float]) -> Finding:
    return Finding(State.PRESENT, score, boxes, (score,) * len(boxes))


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
    left, right = (0.0, 0.0, 0.575, 1.0), (0.425, 0.0, 1.0, 1.0)
    a = seen(0.8, (0.8, 0.4, 1.0, 0.5), (0.1, 0.1, 0.2, 0.2))  # 0.46..0.575, and one far left
    b = seen(0.9, (0.06, 0.4, 0.3, 0.5))  # 0.4595..0.5975
    found = merge(query(tiles=(2, 1)), [(left, a), (right, b)])
    assert found.score == 0.9
    assert len(found.boxes) == 2
    assert found.boxes[0] == pytest.approx((0.4595, 0.4, 0.5975, 0.5), abs=1e-3)


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


def test_unknown_view_makes_unknown_unless_seen() -> None:
    """Not seen in one tile and unknown in the other is unknown; seen in one is present whatever the other."""
    blind = Finding(State.UNKNOWN, None, reason="black")
    halves = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)]
    assert merge(query(), [(halves[0], ABSENT), (halves[1], blind)]) == Finding(State.UNKNOWN, None, reason="black")
    assert merge(query(), [(halves[0], seen(0.9, WHOLE)), (halves[1], blind)]).state is State.PRESENT


def test_absent_has_no_boxes() -> None:
    """Below the query's threshold there is nothing to show, whatever the model's own threshold."""
    assert merge(query(), [(WHOLE, seen(0.4, (0.1, 0.1, 0.2, 0.2)))]) == Finding(State.ABSENT, 0.4)
