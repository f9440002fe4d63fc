"""Why a query alerted, or why not: every cause is told apart from the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from consumers.why import Facts, Scored, explain
from infra.contracts import Delay, QueryResult, SkippedFrames, StandingQuery, State
from infra.schedule import Schedule
from tests.consumers.test_alerts import make_alert

AT = datetime(2026, 11, 23, 13, 37, 10, tzinfo=UTC)
QUERY = StandingQuery(id="q", text="missing bolt", raise_threshold=0.8, created=AT, changed=AT - timedelta(days=1))


def scored(number: int, score: float | None, seconds: float = 0.0, state: State | None = None) -> Scored:
    state = state or (State.UNKNOWN if score is None else State.PRESENT if score >= 0.8 else State.ABSENT)
    result = QueryResult(
        query_id="q", revision=1, state=state, score=score, reason="frame is black" if score is None else None
    )
    return Scored(number, AT + timedelta(seconds=seconds), result)


def told(query: StandingQuery | None = QUERY, **facts: object) -> str:
    """The answer: the last statement."""
    given: dict[str, object] = {"camera": "line-1", "at": AT, "asked": "q", "query": query} | facts
    return explain(Facts(**given)).statements[-1]  # type: ignore[arg-type]


def changed(**changes: object) -> StandingQuery:
    return StandingQuery.model_validate(QUERY.model_dump() | changes)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (None, "there is no standing query 'q' now"),
        (changed(enabled=False), "it is paused"),
        (changed(cameras=("press-*",)), "it watches press-*, not camera line-1"),
    ],
    ids=["no query", "paused", "another camera"],
)
def test_the_query_itself_may_be_why(query: StandingQuery | None, says: str) -> None:
    """Without looking at any frame."""
    assert says in told(query, scored=[scored(1, 0.97)])


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({}, "nothing is kept of the camera around that time"),
        ({"scored": [scored(1, 0.9, -20)]}, "the camera published no frame within 1 s"),
        ({"published": [(7, AT)]}, "frame 7, captured at 13:37:10.000, was published, and no worker has told of it"),
        (
            {"published": [(7, AT)], "skipped": [SkippedFrames(reason="behind", epoch="e", first=6, last=9)]},
            "frame 7, captured at 13:37:10.000, was not scored: the worker was behind",
        ),
        (
            {"published": [(7, AT)], "rejected": [(AT, "corrupt_image (cut off)")]},
            "frame 7, captured at 13:37:10.000, was rejected: corrupt_image (cut off)",
        ),
        ({"rejected": [(AT, "missing_headers (none)")]}, "a message of the camera was rejected at 13:37:10"),
        ({"scored": [Scored(7, AT, None)]}, "the worker did not have it active"),
    ],
    ids=["nothing", "camera away", "not seen yet", "skipped", "rejected", "no frame at all", "not active"],
)
def test_the_frame_may_be_why(facts: dict[str, object], says: str) -> None:
    """It was never published, skipped, rejected, or not asked about."""
    assert says in told(**facts)


def test_a_nearer_frame_that_was_skipped_is_the_one_in_question() -> None:
    """A scored frame half a second away does not hide that the very frame was skipped."""
    facts = {"published": [(6, AT - timedelta(seconds=0.5)), (7, AT)], "scored": [scored(6, 0.1, -0.5)]}
    skipped = [SkippedFrames(reason="rate", epoch="e", first=7, last=7)]
    assert "frame 7" in told(**facts, skipped=skipped) and "by its rate" in told(**facts, skipped=skipped)


def test_a_look_that_was_left_out_for_overload_says_so() -> None:
    """A frame on which nothing was asked, and one on which the query alone was left out; a critical query never is."""
    skipped = [SkippedFrames(reason="overload", epoch="e", first=7, last=7)]
    assert "the worker was overloaded" in told(published=[(7, AT)], skipped=skipped)
    between = [scored(6, 0.1, -0.2), Scored(7, AT, None), scored(8, 0.1, 0.2)]
    assert "before and after it: the worker was overloaded" in told(scored=between)
    assert "did not have it active" in told(scored=between[:2])
    assert "did not have it active" in told(changed(severity="critical"), scored=between)


def test_a_query_that_was_not_due_says_so() -> None:
    """A rate, or a revision newer than the frame, is named."""
    assert "at most 2 times a second" in told(changed(rate=2.0), scored=[Scored(7, AT, None)])
    assert "newer than the frame" in told(changed(changed=AT + timedelta(seconds=5)), scored=[Scored(7, AT, None)])


@pytest.mark.parametrize(
    ("query", "frames", "says"),
    [
        (QUERY, [scored(1, 0.3)], "no alert: the condition was not there"),
        (QUERY, [scored(1, 0.75)], "a score from 0.70 to 0.80 neither begins nor ends"),
        (QUERY, [scored(1, None)], "what cannot be judged neither raises nor clears"),
        (
            QUERY,
            [scored(1, 0.1, -0.6), scored(2, 0.9, -0.3), scored(3, 0.95)],
            "the condition held in 2 scored frames over 0.3 s around it, and 3 frames are needed",
        ),
        (changed(on_delay=Delay(value=2, unit="seconds")), [scored(1, 0.9)], "in 1 scored frame over 0.0 s around it"),
        (changed(mode="shadow"), [scored(1, 0.9)], "shadow mode"),
        (changed(schedule=Schedule.parse("sat 06:00-14:00")), [scored(1, 0.9)], "on duty sat 06:00-14:00"),
        (changed(expect="present"), [scored(1, 0.9)], "no alert: the condition was not there"),
        (changed(expect="present"), [scored(1, 0.1)], "the condition held in 1 scored frame"),
    ],
    ids=["absent", "between", "unknown", "delay", "delay-s", "shadow", "off duty", "expected seen", "expected gone"],
)
def test_score_and_delays_may_be_why(query: StandingQuery, frames: Sequence[Scored], says: str) -> None:
    """What the score says against the thresholds, and what the delays, hours and mode make of it."""
    assert says in told(query, scored=frames)


def test_an_open_alert_is_the_answer() -> None:
    """The alert that stood at the moment, with its reason; one that was raised later is not."""
    alert = make_alert(9)
    assert alert.raised_at == AT - timedelta(seconds=1)
    frames = [scored(1, 0.97)]
    assert f"alert {alert.id} was open: raised since 13:37:09, {alert.reason}" in told(scored=frames, alerts=[alert])
    assert "no alert" in told(scored=frames, alerts=[make_alert(11)])
