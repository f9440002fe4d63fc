"""Alarms at rest, of which only the place in the stream is noted: all is as if each had been stepped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.grounding.actions import ActionBook
from consumers.grounding.alarm import AlarmState, Place, Sighting, Step, idles, step
from consumers.grounding.book import AlarmBook
from consumers.grounding.cameras import CameraLimits
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Frame, Picture
from consumers.grounding.judge import Judge
from consumers.grounding.plan import Plan
from consumers.grounding.vision import sample
from consumers.grounding.work import Work
from infra.contracts import (
    Alert,
    Delay,
    Detections,
    FrameHeader,
    FrameReference,
    OperatorAction,
    StandingQuery,
    State,
    utc_from_ns,
)

START_NS, PERIOD_NS = 1_790_000_000_000_000_000, 200_000_000
BLACK = np.zeros((4, 4, 3), np.uint8)
BOX = (0.1, 0.1, 0.3, 0.3)
MARKS = {"+": 0.9, "~": 0.6, "-": 0.02, "?": None}
GATED = {"g": Finding(State.ABSENT, 0.03, asked=False), "G": Finding(State.ABSENT, 0.04, asked=False)}
"""One object for all that a gate keeps out, as of an engine; another model has another score."""
LIMITS = CameraLimits(blind_s=None, frozen_s=None)


def query(number: int, **changes: object) -> StandingQuery:
    made = utc_from_ns(START_NS)
    facts: dict[str, object] = {"on_delay": Delay(value=1), "off_delay": Delay(value=2), "raise_threshold": 0.8}
    facts |= {"clear_threshold": 0.5} | changes
    return StandingQuery(id=f"q{number}", text=f"bolt {number}", created=made, changed=made, **facts)


@dataclass
class Line:
    """A judge with a book, and beside it the states of alarms that are stepped one by one."""

    queries: Sequence[StandingQuery]
    alerts: list[Alert] = field(default_factory=list)
    stepped: dict[str, AlarmState] = field(default_factory=dict)
    expected: list[Alert] = field(default_factory=list)
    told: list[Detections] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.book, self.actions, self.plans = AlarmBook(), ActionBook(), dict[int, Plan]()
        self.now_ns = START_NS
        self.judge = Judge(
            self.book, self, model="m", quality=80, actions=self.actions, limits=lambda _: LIMITS,
            clock_ns=lambda: self.now_ns,
        )  # fmt: skip

    def put(self, work: Work) -> None:
        for one in work.messages({}):
            if one.topic == "alerts":
                self.alerts.append(Alert.model_validate_json(one.value or b""))
            elif one.topic == "detections":
                self.told.append(Detections.model_validate_json(one.value or b""))

    def frame(self, offset: int, epoch: str, marks: Sequence[str], revision: int = 1) -> None:
        """A frame of camera c1 on which each query is seen as its mark says; "g" and "G" are a gate's answers."""
        self.now_ns = ns = START_NS + offset * PERIOD_NS
        place = FrameReference(topic="frames", partition=0, offset=offset, sequence=offset, captured_at=utc_from_ns(ns))
        header = FrameHeader(
            id=f"c1/{epoch}/{offset}", camera="c1", sequence=offset, epoch=epoch, captured_ns=ns, published_ns=ns,
            width=4, height=4,
        )  # fmt: skip
        if revision not in self.plans:
            asked = [one.model_copy(update={"revision": revision}) for one in self.queries]
            self.plans[revision] = Plan(revision, {one.id: one for one in asked})
        plan = self.plans[revision]
        found = {one: finding(mark) for one, mark in zip(plan.queries, marks, strict=True)}
        picture = Picture(Frame(header, place, b"", ns), BLACK, sample(BLACK), 0.0)
        assert self.judge.frame(picture, plan.looks("c1"), found, revision=revision, stage_ms={}) is None
        for one in plan.looks("c1"):
            own = found[one.query.id]
            seen = Sighting(place, epoch, ns, own.state, own.score, own.boxes, own.box_scores)
            taken = step(one.query, self.stepped.get(one.query.id), seen, camera="c1")
            self.stepped[one.query.id] = taken.state
            self.expected += taken.alerts
        results = [(one.query_id, one.revision, one.state, one.score) for one in self.told[-1].results]
        assert results == [(one, revision, found[one].state, found[one].score) for one in plan.queries]


def finding(mark: str) -> Finding:
    if mark in GATED:
        return GATED[mark]
    score = MARKS[mark]
    if score is None:
        return Finding(State.UNKNOWN, None, reason="too dark")
    state = State.PRESENT if score >= 0.8 else State.ABSENT
    return Finding(state, score, (BOX,) if score >= 0.5 else (), (score,) if score >= 0.5 else ())


FRAMES = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 1, 2, 0, -3]),  # how far on: a frame may be lost, or delivered again
        st.sampled_from(["e1", "e1", "e1", "e2"]),
        st.sampled_from([1, 1, 1, 2]),
        st.tuples(*[st.sampled_from("ggggG--+~?")] * 4),
    ),
    min_size=1,
    max_size=24,
)


@settings(max_examples=80, deadline=None)
@given(frames=FRAMES)
def test_noted_places_make_no_difference(frames: list[tuple[int, str, int, tuple[str, ...]]]) -> None:
    """Of states and alerts, whatever is seen, lost and delivered again, and when cameras and queries begin anew."""
    line = Line([query(0), query(1, episodes="query"), query(2, expect="present"), query(3, latch=True)])
    offset = 0
    for move, epoch, revision, marks in frames:
        offset = max(0, offset + move)
        line.frame(offset, epoch, marks, revision)
        assert {one.id: line.book.state("c1", one.id) for one in line.queries} == line.stepped
    assert [(one.id, one.state) for one in line.alerts] == [(one.id, one.state) for one in line.expected]


def test_what_a_gate_keeps_out_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While query, alarm and answer are the same; an edited query, another camera epoch and what is seen begin anew."""
    looked: list[str] = []

    def look(query: StandingQuery, state: AlarmState, seen: Sighting) -> bool:
        looked.append(query.id)
        return idles(query, state, seen)

    monkeypatch.setattr("consumers.grounding.resting.idles", look)
    line = Line([query(0), query(1)])

    def frame(offset: int, epoch: str, marks: str, revision: int = 1) -> list[str]:
        looked.clear()
        line.frame(offset, epoch, marks, revision)
        return list(looked)

    line.frame(0, "e1", "gg")  # the alarms begin
    assert frame(1, "e1", "gg") == ["q0", "q1"]
    assert [frame(offset, "e1", "gg") for offset in range(2, 6)] == [[]] * 4
    assert frame(6, "e1", "Gg") == ["q0"]
    assert frame(7, "e1", "+g") == ["q0"]
    assert frame(7, "e1", "gg") == ["q0", "q1"], "read again: it is not new"
    for offset, epoch, revision in ((10, "e2", 1), (20, "e2", 2)):
        line.frame(offset, epoch, "gg", revision)
        assert frame(offset + 1, epoch, "gg", revision) == ["q0", "q1"]
        assert frame(offset + 2, epoch, "gg", revision) == []


def test_what_was_done_to_other_alarms_keeps_none_from_resting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators' actions are kept for a year: one of them costs the alarm that it is about, and no other."""
    stepped: list[str] = []

    def take(query: StandingQuery, state: AlarmState | None, seen: Sighting, **facts: Any) -> Step:
        stepped.append(query.id)
        return step(query, state, seen, **facts)

    monkeypatch.setattr("consumers.grounding.judge.step", take)
    line = Line([query(0), query(1), query(2)])
    line.frame(0, "e1", "ggg")
    facts = {"kind": "comment", "at": utc_from_ns(START_NS), "by": "mia", "comment": "lamp replaced"}
    line.actions.add(OperatorAction.model_validate(facts | {"id": "1", "alert_id": "a-of-last-winter"}))
    line.actions.add(OperatorAction.model_validate(facts | {"id": "2", "query_id": "q1", "camera": "c1"}))
    for offset in range(1, 4):
        stepped.clear()
        line.frame(offset, "e1", "ggg")
        assert stepped == ["q1"]


def test_the_book_tells_of_every_alarm_where_it_is_now() -> None:
    """By camera, by query and by partition; what is adopted or kept takes the place of what was noted."""
    line = Line([query(0), query(1)])
    for offset in range(5):
        line.frame(offset, "e1", "g-")
    book, states = line.book, list(line.stepped.values())
    assert {state.frame.offset for state in states} == {4}
    assert book.of_cameras(["c1"]) == states
    assert book.of_query("q1") == states[1:]
    assert [state.frame.offset for state, _ in book.over(Plan(2, {}))] == [4, 4]
    assert all(place is not None for _, place in book.noted("c1", ["q0", "q1"])), "or nothing was put to the test"
    elsewhere = states[0].frame.model_copy(update={"partition": 3, "offset": 0})
    book.move_on("c1", ["q0"], Place(elsewhere, states[0].captured_ns + 1))
    book.drop({0})
    assert (len(book), book.state("c1", "q1")) == (1, None)
    assert book.adopt(states, {0}) == 2
    assert [book.state("c1", state.query_id) for state in states] == states
    book.move_on("c1", ["q0"], Place(elsewhere, states[0].captured_ns + 1))
    book.forget(states[0])
    book.keep(states[0])
    assert book.state("c1", "q0") == states[0]
