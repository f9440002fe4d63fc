"""Queries over tiles whose texts have parts: the leftmost of all tiles, not of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from consumers.grounding.engine import GrounderEngine
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from consumers.grounding.plan import Plan, make_plan
from consumers.grounding.scoring import Question, Scorer
from consumers.grounding.views import WHOLE, merge_parts
from infra.contracts import StandingQuery, State
from infra.queries import QuerySet
from simvg_core.counted import at_most
from simvg_core.pieces import parts_of
from simvg_core.reading import read
from tests.consumers.grounding.colour import COLOURS, ColourEngine
from tests.consumers.grounding.conftest import Line
from tests.consumers.grounding.test_mailbox import shown

MADE = datetime(2026, 1, 1, tzinfo=UTC)
TILES = (4, 1)


class Composing(ColourEngine):
    """Colours in parts, as a grounder's engine has them."""

    compose = GrounderEngine.compose

    def reading(self, text: str) -> str | None:
        return read(text).told if read(text).composed else None

    def parts(self, text: str, floor: float) -> Mapping[str, float]:
        return parts_of(text, floor, True)

    def at_most(self, text: str) -> int | None:
        return at_most(text)


def belt(**spots: tuple[int, ...]) -> Pixels:
    """A picture of 800×100 with blobs of 16 pixels at these columns, by colour."""
    picture = np.full((100, 800, 3), 128, np.uint8)
    for colour, columns in spots.items():
        for column in columns:
            picture[40:56, column : column + 16] = COLOURS[colour]
    return picture


def plan(text: str, **fields: Any) -> Plan:
    query = StandingQuery(id="q", text=text, created=MADE, changed=MADE, **{"raise_threshold": 0.5, **fields})
    return make_plan(QuerySet(1, [query]), Composing())


def found(text: str, picture: Pixels, **fields: Any) -> Finding:
    """What a query over tiles finds."""
    engine = Composing()
    made = make_plan(
        QuerySet(1, [StandingQuery(id="q", text=text, created=MADE, changed=MADE, raise_threshold=0.5, **fields)]),
        engine,
    )
    assert not made.refused
    asked = made.looks("line-1")
    (answer,) = Scorer(engine).score([Question(shown(picture), asked)]).answers
    assert isinstance(answer, dict), answer
    return answer["q"]


def columns(finding: Finding) -> list[int]:
    return sorted(round(box[0] * 800) for box in finding.boxes)


def test_the_utmost_of_all_tiles_is_one() -> None:
    """Each tile has a red thing, and one of them is the leftmost."""
    finding = found("leftmost red", belt(red=(60, 300, 500, 700)), tiles=TILES)
    assert finding.state is State.PRESENT
    assert columns(finding) == [60]
    assert columns(found("the rightmost red", belt(red=(60, 300, 500, 700)), tiles=TILES)) == [700]


def test_relations_hold_across_tiles() -> None:
    """What a thing is left of need not lie in its own tile; the nearest may lie in another."""
    picture = belt(red=(60, 700), blue=(470,))
    assert columns(found("red left of the blue", picture, tiles=TILES)) == [60]
    assert columns(found("red right of a blue", picture, tiles=TILES)) == [700]
    assert columns(found("red next to the blue", belt(red=(380, 700), blue=(470,)), tiles=TILES)) == [380]
    assert found("red left of the green", picture, tiles=TILES).state is State.ABSENT


def test_places_are_those_in_the_region() -> None:
    """Not in a tile, and not in the frame."""
    picture = belt(red=(60, 460, 700))
    assert columns(found("red on the left", picture, tiles=TILES)) == [60]
    region = (0.5, 0.0, 1.0, 1.0)
    assert columns(found("red on the left", picture, tiles=(2, 1), region=region)) == [460]
    triangle = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0))  # its bounding box is that region; 460 lies outside
    assert found("red on the left", picture, tiles=(2, 1), region=triangle).state is State.ABSENT


TRIANGLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
"""Of a belt's blobs, those from column 400 on."""


@pytest.mark.parametrize("tiles", [(1, 1), TILES], ids=["one view", "tiles"])
def test_the_utmost_in_a_polygon_is_one_of_those_in_it(tiles: tuple[int, int]) -> None:
    """What lies in its bounding box alone is neither the utmost nor one of two, and nothing is beside it."""
    picture = belt(red=(60, 300, 500, 600, 700), blue=(200,))
    where = {"region": TRIANGLE, "tiles": tiles}
    assert columns(found("red", picture, **where)) == [500, 600, 700]
    assert columns(found("leftmost red", picture, **where)) == [500]
    assert len(found("two red", picture, **where).boxes) == 2
    assert min(columns(found("two red", picture, **where))) >= 500
    assert found("red right of the blue", picture, **where).state is State.ABSENT


def test_a_number_is_that_of_all_tiles() -> None:
    """Not of each: the best of them, however many tiles show some."""
    picture = belt(red=(60, 300, 500, 700))
    assert len(found("red", picture, tiles=TILES).boxes) == 4
    for text, most in (("two red", 2), ("2 red", 2), ("both red", 2), ("three red on the left", 2), ("largest red", 1)):
        assert len(found(text, picture, tiles=TILES).boxes) == most, text
    assert dict(plan("two red", tiles=TILES).parts["q"]) == {"red": pytest.approx(0.4)}


def test_texts_without_parts_and_single_views_are_asked_as_they_are() -> None:
    """A single view's text is the engine's own affair."""
    assert plan("red", tiles=TILES).looks("line-1")[0].asked == {"red": pytest.approx(0.4)}
    assert plan("leftmost red").parts == {}
    assert plan("leftmost red").refused == {"q": "the model does not know 'leftmost red'"}  # it was asked as it is


def test_parts_are_asked_from_where_they_can_matter() -> None:
    """What a relation is to from the square on, a rival from even odds on."""
    (look,) = plan("red left of the blue", tiles=TILES, clear_threshold=0.4).looks("line-1")
    assert dict(look.asked) == {"red": pytest.approx(0.4), "blue": pytest.approx(0.16)}
    (look,) = plan("leftmost red", tiles=TILES, raise_threshold=0.9, clear_threshold=0.8).looks("line-1")
    assert dict(look.asked) == {"red": 0.5}


def test_a_part_that_the_model_does_not_know_refuses_the_query() -> None:
    """With the model's words."""
    assert plan("leftmost brown", tiles=TILES).refused == {"q": "the model does not know 'brown'"}


def test_what_no_tile_could_judge_is_unknown() -> None:
    """The leftmost may be where nothing can be seen."""
    query = StandingQuery(id="q", text="leftmost red", created=MADE, changed=MADE, tiles=(2, 1))
    halves = (0.0, 0.0, 0.575, 1.0), (0.425, 0.0, 1.0, 1.0)
    seen = Finding(State.PRESENT, 0.9, ((0.4, 0.4, 0.5, 0.5),), (0.9,))
    blind = Finding(State.UNKNOWN, None, reason="too small")
    spots = {"red": [(halves[0], seen), (halves[1], blind)]}
    finding = merge_parts(query, spots, {"red": 0.4}, Composing().compose)
    assert (finding.state, finding.reason) == (State.UNKNOWN, "too small")
    finding = merge_parts(query, {"red": [(WHOLE, seen)]}, {"red": 0.4}, Composing().compose)
    assert finding.state is State.PRESENT


def test_a_worker_reports_how_its_model_reads_a_text(line: Line, until: Callable[..., None]) -> None:
    """Of texts that it asks in parts, by query."""
    line.add("leftmost red", "utmost", tiles=(2, 1))
    line.add("green")
    line.start(Composing())
    until(lambda: [one.readings for one in line.registry.reports().values()] == [{"utmost": "the leftmost “red”"}])
