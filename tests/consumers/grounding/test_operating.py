"""What operators and the clock do to an alarm: acknowledge, latch, shelve, re-alarm, hours of duty."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.grounding.alarm import MAX_LATCHED, AlarmState, Phase, Sighting, act, step
from infra.contracts import (
    Action,
    ActionKind,
    Alert,
    AlertState,
    Box,
    Delay,
    FrameReference,
    OperatorAction,
    StandingQuery,
    State,
    utc_from_ns,
)
from infra.schedule import Schedule

START = datetime(2026, 11, 27, 5, 59, 50, tzinfo=UTC)
MADE = datetime(2026, 1, 1, tzinfo=UTC)
PLACES: dict[str, Box] = {"1": (0.05, 0.1, 0.1, 0.2), "2": (0.85, 0.7, 0.95, 0.8)}


def make_query(**changes: object) -> StandingQuery:
    facts: dict[str, object] = {
        "raise_threshold": 0.8,
        "clear_threshold": 0.5,
        "on_delay": Delay(value=2),
        "off_delay": Delay(value=2),
    }
    return StandingQuery(id="q", text="missing bolt", created=MADE, changed=MADE, **(facts | changes))


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def sighting(second: int, mark: str) -> Sighting:
    """One frame a second: 1 or 2 an object at its place, b both, ~ half seen, - nothing, ? unknown."""
    ns = int(at(second).timestamp()) * 1_000_000_000
    place = FrameReference(topic="frames", partition=0, offset=second, sequence=second, captured_at=utc_from_ns(ns))
    shown = {"b": "12", "1": "1", "2": "2"}.get(mark, "")
    score = None if mark == "?" else 0.95 if shown else 0.6 if mark == "~" else 0.05
    state = State.UNKNOWN if score is None else State.PRESENT if shown else State.ABSENT
    boxes = tuple(PLACES[name] for name in shown)
    return Sighting(place, "e1", ns, state, score, boxes, (0.95, 0.9)[: len(boxes)])


def action(kind: ActionKind, second: float, **facts: object) -> OperatorAction:
    base: dict[str, object] = {"id": f"{kind}-{second}", "kind": kind, "at": at(second), "by": "mia"}
    return OperatorAction.model_validate(base | facts)


def play(
    marks: str, query: StandingQuery, actions: Sequence[OperatorAction] = (), state: AlarmState | None = None
) -> tuple[list[Alert], AlarmState]:
    alerts: list[Alert] = []
    for second, mark in enumerate(marks):
        taken = step(query, state, sighting(second, mark), camera="c1", actions=actions)
        state, alerts = taken.state, alerts + list(taken.alerts)
    assert state is not None
    return alerts, state


def told(alerts: Sequence[Alert]) -> list[str]:
    """The transitions, with ! where the alert calls for an action."""
    return [f"{alert.state}{'!' if alert.action is not Action.NONE else ''}" for alert in alerts]


def acknowledge(second: float, alert: Alert) -> OperatorAction:
    return action(ActionKind.ACKNOWLEDGE, second, alert_id=alert.id)


def test_acknowledged_alert_clears_and_closes() -> None:
    """An acknowledgement is a transition with a name, at the first frame captured after it."""
    (first,), _ = play("11", make_query())
    alerts, _ = play("11111--", make_query(), [acknowledge(2.5, first)])
    assert told(alerts) == ["raised!", "acknowledged!", "cleared!", "closed!"]
    assert alerts[1].timeline[-1].by == "mia"
    assert alerts[1].timeline[-1].at == at(3)


def test_latched_alert_waits_for_a_person() -> None:
    """With a latch, a cleared alert is closed by its acknowledgement only."""
    query = make_query(latch=True)
    alerts, state = play("11--------", query)
    assert told(alerts) == ["raised!", "cleared!"]
    assert state.phase is Phase.NORMAL
    alerts, state = play("11--------", query, [acknowledge(7, alerts[0])])
    assert told(alerts) == ["raised!", "cleared!", "acknowledged!", "closed!"]
    assert state.alert is None


def test_acknowledged_before_it_clears_needs_no_second_time() -> None:
    """A latched alert that was acknowledged while true closes as it clears."""
    (first,), _ = play("11", make_query(latch=True))
    alerts, _ = play("1111--", make_query(latch=True), [acknowledge(2, first)])
    assert told(alerts) == ["raised!", "acknowledged!", "cleared!", "closed!"]


def test_latched_alerts_are_bounded() -> None:
    """Nobody acknowledges for a week: the oldest latched alert is closed, and says why."""
    alerts, state = play("11--" * (MAX_LATCHED + 1), make_query(latch=True))
    assert len(state.alerts) == MAX_LATCHED
    assert alerts[-1].id == alerts[0].id
    assert (
        alerts[-1].reason == f"closed without an acknowledgement: more than {MAX_LATCHED} cleared alerts wait for one"
    )


def test_true_for_long_is_raised_again() -> None:
    """After each re-alarm interval the alert is raised again under its id; acknowledging does not stop that."""
    query = make_query(realarm_interval=3)
    (first,), _ = play("11", query)
    alerts, _ = play("11111111111", query, [acknowledge(5, first)])
    assert told(alerts) == ["raised!", "raised!", "acknowledged!", "raised!", "raised!"]
    assert {alert.id for alert in alerts} == {first.id}
    assert alerts[1].reason == "raised again: still true after 3 s (re-alarm interval 3 s)"
    assert [entry.count for entry in alerts[-1].timeline] == [1, 1, 1, 2]
    assert [alert.number for alert in alerts] == [1, 2, 3, 4, 5]


def test_shelved_query_calls_for_no_action_until_its_time() -> None:
    """While a query is shelved its alerts are published without action; what is still true then comes back."""
    shelve = action(ActionKind.SHELVE, 0, query_id="q", until=at(4))
    alerts, _ = play("11111", make_query(), [shelve])
    assert told(alerts) == ["raised", "raised!"]
    assert alerts[0].suppressed == "shelved"
    assert alerts[0].shelved_until == at(4)
    assert alerts[1].suppressed is None
    assert alerts[1].reason == "unshelved: the shelving is over"


def test_shelved_alert_leaves_the_others_alone() -> None:
    """Shelving one alert does not shelve the query's next."""
    (first,), _ = play("11", make_query())
    alerts, _ = play("111--11", make_query(), [action(ActionKind.SHELVE, 2, alert_id=first.id)])
    assert told(alerts) == ["raised!", "raised", "cleared", "closed", "raised!"]
    assert alerts[1].reason.startswith("shelved until ")


def test_one_shot_shelf_of_a_query_ends_when_the_condition_has_cleared() -> None:
    """A shelf without an end is over after one episode."""
    alerts, _ = play("-11--11", make_query(), [action(ActionKind.SHELVE, 0, query_id="q")])
    assert told(alerts) == ["raised", "cleared", "closed", "raised!"]


def test_unshelving_brings_the_action_back() -> None:
    """Unshelving before the time is up is a transition with the action restored."""
    actions = [
        action(ActionKind.SHELVE, 0, query_id="q", until=at(60)),
        action(ActionKind.UNSHELVE, 3, query_id="q", camera="c1"),
    ]
    alerts, _ = play("11111", make_query(), actions)
    assert told(alerts) == ["raised", "raised!"]
    assert alerts[1].reason == "unshelved by mia"


def by_tom(kind: ActionKind, second: float, **facts: object) -> OperatorAction:
    return action(kind, second, by="tom", **facts)


def test_unshelved_query_has_no_alert_that_stays_shelved() -> None:
    """Whoever unshelves a query unshelves its alerts too, each with the action that it calls for."""
    (first,), _ = play("11", make_query())
    actions = [
        action(ActionKind.SHELVE, 2, alert_id=first.id, until=at(60)),
        by_tom(ActionKind.UNSHELVE, 3, query_id="q"),
    ]
    alerts, state = play("11111", make_query(), actions)
    assert told(alerts) == ["raised!", "raised", "raised!"]
    assert (alerts[2].reason, alerts[2].suppressed, alerts[2].shelved_until) == ("unshelved by tom", None, None)
    assert alerts[2].timeline[-1].note == "unshelved"
    assert [episode.shelf for episode in state.episodes] == [None]


def test_alert_unshelved_while_its_query_is_shelved_says_so() -> None:
    """It calls for no action until the query's shelving ends, and the record names whose that is."""
    (first,), _ = play("11", make_query())
    actions = [
        action(ActionKind.SHELVE, 2, query_id="q", until=at(60)),
        by_tom(ActionKind.UNSHELVE, 3, alert_id=first.id, comment="fixed"),
    ]
    alerts, _ = play("11111", make_query(), actions)
    assert told(alerts) == ["raised!", "raised", "raised"]
    stays = "; the query stays shelved until 2026-11-27 06:00:50 UTC (by mia)"
    assert alerts[2].reason == f"unshelved by tom: fixed{stays}"
    assert (alerts[2].timeline[-1].by, alerts[2].timeline[-1].note) == ("tom", f"unshelved{stays}")
    assert (alerts[2].suppressed, alerts[2].shelved_until) == ("shelved", at(60))


@pytest.mark.parametrize("by_alert_first", [True, False])
def test_of_two_shelves_the_longer_one_holds(by_alert_first: bool) -> None:
    """Each note says what its operator did, and where another's shelf lasts longer, that it does."""
    (first,), _ = play("11", make_query())
    of_alert, of_query = {"alert_id": first.id}, {"query_id": "q"}
    longer, shorter = (of_alert, of_query) if by_alert_first else (of_query, of_alert)
    actions = [
        action(ActionKind.SHELVE, 2, **longer, until=at(7)),
        by_tom(ActionKind.SHELVE, 3, **shorter, until=at(5)),
    ]
    alerts, _ = play("111111111", make_query(), actions)
    assert told(alerts) == ["raised!", "raised", "raised", "raised!"]
    other = "alert" if by_alert_first else "query"
    assert alerts[2].reason == (
        "shelved until 2026-11-27 05:59:55 UTC by tom; "
        f"the {other} stays shelved until 2026-11-27 05:59:57 UTC (by mia)"
    )
    assert alerts[2].shelved_until == at(7)
    assert (alerts[3].reason, alerts[3].timeline[-1].at) == ("unshelved: the shelving is over", at(7))


def test_action_on_another_camera_changes_nothing() -> None:
    """A query shelved at one camera goes on at the others."""
    shelve = action(ActionKind.SHELVE, 0, query_id="q", camera="c2", until=at(60))
    assert told(play("11", make_query(), [shelve])[0]) == ["raised!"]


def test_verdict_and_comment_stand_in_the_timeline() -> None:
    """What a person said of an open alert is part of its story."""
    (first,), _ = play("11", make_query())
    said = [
        action(ActionKind.VERDICT, 2, alert_id=first.id, verdict="false", comment="glare"),
        action(ActionKind.COMMENT, 3, alert_id=first.id, comment="lamp moved"),
    ]
    alerts, _ = play("1111", make_query(), said)
    assert [entry.note for entry in alerts[-1].timeline] == [None, "verdict false: glare", "comment: lamp moved"]


def test_alarm_is_out_of_service_outside_its_hours() -> None:
    """Nothing is raised before the shift begins, and what is open when it ends is closed with the reason."""
    query = make_query(schedule=Schedule.parse("fri 06:00-06:01 UTC"))  # frames begin ten seconds before six
    alerts, _ = play("1" * 80, query)
    assert told(alerts) == ["raised!", "closed!"]
    assert alerts[0].onset_at == at(10)
    assert (alerts[1].timeline[-1].at, alerts[1].reason) == (
        at(70),
        "closed because the hours of the query's schedule are over",
    )


def test_latched_alert_outlives_the_shift() -> None:
    """The end of the hours does not take an unacknowledged alert away from people."""
    query = make_query(latch=True, schedule=Schedule.parse("fri 06:00-06:01 UTC"))
    alerts, state = play("1" * 80, query)
    assert told(alerts) == ["raised!", "cleared!"]
    assert told(act(query, state, [acknowledge(80, alerts[0])], at=at(80)).alerts) == ["acknowledged!", "closed!"]


def test_latched_alert_outlives_a_restart_of_its_camera() -> None:
    """Neither one that has cleared nor one that was open is taken away from people by a camera that comes back, or by
    the next round of a recording; those to come are alerts of their own."""
    query = make_query(latch=True)
    first, state = play("11--11", query)
    assert told(first) == ["raised!", "cleared!", "raised!"]
    later: list[Alert] = []
    for second, mark in enumerate("11--", start=6):
        back = sighting(second, mark)._replace(epoch="e2")
        taken = step(query, state, back, camera="c1")
        state, later = taken.state, later + list(taken.alerts)
    assert told(later) == ["cleared!", "raised!", "cleared!"]
    assert later[0].id == first[2].id
    assert later[0].reason == "cleared because the camera was restarted and numbers its frames anew"
    assert [one.id for one in state.alerts] == [first[0].id, first[2].id, later[1].id]
    acknowledged = [acknowledge(20 + number, one) for number, one in enumerate(state.alerts)]
    done = act(query, state, acknowledged, at=at(30))
    assert told(done.alerts) == ["acknowledged!", "closed!"] * 3


def test_acknowledged_or_unlatched_alerts_close_with_a_restart_of_their_camera() -> None:
    """Nobody is to see to them any more."""
    query = make_query(latch=True)
    (first,), _ = play("11", query)
    _, state = play("1111", query, [acknowledge(2, first)])
    back = sighting(6, "-")._replace(epoch="e2")
    assert told(step(query, state, back, camera="c1").alerts) == ["closed!"]
    _, state = play("11", make_query())
    assert told(step(make_query(), state, back, camera="c1").alerts) == ["closed!"]


def test_alert_that_ends_with_the_shift_is_shelved_as_long_as_the_longer_shelf() -> None:
    """Its own shelf may end before its query's."""
    query = make_query(latch=True, schedule=Schedule.parse("fri 06:00-06:01 UTC"))
    (first, *_), _ = play("1" * 15, query)
    shelves = [
        action(ActionKind.SHELVE, 14, alert_id=first.id, until=at(200)),
        action(ActionKind.SHELVE, 15, query_id="q", until=at(900)),
    ]
    alerts, _ = play("1" * 80, query, shelves)
    assert (alerts[-1].state, alerts[-1].shelved_until) == (AlertState.CLEARED, at(900))


def test_state_of_the_former_layout_is_read() -> None:
    """An open alert that an older worker left is taken over, and cleared under its id."""
    (alert,), now = play("11", make_query())
    place = sighting(1, "1").frame.model_dump(mode="json")
    former = {
        "camera": "c1", "query_id": "q", "revision": 1, "mode": "live", "epoch": "e1", "frame": place,
        "captured_ns": now.captured_ns, "judged_ns": now.captured_ns, "phase": "active", "looks": 0, "hits": 0,
        "held_ns": 0, "onset": alert.onset.model_dump(mode="json"),
        "alert": {k: v for k, v in alert.model_dump(mode="json").items() if k not in ("suppressed", "shelved_until")},
    }  # fmt: skip
    state = AlarmState.model_validate(former)
    taken = step(make_query(), state, sighting(2, "-"), camera="c1")
    taken = step(make_query(), taken.state, sighting(3, "-"), camera="c1")
    assert [(str(one.state), one.id) for one in taken.alerts] == [("cleared", alert.id), ("closed", alert.id)]


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ({"kind": "acknowledge"}, "give exactly one"),
        ({"kind": "acknowledge", "alert_id": "a-1", "query_id": "q"}, "give exactly one"),
        ({"kind": "acknowledge", "alert_id": "a-1", "camera": "c1"}, "camera goes with query_id"),
        ({"kind": "shelve", "query_id": "q", "until": at(90_000)}, "24 hours"),
        ({"kind": "shelve", "query_id": "q", "until": at(-1)}, "24 hours"),
        ({"kind": "acknowledge", "alert_id": "a-1", "until": at(5)}, "until goes with shelve"),
        ({"kind": "verdict", "alert_id": "a-1"}, "goes with kind verdict"),
        ({"kind": "verdict", "query_id": "q", "verdict": "true"}, "a verdict is about an alert"),
        ({"kind": "comment", "alert_id": "a-1"}, "no words"),
    ],
)
def test_senseless_action_is_refused(facts: dict[str, object], fault: str) -> None:
    """An action that nobody could carry out is refused where it is made, with the remedy."""
    with pytest.raises(ValueError, match=fault):
        OperatorAction.model_validate({"id": "x", "at": at(0), "by": "mia"} | facts)


marks = st.text("12b~-?", max_size=40)
queries = st.builds(
    make_query,
    on_delay=st.builds(Delay, value=st.integers(0, 3)),
    off_delay=st.builds(Delay, value=st.integers(0, 3)),
    latch=st.booleans(),
    realarm_interval=st.none() | st.integers(1, 5),
    episodes=st.sampled_from(["object", "query"]),
    expect=st.sampled_from(["absent", "present"]),
    schedule=st.none() | st.just(Schedule.parse("fri 06:00-06:01 UTC")),
)
KINDS = (ActionKind.ACKNOWLEDGE, ActionKind.SHELVE, ActionKind.UNSHELVE)


def scripted(drawn: list[tuple[int, int, int]], marks: str, query: StandingQuery) -> list[OperatorAction]:
    """Actions on alerts that these marks raise, or on the query, at drawn seconds."""
    ids = [alert.id for alert in (play(marks, query)[0] if marks else [])]
    made = []
    for number, (second, kind, target) in enumerate(drawn):
        about = {"alert_id": ids[target % len(ids)]} if ids and target else {"query_id": "q"}
        until = {"until": at(second + 7)} if KINDS[kind] is ActionKind.SHELVE and target % 2 else {}
        made.append(action(KINDS[kind], second, id=f"{number}", **about, **until))
    return made


drawn_actions = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(0, 5)), max_size=6)


@settings(max_examples=60)
@given(marks, queries, drawn_actions)
def test_every_alert_has_one_life(marks: str, query: StandingQuery, drawn: list[tuple[int, int, int]]) -> None:
    """Whatever comes: an alert begins raised, is never touched after its close, and is closed by the alarm itself once
    the condition is gone for long enough and somebody has seen it."""
    if not marks:
        return
    calm = ("-" if query.expect == "absent" else "1") * 5
    seen = action(ActionKind.ACKNOWLEDGE, len(marks) + len(calm), query_id="q")
    alerts, state = play(marks + calm * 2, query, [*scripted(drawn, marks, query), seen])
    assert state.alerts == ()
    lives: dict[str, list[Alert]] = {}
    for alert in alerts:
        lives.setdefault(alert.id, []).append(alert)
    for life in lives.values():
        assert life[0].state is AlertState.RAISED
        assert [alert.state for alert in life].count(AlertState.CLOSED) == 1
        assert life[-1].state is AlertState.CLOSED
        # Raised a second time only by the interval, by shelving, or because more objects came: each says so.
        assert all(a.timeline[-1].note is not None for a in life[1:] if a.state is AlertState.RAISED)
        assert [alert.number for alert in life] == list(range(1, len(life) + 1))
        times = [entry.at for entry in life[-1].timeline]
        assert times == sorted(times)


@settings(max_examples=60)
@given(marks, queries, drawn_actions, st.data())
def test_worker_killed_anywhere_goes_on_the_same(
    marks: str, query: StandingQuery, drawn: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Written state, read back at any frame, with any frames read again, gives the same transitions."""
    if not marks:
        return
    actions = scripted(drawn, marks, query)
    whole, _ = play(marks, query, actions)
    stop = data.draw(st.integers(0, len(marks)))
    state: AlarmState | None = None
    written: AlarmState | None = None
    sent: list[Alert] = []
    for second in range(stop):
        taken = step(query, state, sighting(second, marks[second]), camera="c1", actions=actions)
        state, sent = taken.state, sent + list(taken.alerts)
        written = state if taken.changed else written
    state = None if written is None else AlarmState.model_validate_json(written.model_dump_json())
    for second in range(data.draw(st.integers(0, stop)), len(marks)):
        taken = step(query, state, sighting(second, marks[second]), camera="c1", actions=actions)
        state, sent = taken.state, sent + list(taken.alerts)
    seen: list[str] = []
    for alert in sent:  # a repeated transition is the same one, byte for byte
        if alert.model_dump_json() not in seen:
            seen.append(alert.model_dump_json())
    assert seen == [alert.model_dump_json() for alert in whole]


@settings(max_examples=60)
@given(marks, queries, drawn_actions)
def test_action_that_comes_twice_counts_once(
    marks: str, query: StandingQuery, drawn: list[tuple[int, int, int]]
) -> None:
    """The same actions read again, in another order, change nothing."""
    if not marks:
        return
    actions = scripted(drawn, marks, query)
    once, _ = play(marks, query, actions)
    again, _ = play(marks, query, [*reversed(actions), *actions])
    assert [a.model_dump_json() for a in once] == [a.model_dump_json() for a in again]
