"""What time and operators do to alarms between frames, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pytest
from prometheus_client import REGISTRY

from consumers.grounding.actions import ActionBook
from consumers.grounding.alarm import AlarmState
from consumers.grounding.book import AlarmBook
from consumers.grounding.cameras import CameraLimits
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Frame, Picture
from consumers.grounding.judge import SILENT_S, Judge
from consumers.grounding.plan import Plan
from consumers.grounding.results import result_of
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
    states: dict[str, bytes | None] = field(default_factory=dict)
    """The changelog, as it is once it is compacted; None: a tombstone."""

    def __post_init__(self) -> None:
        self.actions, self.number = ActionBook(), 0
        self.restart()

    def restart(self) -> None:
        """Another worker goes on from the changelog, and has read all that operators ever did."""
        book = AlarmBook()
        book.adopt([AlarmState.model_validate_json(state) for state in self.states.values() if state], {0})
        self.judge = Judge(
            book, self, model="m", quality=80, actions=self.actions,
            limits=lambda _: CameraLimits(blind_s=self.blind_s, frozen_s=None), clock_ns=lambda: self.now_ns,
        )  # fmt: skip
        self.turn_to(self.query)

    def turn_to(self, query: StandingQuery | None) -> None:
        """From now on the query is this; None: there is none any more."""
        self.query = query or self.query
        self.plan = Plan(self.query.revision, {} if query is None else {query.id: query})
        self.judge.end(self.plan, lambda _: 1)

    def put(self, work: Work) -> None:
        self.states |= {key: state({}).value for key, state in work.states.items()}
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

    def wait(self, seconds: int, listened_ns: Mapping[int, int] | None = None) -> None:
        """Ticks, one a second."""
        for _ in range(seconds):
            self.now_ns += SECOND
            self.judge.tick(lambda _: 1, listened_ns=listened_ns)

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
        assert result_of(edited, gated) == result_of(edited, asked)


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


def edited(query: StandingQuery, **changes: object) -> StandingQuery:
    return query.model_copy(update={"revision": query.revision + 1, **changes})


def paused_and_resumed(desk: Desk) -> None:
    desk.turn_to(edited(desk.query, enabled=False))
    desk.turn_to(edited(desk.query, enabled=True))


def refused_and_taken(desk: Desk) -> None:
    desk.judge.end(Plan(7, {"q": desk.query}, refused={"q": "no such word"}), lambda _: 1)
    desk.turn_to(desk.query)


def paused_over_a_restart(desk: Desk) -> None:
    desk.turn_to(edited(desk.query, enabled=False))
    desk.restart()
    desk.turn_to(edited(desk.query, enabled=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda desk: desk.turn_to(edited(desk.query)),
        paused_and_resumed,
        refused_and_taken,
        paused_over_a_restart,
        lambda desk: desk.restart(),
    ],
    ids=["edited", "paused", "refused", "paused over a restart", "restart"],
)
@pytest.mark.parametrize("is_open", [False, True], ids=["at rest", "alert open"])
def test_shelf_that_is_used_up_does_not_come_back(change: Callable[[Desk], None], is_open: bool) -> None:
    """A one-shot shelf ended with the condition: whatever ends the alarm, the next alert calls for its action."""
    desk = Desk(make_query(action="stop"))
    desk.wait(1)
    desk.frame(0.1)
    desk.act(ActionKind.SHELVE, query_id="q")
    for score in (0.9, 0.1, 0.9 if is_open else 0.1):
        desk.wait(1)
        desk.frame(score)
    told = [(str(one.state), one.suppressed, str(one.action)) for one in desk.alerts]
    assert told[:2] == [("raised", "shelved", "none"), ("cleared", "shelved", "none")]
    change(desk)
    desk.alerts.clear()
    for score in (0.1, 0.9):
        desk.wait(1)
        desk.frame(score)
    assert [(one.suppressed, str(one.action)) for one in desk.alerts if str(one.state) == "raised"] == [(None, "stop")]


def test_shelf_outlasts_an_edit() -> None:
    """What an operator shelved until a time stays so, though the alert that it was about is closed."""
    desk = Desk(make_query(action="stop"))
    desk.wait(1)
    desk.frame(0.9)
    desk.act(ActionKind.SHELVE, query_id="q", until=utc_from_ns(desk.now_ns) + timedelta(hours=1))
    desk.wait(1)
    desk.frame(0.9)
    desk.turn_to(edited(desk.query, enabled=False))
    assert desk.told()[-1] == "closed"
    ended = len(desk.alerts)
    desk.turn_to(desk.query)  # as after every change of any query: it has ended
    desk.restart()
    assert len(desk.alerts) == ended
    desk.turn_to(edited(desk.query, enabled=True))
    desk.wait(1)
    desk.frame(0.9)
    assert [(str(one.state), one.suppressed) for one in desk.alerts[ended:]] == [("raised", "shelved")]


@pytest.mark.parametrize("touched", [False, True], ids=["untouched", "acknowledged"])
def test_alarm_of_a_removed_query_is_forgotten(touched: bool) -> None:
    """Also by the changelog. Of a paused one that is kept which operators did something to."""
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.9)
    if touched:
        desk.act(ActionKind.ACKNOWLEDGE, query_id="q")
    desk.wait(1)
    desk.frame(0.9)
    desk.turn_to(edited(desk.query, enabled=False))
    assert (desk.states["c1/q"] is not None) is touched
    desk.turn_to(None)
    assert desk.states["c1/q"] is None
    assert desk.told()[-1] == "closed"


def test_camera_that_no_query_watches_is_not_missed() -> None:
    """Though it is remembered what operators did to its alarm: not done again when a query watches it anew."""
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.1)
    desk.act(ActionKind.SHELVE, query_id="camera-blind")
    desk.wait(8)
    desk.wait(1)
    for _ in range(4):
        desk.wait(1)
        desk.frame(0.1)
    assert [(str(one.state), one.suppressed) for one in desk.alerts][:2] == [
        ("raised", "shelved"),
        ("cleared", "shelved"),
    ]
    desk.turn_to(edited(desk.query, enabled=False))
    desk.alerts.clear()
    desk.wait(30)
    assert desk.alerts == []
    desk.turn_to(edited(desk.query, enabled=True))
    desk.wait(1)
    desk.frame(0.1)
    desk.wait(8)
    assert [(str(one.state), one.suppressed) for one in desk.alerts] == [("raised", None)]


def limits_without_and_with(desk: Desk) -> None:
    desk.blind_s = None
    desk.wait(2)
    desk.blind_s = 5.0


@pytest.mark.parametrize(
    "change",
    [paused_and_resumed, paused_over_a_restart, limits_without_and_with],
    ids=["paused", "paused over a restart", "limits"],
)
@pytest.mark.parametrize("touched", [False, True], ids=["untouched", "acknowledged"])
def test_closed_blind_alert_is_not_raised_again(touched: bool, change: Callable[[Desk], None]) -> None:
    """A camera that is silent still when it is watched anew gets another alert, though the last frame is the same."""
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.1)
    desk.wait(8)
    if touched:
        desk.act(ActionKind.ACKNOWLEDGE, alert_id=desk.alerts[-1].id)
        desk.wait(2)
    for _ in range(2):
        change(desk)
        desk.wait(8)
    said = ["raised", *(["acknowledged"] if touched else []), "closed", "raised", "closed", "raised"]
    assert [str(one.state) for one in desk.alerts] == said
    assert len({one.id for one in desk.alerts}) == 3
    assert [one.number for one in desk.alerts if str(one.state) == "raised"] == [1, 1, 1]


@pytest.mark.parametrize("restart", [False, True], ids=["same worker", "another worker"])
def test_camera_that_dies_while_no_query_watches_is_missed_from_then_on(restart: bool) -> None:
    """That there is such a camera is known until it is taken out of the plant."""
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.1)
    desk.turn_to(edited(desk.query, enabled=False))
    written = dict(desk.states)
    desk.wait(60)
    desk.turn_to(desk.query)  # as after every change of any query: it has ended
    assert (desk.alerts, desk.states) == ([], written)
    if restart:
        desk.restart()
    desk.turn_to(edited(desk.query, enabled=True))
    desk.wait(8)
    assert [(one.query.id, str(one.state)) for one in desk.alerts] == [("camera-blind", "raised")]
    desk.turn_to(None)
    desk.wait(8)
    desk.act(ActionKind.FORGET, query_id="camera-blind", camera="c1")
    desk.wait(1)
    assert [str(one.state) for one in desk.alerts] == ["raised", "closed"]
    assert not any(desk.states.values())


@pytest.mark.parametrize("touched", [False, True], ids=["untouched", "acknowledged"])
def test_blind_alert_ends_where_the_limits_ask_for_none(touched: bool) -> None:
    """With `blind_s: null` nothing would ever clear it."""
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.1)
    desk.wait(8)
    if touched:
        desk.act(ActionKind.ACKNOWLEDGE, query_id="camera-blind")
    desk.wait(1)
    assert REGISTRY.get_sample_value("simvg_worker_camera_blind", {"camera": "c1"}) == 1
    desk.blind_s = None
    desk.alerts.clear()
    desk.wait(2)
    assert [(str(one.state), one.reason) for one in desk.alerts] == [
        ("closed", "closed because the camera's limits ask for no camera-blind alarm (blind_s: null)")
    ]
    assert not REGISTRY.get_sample_value("simvg_worker_camera_blind", {"camera": "c1"})


def test_camera_is_blamed_for_the_time_in_which_it_was_listened_to() -> None:
    """Not for that in which its partition was not read, as by the clock of the partitions; for the rest it is."""
    listened = {0: 0, 1: 0}
    desk = Desk(make_query())
    desk.wait(1, listened)
    desk.frame(0.1)

    def listens(seconds: int) -> None:
        for _ in range(seconds):
            listened[0] += SECOND
            desk.wait(1, listened)

    listens(3)
    listened[1] += 60 * SECOND  # another partition is read
    desk.wait(60, listened)
    assert desk.alerts == []
    listens(3)
    assert [(str(one.state), one.reason) for one in desk.alerts] == [("raised", "no frame for 5 s (limit 5 s)")]


def test_alarm_of_an_edited_query_is_left_to_its_end() -> None:
    """Time does not judge an old revision's alarm by the new one."""
    desk = Desk(make_query())
    desk.wait(1)
    desk.frame(0.9)
    desk.act(ActionKind.ACKNOWLEDGE, alert_id=desk.alerts[0].id)
    desk.turn_to(make_query(revision=2))
    desk.wait(20)
    assert desk.told() == ["raised", "closed"]


@pytest.mark.parametrize(("before", "told"), [("live", ["raised", "closed"]), ("shadow", [])])
def test_alert_is_closed_in_the_mode_in_which_it_was_raised(before: str, told: list[str]) -> None:
    """Also when a frame meets the edit first: nobody waits for the end of an alert, or hears of the end alone."""
    desk = Desk(make_query(mode=before))
    desk.wait(1)
    desk.frame(0.9)
    desk.query = edited(desk.query, mode="shadow" if before == "live" else "live")
    desk.plan = Plan(desk.query.revision, {"q": desk.query})
    desk.wait(1)
    desk.frame(0.1)
    assert desk.told() == told


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
