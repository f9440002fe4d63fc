"""The alarm of a camera that sees nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumers.grounding.alarm import AlarmState
from consumers.grounding.blind import SilenceWatch, blind_query, judged, silent
from consumers.grounding.cameras import CameraLimits, limits_of
from infra.contracts import ActionKind, Alert, FrameReference, OperatorAction, StandingQuery, utc_from_ns

START_NS = 1_764_000_000_000_000_000
SECOND = 1_000_000_000
LIMITS = CameraLimits(blind_s=3, frozen_s=None)


def query() -> StandingQuery:
    found = blind_query(LIMITS)
    assert found is not None
    return found


def see(
    state: AlarmState | None, second: int, problem: str | None, epoch: str = "e1"
) -> tuple[AlarmState, list[Alert]]:
    ns = START_NS + second * SECOND
    frame = FrameReference(topic="frames", partition=0, offset=second, sequence=second, captured_at=utc_from_ns(ns))
    taken = judged(query(), state, camera="c1", frame=frame, epoch=epoch, captured_ns=ns, problem=problem)
    return AlarmState.model_validate_json(taken.state.model_dump_json()), list(taken.alerts)


def play(marks: str, state: AlarmState | None = None, begin: int = 0) -> tuple[AlarmState, list[Alert]]:
    """One frame a second: x cannot be judged, anything else can."""
    alerts: list[Alert] = []
    for second, mark in enumerate(marks, begin):
        state, more = see(state, second, "frame is black" if mark == "x" else None)
        alerts += more
    assert state is not None
    return state, alerts


def told(alerts: list[Alert]) -> list[str]:
    return [f"{alert.state}: {alert.reason}" for alert in alerts]


def test_unknown_for_longer_than_the_limit_raises_and_clears() -> None:
    """Three seconds of black raise a critical alert that says why; it clears once the camera sees again."""
    _, alerts = play("..xxxxxx......")
    assert told(alerts) == [
        "raised: camera sees nothing: frame is black",
        "cleared: camera sees again",
        "closed: closed with its clearing",
    ]
    assert (alerts[0].query.id, alerts[0].severity, alerts[0].action) == ("camera-blind", "critical", "notify")
    assert (alerts[0].onset.sequence, alerts[0].frame.sequence) == (2, 5)


def test_short_blindness_raises_nothing() -> None:
    """A welding flash is no blindness."""
    assert play("..xx..xx..")[1] == []


def test_flicker_is_one_alert() -> None:
    """A picture now and then does not clear the alert."""
    assert told(play("xxxx.x.x.x.x")[1]) == ["raised: camera sees nothing: frame is black"]


def test_silence_raises_after_the_limit_only_once() -> None:
    """Frames that do not come are told by the clock, about the last frame that came; a frame clears it."""
    state, _ = play("...")
    now = START_NS + 60 * SECOND
    quiet = silent(query(), state, silent_ns=2 * SECOND, now_ns=now)
    assert (quiet.alerts, quiet.changed) == ((), False)
    taken = silent(query(), state, silent_ns=4 * SECOND, now_ns=now)
    assert told(list(taken.alerts)) == ["raised: no frame for 4 s (limit 3 s)"]
    assert (taken.alerts[0].onset.sequence, taken.alerts[0].raised_at) == (2, utc_from_ns(now))
    assert [entry.note for entry in taken.alerts[0].timeline] == [taken.alerts[0].reason]  # all transitions carry it
    assert silent(query(), taken.state, silent_ns=9 * SECOND, now_ns=now).alerts == ()
    restored = AlarmState.model_validate_json(taken.state.model_dump_json())
    assert [str(alert.state) for alert in play("....", restored, 100)[1]] == ["cleared", "closed"]


def test_black_then_silent_is_one_alert() -> None:
    """A camera that goes black and then silent raises once, from the first black frame."""
    state, alerts = play("..xx")
    taken = silent(query(), state, silent_ns=5 * SECOND, now_ns=START_NS + 9 * SECOND)
    assert alerts == []
    assert [alert.onset.sequence for alert in taken.alerts] == [2]


def test_restarted_camera_keeps_its_alert() -> None:
    """A camera that numbers its frames anew is the same camera: its alert clears, it is not begun again."""
    state, (raised,) = play("xxxx")
    ended: list[Alert] = []
    for second in range(10, 14):
        state, more = see(state, second, None, epoch="e2")
        ended += more
    assert [(str(alert.state), alert.id) for alert in ended] == [("cleared", raised.id), ("closed", raised.id)]


def test_blind_alert_is_acknowledged_while_nothing_comes() -> None:
    """What operators do reaches a silent camera's alert without a frame."""
    state, _ = play("...")
    now = START_NS + 60 * SECOND
    taken = silent(query(), state, silent_ns=4 * SECOND, now_ns=now)
    done = OperatorAction(
        id="1", kind=ActionKind.ACKNOWLEDGE, at=utc_from_ns(now) + timedelta(seconds=1), by="mia",
        alert_id=taken.alerts[0].id,
    )  # fmt: skip
    acted = silent(query(), taken.state, silent_ns=6 * SECOND, now_ns=now + 2 * SECOND, actions=[done])
    assert told(list(acted.alerts)) == ["acknowledged: acknowledged by mia"]


def test_far_too_high_number_leaves_the_camera_heard() -> None:
    """After one frame with a number out of place the camera's next frames still clear its alert."""
    state, alerts = play("xxxx")
    frame = state.frame.model_copy(update={"sequence": 10**12})
    _, more = play("......", state.model_copy(update={"frame": frame}), 4)
    assert [str(alert.state) for alert in alerts + more] == ["raised", "cleared", "closed"]


def test_first_sight_of_a_camera_is_written() -> None:
    """A worker that restarts after the camera died must know that there was one."""
    frame = FrameReference(
        topic="frames", partition=0, offset=0, sequence=0, captured_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    taken = judged(query(), None, camera="c1", frame=frame, epoch="e1", captured_ns=START_NS, problem=None)
    assert taken.changed


def test_watch_counts_silence_from_the_tick_after_a_frame() -> None:
    """It grows by the clock; a worker that was stuck for a minute takes in then what came in that minute."""
    watch = SilenceWatch()
    assert watch.silent_ns("c1") == 0
    for second in range(5):
        watch.tick({"c1": second * SECOND})
    assert watch.silent_ns("c1") == 4 * SECOND
    watch.heard("c1")
    watch.tick({"c1": 65 * SECOND})
    assert watch.silent_ns("c1") == 0
    watch.tick({"c1": 67 * SECOND})
    assert watch.silent_ns("c1") == 2 * SECOND


def test_watch_forgets_a_camera_of_another_worker() -> None:
    """A camera that comes back to this worker is not silent for the time that another one listened to it."""
    watch = SilenceWatch()
    for second in range(5):
        watch.tick({"c1": second * SECOND, "c2": second * SECOND}, waiting=["c2"])
    assert (watch.silent_ns("c1"), watch.silent_ns("c2")) == (4 * SECOND, 0)
    watch.tick({"c2": 5 * SECOND})
    watch.tick({"c1": 6 * SECOND, "c2": 6 * SECOND})
    assert watch.silent_ns("c1") == 0


@pytest.mark.parametrize(("camera", "expected"), [("line-1", 5.0), ("gate", 10.0), ("dark-2", None)])
def test_limits_of_a_camera_are_those_of_the_first_rule(camera: str, expected: float | None) -> None:
    """Rules name cameras by glob; without one the defaults hold, and null switches the alarm off."""
    rules = (CameraLimits(cameras="line-*", blind_s=5), CameraLimits(cameras="dark-*", blind_s=None))
    found = limits_of(rules, camera)
    assert found.blind_s == expected
    assert (blind_query(found) is None) == (expected is None)
