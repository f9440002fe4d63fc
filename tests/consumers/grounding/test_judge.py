"""What time and operators do to alarms between frames, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pytest
from prometheus_client import REGISTRY

from consumers.grounding.actions import ActionBook
from consumers.grounding.book import AlarmBook
from consumers.grounding.cameras import CameraLimits
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Frame, Picture
from consumers.grounding.judge import SILENT_S, Judge, _result
from consumers.grounding.plan import Plan
from consumers.grounding.vision import sample
from consumers.grounding.work import Work
from infra.contracts import (
    ActionKind,
    Alert,
    Delay,
    FrameHeader,
    FrameReference,
    OperatorAction,
    StandingQuery,
    State,
    utc_from_ns,
)
from infra.schedule import Schedule

START_NS = 1_790_000_000_000_000_000
SECOND = 1_000_000_000


BLACK = np.zeros((4, 4, 3), np.uint8)


@dataclass
class Desk:
    """A judge at a clock that is set by hand; what it gives is committed at once."""

    query: StandingQuery
    blind_s: float | None = 5.0
    now_ns: int = START_NS
    alerts: list[Alert] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.actions = ActionBook()
        limits = CameraLimits(blind_s=self.blind_s, frozen_s=None)
        self.judge = Judge(
            AlarmBook(), self, model="m", quality=80, actions=self.actions, limits=lambda _: limits,
            clock_ns=lambda: self.now_ns,
        )  # fmt: skip
        self.plan = Plan(1, {self.query.id: self.query})
        self.judge.end(self.plan, lambda _: 1)
        self.number = 0

    def put(self, work: Work) -> None:
        messages = work.messages({})
        self.alerts += [Alert.model_validate_json(one.value or b"") for one in messages if one.topic == "alerts"]
        if work.committed is not None:
            work.committed()

    def frame(self, score: float, late_s: int = 0) -> None:
        """A frame of camera c1, captured now or so long ago."""
        captured_ns = self.now_ns - late_s * SECOND
        at = utc_from_ns(captured_ns)
        header = FrameHeader(
            id=f"c1/e1/{self.number}", camera="c1", sequence=self.number, epoch="e1", captured_ns=captured_ns,
            published_ns=captured_ns, width=4, height=4,
        )  # fmt: skip
        place = FrameReference(topic="frames", partition=0, offset=self.number, sequence=self.number, captured_at=at)
        picture = Picture(Frame(header, place, b"", self.now_ns), BLACK, sample(BLACK), 0.0)
        state = State.PRESENT if score >= 0.8 else State.ABSENT
        found = Finding(state, score, ((0.1, 0.1, 0.5, 0.5),) if score >= 0.8 else ())
        self.judge.frame(picture, self.plan.looks("c1"), {self.query.id: found}, revision=1, stage_ms={})
        self.number += 1

    def wait(self, seconds: int) -> None:
        """Ticks, one a second."""
        for _ in range(seconds):
            self.now_ns += SECOND
            self.judge.tick(lambda _: 1)

    def act(self, kind: ActionKind, **facts: object) -> None:
        """An operator's action, done now."""
        base = {"id": f"{kind}-{self.now_ns}", "kind": kind, "at": utc_from_ns(self.now_ns), "by": "mia"}
        self.actions.add(OperatorAction.model_validate(base | facts))

    def told(self) -> list[str]:
        """Transitions of the query's alerts, with what was noted."""
        mine = [one for one in self.alerts if one.query.id == self.query.id]
        return [f"{one.state} {one.timeline[-1].note or ''}".strip() for one in mine]


def make_query(**changes: object) -> StandingQuery:
    made = utc_from_ns(START_NS)
    facts: dict[str, object] = {"on_delay": Delay(value=1), "off_delay": Delay(value=1), "raise_threshold": 0.8}
    return StandingQuery(id="q", text="missing bolt", created=made, changed=made, **(facts | changes))


def test_what_a_gate_kept_out_is_told_as_any_other_answer() -> None:
    """Though it is remembered: of each revision of a query, with the score that the gate gave."""
    query = make_query()
    for revision, score in ((1, 0.028513), (1, 0.03), (2, 0.03), (2, 0.028513)):
        edited = query.model_copy(update={"revision": revision})
        gated, asked = (Finding(State.ABSENT, score, asked=was) for was in (False, True))
        assert _result(edited, gated) == _result(edited, asked)


@pytest.mark.parametrize(("blind_s", "limit"), [(5.0, 5), (None, int(SILENT_S))], ids=["limit", "no limit"])
def test_actions_wait_for_a_frame_until_the_camera_is_silent(blind_s: float | None, limit: int) -> None:
    """A frame may still come that would have had them; then they take effect by the clock, once."""
    desk = Desk(make_query(), blind_s)
    desk.wait(1)
    desk.frame(0.9)
    desk.act(ActionKind.ACKNOWLEDGE, alert_id=desk.alerts[0].id)
    desk.wait(limit - 1)
    assert desk.told() == ["raised"]
    desk.wait(20)
    assert desk.told() == ["raised", "acknowledged"]
    desk.frame(0.9)
    assert desk.told() == ["raised", "acknowledged"]


def test_latched_alert_of_a_dead_camera_closes_with_its_acknowledgement() -> None:
    """No frame is needed to close what only waits for a person."""
    desk = Desk(make_query(latch=True))
    for score in (0.9, 0.1):
        desk.wait(1)
        desk.frame(score)
    desk.wait(10)
    desk.act(ActionKind.ACKNOWLEDGE, alert_id=desk.alerts[0].id)
    desk.wait(1)
    assert desk.told() == ["raised", "cleared", "acknowledged", "closed"]


def test_shelf_ends_while_nothing_comes() -> None:
    """What is still true comes back at the end of its shelving, and when it is unshelved."""
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.9)
    desk.wait(10)
    until = utc_from_ns(desk.now_ns) + timedelta(seconds=4)
    desk.act(ActionKind.SHELVE, query_id="q", camera="c1", until=until)
    desk.wait(3)
    assert desk.told()[1:] == [f"raised shelved until {until:%Y-%m-%d %H:%M:%S} UTC"]
    desk.wait(3)
    desk.act(ActionKind.SHELVE, alert_id=desk.alerts[0].id, until=until + timedelta(hours=1))
    desk.wait(1)
    desk.act(ActionKind.UNSHELVE, alert_id=desk.alerts[0].id)
    desk.wait(1)
    assert [said.split()[1] for said in desk.told()[1:]] == ["shelved", "unshelved", "shelved", "unshelved"]


def test_hours_of_duty_end_while_nothing_comes() -> None:
    """An alarm goes out of service at its hour, whether or not its camera sends."""
    began = utc_from_ns(START_NS)
    hours = Schedule.parse(f"mon-sun {began:%H:%M}-{began + timedelta(minutes=1):%H:%M}")
    desk = Desk(make_query(schedule=hours))
    desk.wait(1)
    desk.frame(0.9)
    desk.wait(62)
    assert desk.told() == ["raised", "closed"]
    assert desk.alerts[-1].reason == "closed because the hours of the query's schedule are over"


def test_alarm_of_an_edited_query_is_left_to_its_end() -> None:
    """Time does not judge an old revision's alarm by the new one."""
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.9)
    desk.act(ActionKind.ACKNOWLEDGE, alert_id=desk.alerts[0].id)
    desk.judge.end(Plan(2, {"q": make_query(revision=2)}), lambda _: 1)
    desk.wait(20)
    assert desk.told() == ["raised", "closed"]


def counted(camera: str = "c1") -> dict[str, float]:
    """How many transitions of each kind, and how many latencies, are told to Prometheus."""
    found = {"latencies": REGISTRY.get_sample_value("simvg_worker_alert_latency_seconds_count", {"camera": camera})}
    for state in ("raised", "raised_again", "updated", "acknowledged", "cleared", "closed"):
        labels = {"camera": camera, "state": state, "mode": "live"}
        found[state] = REGISTRY.get_sample_value("simvg_worker_alerts_total", labels)
    return {name: value or 0.0 for name, value in found.items()}


def test_latency_is_counted_once_per_alert() -> None:
    """Neither a comment, nor a shelf, nor an alert that is told again is a late alert, nor a raised one."""
    before = counted()
    desk = Desk(make_query(realarm_interval=30.0))
    desk.wait(1)
    desk.frame(0.9)
    desk.act(ActionKind.COMMENT, alert_id=desk.alerts[0].id, comment="seen")
    until = utc_from_ns(desk.now_ns) + timedelta(seconds=8)
    desk.act(ActionKind.SHELVE, alert_id=desk.alerts[0].id, until=until)
    for _ in range(20):
        desk.wait(2)
        desk.frame(0.9)
    desk.act(ActionKind.ACKNOWLEDGE, query_id="q", camera="c1")
    for score in (0.9, 0.1):
        desk.wait(2)
        desk.frame(score)
    assert desk.told()[:2] == ["raised", "raised comment: seen"]
    now = counted()
    assert {name: now[name] - before[name] for name in now} == {
        "latencies": 1, "raised": 1, "raised_again": 1, "updated": 3, "acknowledged": 1, "cleared": 1, "closed": 1
    }  # fmt: skip


def test_silence_is_an_alert_without_a_latency() -> None:
    """How long a camera has said nothing is not how late its alert came."""
    before = counted()
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.1)
    desk.wait(20)
    now = counted()
    assert [str(alert.state) for alert in desk.alerts] == ["raised"]
    assert (now["raised"] - before["raised"], now["latencies"] - before["latencies"]) == (1, 0)


def test_only_what_is_raised_on_a_late_frame_is_decided_late() -> None:
    """What operators say of an alert on a late frame was not decided late."""
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.9, late_s=60)
    desk.act(ActionKind.COMMENT, alert_id=desk.alerts[0].id, comment="seen")
    desk.now_ns += 100 * SECOND
    desk.frame(0.9, late_s=60)
    assert [alert.reason.partition("; ")[2] for alert in desk.alerts] == ["decided 60 s after capture", ""]
    assert desk.alerts[1].reason == "comment: seen by mia"
