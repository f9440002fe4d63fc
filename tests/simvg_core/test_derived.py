"""Parts of texts that are told by answers to others: the odd one by its colours, a state by cells."""

from __future__ import annotations

import numpy as np
import pytest

from simvg_core.composing import Plan
from simvg_core.odd_color import COLORS
from simvg_core.pieces import parts_of
from simvg_core.reading import read
from tests.simvg_core.test_composing import LABELS, ODD, STATES, answers, composed


def odd_caps(
    caps: dict[str, list[tuple[float, float, float]]], *plates: tuple[float, float]
) -> dict[tuple[float, float], float]:
    """Scores of "cap of the wrong colour" by place, of caps by colour, on plates with these middles."""
    of_color = [answers(*caps.get(color, ())) for color in COLORS]
    scores, boxes = answers(*((0.9, x, y) for x, y in plates))
    boxes[: len(plates), 2:] = 0.4
    found, places = composed("cap of the wrong colour", *of_color, (scores, boxes))
    return {(round(float(x), 2), round(float(y), 2)): float(s) for s, (x, y) in zip(found, places[:, :2], strict=True)}


def test_a_wrong_colour_is_another_than_that_of_the_rest() -> None:
    """It takes two others of one colour; and is no surer than it and the second of them are."""
    two = [(0.9, 0.2, 0.5), (0.8, 0.3, 0.5)]
    assert odd_caps({"red": two, "blue": [(0.85, 0.4, 0.5)]})[0.4, 0.5] == pytest.approx(0.8)
    assert odd_caps({"red": two, "blue": [(0.7, 0.4, 0.5)]})[0.4, 0.5] == pytest.approx(0.7)
    for others in ({"red": two[:1]}, {"red": two[:1], "white": two[1:]}, {}):
        assert max(odd_caps(others | {"blue": [(0.9, 0.4, 0.5)]}).values()) == 0
    assert max(odd_caps({"red": [*two, (0.9, 0.4, 0.5)]}).values()) == 0


def test_two_of_a_colour_are_both_no_odd_ones() -> None:
    """As far as each is there; what is less likely than not takes nothing from the other."""
    red = [(0.9, 0.2, 0.5), (0.9, 0.3, 0.5), (0.9, 0.4, 0.5)]
    found = odd_caps({"red": red, "blue": [(0.9, 0.2, 0.6), (0.6, 0.3, 0.6)]})
    assert found[0.2, 0.6] == pytest.approx(0.9 * 2 * (1 - 0.6))
    assert found[0.3, 0.6] == pytest.approx(0.6 * 2 * (1 - 0.9))
    found = odd_caps({"red": red, "blue": [(0.9, 0.2, 0.6), (0.5, 0.3, 0.6)]})
    assert found[0.2, 0.6] == pytest.approx(0.9)


def test_what_may_have_the_usual_colour_is_less_surely_odd() -> None:
    """A cap between red and orange among red ones."""
    red = [(0.9, 0.2, 0.5), (0.9, 0.3, 0.5)]
    for doubt, score in ((0.4, 0.9), (0.75, 0.45), (1.0, 0.0)):
        found = odd_caps({"red": [*red, (doubt, 0.4, 0.5)], "orange": [(0.9, 0.4, 0.5)]})
        assert found.get((0.4, 0.5), 0.0) == pytest.approx(score)


def test_colours_are_those_of_one_plate() -> None:
    """Two products side by side may have caps of two colours; what lies beside a plate is of none. Without a plate in
    view all things in view are compared."""
    caps = {"red": [(0.9, 0.2, 0.5), (0.9, 0.3, 0.5)], "blue": [(0.9, 0.7, 0.5), (0.8, 0.8, 0.5), (0.9, 0.35, 0.9)]}
    assert max(odd_caps(caps, (0.25, 0.5), (0.75, 0.5)).values()) == 0
    both = caps | {"white": [(0.9, 0.25, 0.4), (0.8, 0.75, 0.4)]}
    found = odd_caps(both, (0.25, 0.5), (0.75, 0.5))
    assert found[0.25, 0.4] == pytest.approx(0.9)
    assert found[0.75, 0.4] == pytest.approx(0.8)
    assert found.get((0.35, 0.9), 0.0) == 0, "it lies on the belt"
    one = {"red": caps["red"], "blue": [(0.9, 0.9, 0.9)]}
    assert odd_caps(one)[0.9, 0.9] == pytest.approx(0.9)
    assert max(odd_caps(one, (0.25, 0.5)).values()) == 0


def test_a_wrong_colour_is_asked_for_by_colours() -> None:
    """Once for all texts that say it, and in a place, beside something and over tiles as well; from the gate come only
    the colours that may be the odd one's or the rest's."""
    plan = Plan.of(ODD, ())
    assert plan is not None
    assert plan.rows == [*(f"{color} cap" for color in COLORS), "plate", "gear"]
    assert plan.first == len(plan.rows), "an odd one has no whole"
    assert read("caps of the wrong color").told == "“cap” of another colour than the rest on its “plate”"
    floors = plan.floors(np.float32([0.5, 0.95, 0.8, 0.9]))
    warm = np.float32([0.9, 0.6, 0.2, 0, 0, 0, 0, 0, 0.3, 0.1])
    assert plan.reaching(warm, floors).tolist() == [True, False, False, False]
    assert [plan.rows[row] for row in plan.needed(warm, floors).nonzero()[0]] == ["red cap", "orange cap", "plate"]
    warm[1] = 0.4
    assert not plan.needed(warm, floors).any(), "one colour alone has no odd one"
    assert parts_of(ODD[2], 0.8, True) == dict.fromkeys(plan.rows[:9], 0.5)
    assert parts_of(ODD[3], 0.4, True) == {"gear": 0.4} | dict.fromkeys(plan.rows[:9], 0.4**2)


def test_cells_tell_which_label_lies_crooked() -> None:
    """By what the inner half of its box holds, no surer than that it is a label; so is the usual state."""
    labels = answers((0.9, 0.25, 0.25), (0.8, 0.75, 0.25), (0.7, 0.5, 0.75))
    odds = np.full((8, 8), -9.0)
    odds[1:3, 1:3] = 1.0  # rows are y: the label in the upper left
    odds[:, 5:] = 3.0
    scores, boxes = composed("crooked label", labels, cells=odds.ravel())
    np.testing.assert_allclose(scores[:2], [0.8, 1 / (1 + np.exp(-1))], atol=1e-5)
    np.testing.assert_allclose(boxes[:2, :2], [[0.75, 0.25], [0.25, 0.25]])
    assert scores[2] <= 0.01, "the straight one, and what is no label"
    scores, boxes = composed("the label is straight", labels, cells=odds.ravel())
    np.testing.assert_allclose(scores[:2], [0.7, 1 / (1 + np.exp(1))], atol=1e-5)
    np.testing.assert_allclose(boxes[0, :2], [0.5, 0.75])
    scores, boxes = composed("leftmost crooked label", labels, cells=odds.ravel())
    np.testing.assert_allclose(boxes[0, :2], [0.25, 0.25])
    gears = answers((0.9, 0.3, 0.3), (0.9, 0.5, 0.7))
    scores, boxes = composed("gear next to the crooked label", gears, labels, cells=odds.ravel())
    np.testing.assert_allclose(boxes[0, :2], [0.3, 0.3])
    assert np.isnan(composed("crooked label", labels, cells=np.full(64, np.nan))[0]).any(), "not absent"


def test_a_state_that_cells_tell_is_asked_as_its_thing() -> None:
    """In training's words alone: those kept for the benchmark, and states that no cell tells, are asked as they are."""
    plan = Plan.of([*STATES, "loose bolt", "label at an odd angle", "crooked label A17"], LABELS)
    assert plan is not None
    assert plan.rows == ["label", "gear", "loose bolt", "label at an odd angle", "crooked label A17"]
    assert plan.first == len(plan.rows), "no whole"
    assert [rows.tolist() for rows in plan.places[:5]] == [[0], [0], [0], [1, 0], [0]]
    floors = plan.floors(np.full(8, 0.8, np.float32))
    assert plan.needed(np.float32([0.9, 0, 0, 0, 0]), floors).tolist() == [True, False, False, False, False]
    assert not plan.needed(np.float32([0.7, 0, 0, 0, 0]), floors).any()
    assert parts_of("crooked label", 0.8, True) == {"crooked label": 0.8}, "each tile tells by itself"
    assert parts_of("leftmost straight label", 0.8, True) == {"straight label": 0.5}
