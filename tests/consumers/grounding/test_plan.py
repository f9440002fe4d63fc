"""Who looks where, and which alarms a plan ends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumers.grounding.alarm import AlarmState
from consumers.grounding.plan import Plan, make_plan
from infra.contracts import FrameReference, StandingQuery
from infra.queries import QuerySet
from tests.consumers.grounding.colour import ColourEngine

MADE = datetime(2026, 1, 1, tzinfo=UTC)


def query(id: str, text: str = "red", **changes: object) -> StandingQuery:
    return StandingQuery(id=id, text=text, created=MADE, changed=MADE, **({"revision": 3} | changes))


def plan(*queries: StandingQuery) -> Plan:
    return make_plan(QuerySet(5, queries), ColourEngine())


def state(query_id: str = "q", revision: int = 3) -> AlarmState:
    frame = FrameReference(topic="frames", partition=0, offset=1, sequence=1, captured_at=MADE)
    return AlarmState(camera="line-1", query_id=query_id, revision=revision, epoch="e", frame=frame, captured_ns=1)


def test_empty_set_asks_nothing() -> None:
    """Without queries no camera is looked at, and a set of revision 0 is nobody's will."""
    assert plan().looks("line-1") == ()
    assert not make_plan(QuerySet(0, ()), ColourEngine()).known
    assert plan().known


def test_camera_patterns_decide_who_is_asked() -> None:
    """A camera is asked the enabled queries whose patterns match it, ordered by id."""
    made = plan(
        query("b", cameras=("line-*",)), query("a"), query("c", cameras=("press-1",)), query("d", enabled=False)
    )
    assert [look.query.id for look in made.looks("line-1")] == ["a", "b"]
    assert [look.query.id for look in made.looks("press-1")] == ["a", "c"]


def test_refused_queries_are_told_and_left_out() -> None:
    """A text that the model cannot take is named with its reason; the others are asked."""
    made = plan(query("a"), query("x", text="quux"))
    assert made.refused == {"x": "the model does not know 'quux'"}
    assert [look.query.id for look in made.looks("line-1")] == ["a"]


@pytest.mark.parametrize(
    ("queries", "reason"),
    [
        ((), "the query was removed"),
        ((query("q", enabled=False),), "the query was paused"),
        ((query("q", text="quux"),), "the model cannot take the query: the model does not know 'quux'"),
        ((query("q", cameras=("press-1",)),), "the query does not watch this camera any more"),
        ((query("q", revision=4),), "the query was edited (revision 3 to 4)"),
        ((query("q"),), None),
    ],
    ids=["removed", "paused", "refused", "other-camera", "edited", "unchanged"],
)
def test_why_an_alarm_is_over(queries: tuple[StandingQuery, ...], reason: str | None) -> None:
    """A plan says in words why an alarm cannot go on under it."""
    assert plan(*queries).why_over(state()) == reason
