"""The alarm of one query at one camera."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.grounding import alarm
from consumers.grounding.alarm import AlarmState, Phase, Sighting, Step, close, step
from consumers.grounding.alarm_state import moved_on
from infra.contracts import Alert, AlertState, Delay, FrameReference, StandingQuery, State, alert_id, utc_from_ns

START_NS = 1_764_000_000_000_000_000
PERIOD_NS = 200_000_000
MADE = datetime(2026, 1, 1, tzinfo=UTC)
SCORES = {"+": 0.95, "~": 0.6, "-": 0.05, "?": None}


def make_query(**changes: object) -> StandingQuery:
    facts: dict[str, object] = {"raise_threshold": 0.8, "clear_threshold": 0.5, "off_delay": Delay(value=2)}
    return StandingQuery(id="q", text="missing bolt", created=MADE, changed=MADE, **(facts | changes))


def sighting(
    number: int,
    mark: str,
    *,
    epoch: str = "e1",
    offset: int | None = None,
    sequence: int | None = None,
    partition: int = 0,
) -> Sighting:
    captured = START_NS + number * PERIOD_NS
    place = FrameReference(
        topic="frames",
        partition=partition,
        offset=number if offset is None else offset,
        sequence=number if sequence is None else sequence,
        captured_at=utc_from_ns(captured),
    )
    score = SCORES[mark]
    state = State.UNKNOWN if score is None else State.PRESENT if score >= 0.8 else State.ABSENT
    boxes = ((0.1, 0.1, 0.2, 0.2),) if state is State.PRESENT else ()
    return Sighting(place, epoch, captured, state, score, boxes)


def test_a_state_moves_on_as_a_copy_does() -> None:
    """Equal, written alike, frozen, and the one before is left as it was; without a place it is the same."""
    _, state = play("-+++")
    assert state is not None
    assert state.episodes
    seen = sighting(9, "-")
    assert moved_on(state, None) is state
    moved = moved_on(state, seen.place)
    copied = state.model_copy(update={"frame": seen.frame, "captured_ns": seen.captured_ns})
    assert moved == copied
    assert moved != state
    assert moved.model_dump_json(exclude_unset=True) == copied.model_dump_json(exclude_unset=True)
    assert moved.model_copy(update={"next_number": 7}).next_number == 7
    assert state.frame == sighting(3, "+").frame
    with pytest.raises(ValidationError, match="frozen"):
        moved.epoch = "e2"  # type: ignore[misc]


def play(
    marks: str, query: StandingQuery | None = None, state: AlarmState | None = None
) -> tuple[list[Alert], AlarmState | None]:
    """Runs one frame per mark: + at or above the raise threshold, ~ between, - below the clear threshold, ? unknown."""
    alerts: list[Alert] = []
    for number, mark in enumerate(marks):
        taken = step(query or make_query(), state, sighting(number, mark), camera="c1")
        state, alerts = taken.state, alerts + list(taken.alerts)
    return alerts, state


def states(alerts: list[Alert]) -> list[str]:
    return [str(alert.state) for alert in alerts]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ("", []),
        ("---", []),
        ("++", []),
        ("++-++-", []),
        ("+++", ["raised"]),
        ("++++++++", ["raised"]),
        ("+~+~+", ["raised"]),
        ("~~~~~~", []),
        ("+??++", ["raised"]),
        ("+++-", ["raised"]),
        ("+++-+-+-+", ["raised"]),
        ("+++?????", ["raised"]),
        ("+++~~~~~~", ["raised"]),
        ("+++--", ["raised", "cleared", "closed"]),
        ("+++-?-", ["raised", "cleared", "closed"]),
        ("+++-~-", ["raised", "cleared", "closed"]),
        ("+++--+++", ["raised", "cleared", "closed", "raised"]),
    ],
)
def test_transitions(marks: str, expected: list[str]) -> None:
    """A row of scores gives exactly these transitions, with on-delay 3 and off-delay 2."""
    alerts, _ = play(marks)
    assert states(alerts) == expected


def test_alert_says_what_when_and_why() -> None:
    """A raised alert names its onset, its frame, its times, its boxes and its reason."""
    (alert,), _ = play("-+++")
    assert alert.id == alert_id("c1", "q", 1, "e1", 1)
    assert (alert.onset.sequence, alert.frame.sequence) == (1, 3)
    assert (alert.onset_at, alert.raised_at) == (alert.onset.captured_at, alert.frame.captured_at)
    assert alert.boxes == ((0.1, 0.1, 0.2, 0.2),)
    assert alert.reason == "score 0.95 at or above 0.80 in 3 of 3 frames"
    assert [entry.state for entry in alert.timeline] == [AlertState.RAISED]


def test_cleared_and_closed_keep_the_story() -> None:
    """Later transitions keep the id and onset, and their timeline holds all that came before."""
    (raised, cleared, closed), _ = play("+++--")
    assert {alert.id for alert in (raised, cleared, closed)} == {raised.id}
    assert cleared.cleared_at == sighting(4, "-").frame.captured_at
    assert cleared.reason == "score 0.05 below 0.50 in 2 of 2 frames"
    assert [entry.state for entry in closed.timeline] == ["raised", "cleared", "closed"]


def test_expect_present_alarms_when_not_seen() -> None:
    """A query that expects its object raises when the object is gone, and says so."""
    alerts, _ = play("+---++", make_query(expect="present"))
    assert states(alerts) == ["raised", "cleared", "closed"]
    assert alerts[0].reason == "score 0.05 below 0.50 in 3 of 3 frames, and it is expected to be seen"
    assert alerts[1].reason == "score 0.95 at or above 0.80 in 2 of 2 frames"


def test_delays_in_seconds_count_capture_time() -> None:
    """An on-delay in seconds is held by capture time, whatever the frame rate; unknown frames do not count."""
    query = make_query(on_delay=Delay(value=0.5, unit="seconds"), off_delay=Delay(value=0.3, unit="seconds"))
    alerts, _ = play("++++--", query)  # 0.2 s apart: held 0.6 s at the fourth frame
    assert states(alerts) == ["raised"]
    assert alerts[0].reason == "score 0.95 at or above 0.80 for 0.6 s in 4 of 4 frames"
    assert states(play("++++---", query)[0]) == ["raised", "cleared", "closed"]
    assert states(play("+?+?+?+", query)[0]) == []


def test_zero_on_delay_raises_at_once() -> None:
    """Without an on-delay the first frame raises, and the onset is that frame."""
    (alert,), _ = play("+", make_query(on_delay=Delay(value=0)))
    assert alert.onset == alert.frame


def test_new_numbering_closes_the_episode() -> None:
    """A camera that numbers its frames anew ends the old episode; the new one has its own id."""
    _, state = play("+++")
    taken = step(make_query(on_delay=Delay(value=1)), state, sighting(0, "+", epoch="e2", offset=3), camera="c1")
    assert states(list(taken.alerts)) == ["closed", "raised"]
    assert taken.alerts[0].reason == "closed because the camera was restarted and numbers its frames anew"
    assert taken.alerts[0].id != taken.alerts[1].id


def test_edited_query_closes_the_episode() -> None:
    """An alert raised under the old revision is closed with the revisions in its reason."""
    _, state = play("+++")
    taken = step(make_query(revision=7), state, sighting(3, "+"), camera="c1")
    assert [(str(alert.state), alert.reason) for alert in taken.alerts] == [
        ("closed", "closed because the query was edited (revision 1 to 7)")
    ]
    assert taken.state.phase is Phase.PENDING


def test_close_without_alert_is_silent() -> None:
    """Ending an alarm that raised nothing sends nothing."""
    _, state = play("++")
    assert state is not None
    assert close(state, at=MADE, reason="the query was removed").alerts == ()


def test_close_never_turns_the_timeline_back() -> None:
    """A close by a clock behind the camera's does not go before the raise."""
    _, state = play("+++")
    assert state is not None
    (closed,) = close(state, at=datetime(2020, 1, 1, tzinfo=UTC), reason="the query was removed").alerts
    assert closed.timeline[1].at == closed.timeline[0].at


def test_frame_of_the_old_numbering_read_again_changes_nothing() -> None:
    """After a restart of camera and worker, frames from before the camera's restart are recognised."""
    _, state = play("+++")
    renumbered = step(make_query(), state, sighting(0, "+", epoch="e2", offset=100), camera="c1").state
    renumbered = renumbered.model_copy(update={"captured_ns": START_NS + 100 * PERIOD_NS})
    assert step(make_query(), renumbered, sighting(2, "-"), camera="c1") == Step(renumbered)


def test_one_far_too_high_number_does_not_make_the_alarm_deaf() -> None:
    """The frames after it are taken in by their offsets; read again after a restart, none is taken in twice."""
    numbers = [0, 10**12, 2, 3, 4]
    rows = [sighting(n, "+" if n < 3 else "-", sequence=number) for n, number in enumerate(numbers)]
    state: AlarmState | None = None
    alerts: list[Alert] = []
    for seen in rows:
        taken = step(make_query(), state, seen, camera="c1")
        state, alerts = taken.state, alerts + list(taken.alerts)
    assert states(alerts) == ["raised", "cleared", "closed"]
    assert state is not None
    assert [step(make_query(), state, seen, camera="c1") for seen in rows] == [Step(state)] * len(rows)


@pytest.mark.parametrize(
    ("place", "taken_in"),
    [
        ({"number": 3, "offset": 0}, True),
        ({"number": 3, "offset": 0, "partition": 1}, True),
        ({"number": 3, "offset": 0, "partition": 1, "sequence": 0}, True),
        ({"number": 1, "offset": 99}, False),
        ({"number": 1, "offset": 99, "partition": 1}, False),
        ({"number": 3, "offset": 1, "sequence": 1}, False),
    ],
    ids=["topic anew", "partition", "partition, odd number", "sent again", "sent again elsewhere", "read, clock back"],
)
def test_what_lies_elsewhere_is_told_by_number_and_time(place: dict[str, int], taken_in: bool) -> None:
    """Offsets of a topic made anew, or of another partition, do not compare; a frame sent again is an old one."""
    _, state = play("++-")
    assert state is not None
    seen = sighting(mark="+", **place)
    assert (step(make_query(), state, seen, camera="c1").state.frame == seen.frame) is taken_in


marks = st.text("+~-?", max_size=60)
delays = st.builds(lambda n, unit: Delay(value=n, unit=unit), st.integers(0, 4), st.sampled_from(["frames", "seconds"]))
queries = st.builds(
    lambda on, off, expect: make_query(on_delay=on, off_delay=off, expect=expect),
    delays,
    delays,
    st.sampled_from(["absent", "present"]),
)


@given(marks, queries)
def test_one_alert_per_episode(marks: str, query: StandingQuery) -> None:
    """No alert is raised while another is open, and every alert goes raised, cleared, closed under one id."""
    alerts, state = play(marks, query)
    opened: str | None = None
    expected = AlertState.RAISED
    for alert in alerts:
        assert alert.state is expected
        assert opened in (None, alert.id)
        opened = None if expected is AlertState.CLOSED else alert.id
        expected = {"raised": AlertState.CLEARED, "cleared": AlertState.CLOSED, "closed": AlertState.RAISED}[
            alert.state
        ]
    raised = [alert.id for alert in alerts if alert.state is AlertState.RAISED]
    assert len(set(raised)) == len(raised)
    assert (state is not None and state.alert is not None) == (opened is not None)


@given(marks, queries)
def test_equal_frames_give_equal_alerts(marks: str, query: StandingQuery) -> None:
    """Two workers that see the same frames send the same alerts, byte for byte."""
    assert [a.model_dump_json() for a in play(marks, query)[0]] == [a.model_dump_json() for a in play(marks, query)[0]]


@given(marks, queries, st.sampled_from(["query", "object"]))
def test_an_alarm_at_rest_takes_the_short_way_to_the_same_state(
    marks: str, query: StandingQuery, episodes: Literal["query", "object"]
) -> None:
    """Where nothing goes on and nothing is seen, what is left out would have changed nothing."""
    asked = query.model_copy(update={"episodes": episodes})

    def steps() -> list[Step]:
        state, found = None, []
        for number, mark in enumerate(marks):
            found.append(step(asked, state, sighting(number, mark), camera="c1"))
            state = found[-1].state
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alarm, "_rests", lambda query, state, seen: False)
        long_way = steps()
    assert steps() == long_way


@given(marks, queries)
def test_condition_over_ends_the_alert(marks: str, query: StandingQuery) -> None:
    """However the row began, a long enough calm leaves no alert open."""
    calm = "-" if query.expect == "absent" else "+"
    alerts, state = play(marks + calm * 30, query)
    assert state is not None and state.alert is None
    assert not alerts or alerts[-1].state is AlertState.CLOSED


@given(marks, queries)
def test_query_gone_ends_the_alert(marks: str, query: StandingQuery) -> None:
    """Whatever was raised is closed when the query goes, with the reason, exactly once."""
    alerts, state = play(marks, query)
    if state is None:
        return
    ended = close(state, at=datetime(2030, 1, 1, tzinfo=UTC), reason="the query was removed")
    is_open = bool(alerts) and alerts[-1].state is AlertState.RAISED
    assert [a.reason for a in ended.alerts] == ["closed because the query was removed"] * is_open
    assert close(ended.state, at=datetime(2030, 1, 1, tzinfo=UTC), reason="again").alerts == ()


@given(marks, queries, st.data())
def test_restored_state_goes_on_the_same(marks: str, query: StandingQuery, data: st.DataObject) -> None:
    """A worker killed anywhere goes on from the last written state; reading frames again changes no alert."""
    whole, _ = play(marks, query)
    stop = data.draw(st.integers(0, len(marks)))
    reread = data.draw(st.integers(0, stop))
    state: AlarmState | None = None
    written: AlarmState | None = None
    sent: list[Alert] = []
    for number in range(stop):
        taken = step(query, state, sighting(number, marks[number]), camera="c1")
        state, sent = taken.state, sent + list(taken.alerts)
        written = taken.state if taken.changed else written
    state = None if written is None else AlarmState.model_validate_json(written.model_dump_json())
    for number in range(reread, len(marks)):
        taken = step(query, state, sighting(number, marks[number]), camera="c1")
        state, sent = taken.state, sent + list(taken.alerts)
    seen: list[str] = []
    for alert in sent:  # a repeated transition is allowed, it is the same one
        if alert.model_dump_json() not in seen:
            seen.append(alert.model_dump_json())
    assert seen == [alert.model_dump_json() for alert in whole]
