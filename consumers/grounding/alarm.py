"""The alarm of one standing query at one camera: from scores, frame by frame, to raised, cleared and closed alerts.

Pure: a state and a sighting give a new state and the alerts to send. Time comes from the frames' capture times, so
equal frames give equal alerts on every worker and every replay.

    NORMAL ──ON──► PENDING ──on-delay held──► ACTIVE ──off-delay held──► NORMAL
                      └───────OFF──► NORMAL            (alert cleared, then closed)
       (no alert yet)          (alert raised)

A score says ON, OFF or, between the two thresholds, BETWEEN. BETWEEN neither counts towards a delay nor ends it, so a
score that flickers around one threshold gives one alert. UNKNOWN holds everything as it is. Terms: ISA-18.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Literal

from pydantic import Field

from infra.contracts import (
    Alert,
    AlertQuery,
    AlertState,
    Box,
    Contract,
    Delay,
    FrameReference,
    Identifier,
    StandingQuery,
    State,
    Transition,
    alert_id,
)


class Phase(StrEnum):
    """Where an alarm stands."""

    NORMAL = "normal"
    PENDING = "pending"
    ACTIVE = "active"


class Signal(Enum):
    """What one score says of the alarm's condition."""

    ON = "on"
    BETWEEN = "between"
    OFF = "off"
    UNKNOWN = "unknown"


class AlarmState(Contract):
    """Everything the alarm remembers; the value of `alarm-state`, key `camera/query id`.

    `looks` and `hits` are the frames judged and the frames that counted since the onset (PENDING) or since the first
    frame that spoke for the end (ACTIVE).
    """

    camera: Identifier
    query_id: Identifier
    revision: int = Field(ge=1)
    mode: Literal["live", "shadow"] = "live"
    epoch: str
    frame: FrameReference = Field(description="the last frame this alarm has taken in")
    captured_ns: int
    judged_ns: int | None = Field(default=None, description="capture time of the last frame, unless it was unknown")
    phase: Phase = Phase.NORMAL
    looks: int = 0
    hits: int = 0
    held_ns: int = 0
    onset: FrameReference | None = None
    alert: Alert | None = Field(default=None, description="last transition of the open alert")


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the model said of one query on one frame. `boxes` are xyxy, normalised to the full frame, best first."""

    frame: FrameReference
    epoch: str
    captured_ns: int
    state: State
    score: float | None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Result of one step. `changed` says that the state must be written, for another worker to go on from it."""

    state: AlarmState
    alerts: tuple[Alert, ...] = ()
    changed: bool = False


def signal(query: StandingQuery, state: State, score: float | None) -> Signal:
    """What a score says of the alarm's condition: seen for `expect: absent`, not seen for `expect: present`."""
    if state is State.UNKNOWN or score is None:
        return Signal.UNKNOWN
    seen, gone = score >= query.raise_threshold, score < query.clears_below
    if query.expect == "present":
        seen, gone = gone, seen
    return Signal.ON if seen else Signal.OFF if gone else Signal.BETWEEN


def step(query: StandingQuery, state: AlarmState | None, seen: Sighting, *, camera: str) -> Step:
    """Takes one sighting in.

    Frames must come in the order of their camera. A frame taken in before (delivered again after a restart) changes
    nothing. An edited query, and a camera that numbers its frames anew, close the open alert and begin afresh: what
    was true under the old text, or before the camera was away, is not known to be the same episode.
    """
    if state is None:
        state = _fresh(query, seen, camera)
    elif _taken_in_before(state, seen):
        return Step(state)
    elif state.revision != query.revision:
        return _closed_then(state, query, seen, f"the query was edited (revision {state.revision} to {query.revision})")
    elif state.epoch != seen.epoch:
        return _closed_then(state, query, seen, "the camera was restarted and numbers its frames anew")
    says = signal(query, seen.state, seen.score)
    if says is Signal.UNKNOWN:
        waiting = state.phase is Phase.PENDING or state.looks > 0
        return Step(_at(state, seen, judged_ns=None), changed=waiting)
    if state.phase is Phase.ACTIVE:
        return _while_active(query, state, seen, says)
    return _before_alert(query, state, seen, says)


def close(state: AlarmState, *, at: datetime, reason: str) -> Step:
    """Ends the alarm from outside: the open alert, if there is one, is closed for `reason` without having cleared."""
    if state.alert is None:
        return Step(_reset(state), changed=state.phase is not Phase.NORMAL)
    return Step(_reset(state), (_transition(state.alert, AlertState.CLOSED, at, f"closed because {reason}"),), True)


def _before_alert(query: StandingQuery, state: AlarmState, seen: Sighting, says: Signal) -> Step:
    if says is Signal.OFF or (says is Signal.BETWEEN and state.phase is Phase.NORMAL):
        return Step(_at(_reset(state), seen), changed=state.phase is Phase.PENDING)
    if state.phase is Phase.NORMAL:
        state = state.model_copy(update={"phase": Phase.PENDING, "onset": seen.frame, "judged_ns": None})
    state = _count(state, seen, counts=says is Signal.ON)
    if says is not Signal.ON or not _held(query.on_delay, state):
        return Step(_at(state, seen), changed=True)
    alert = _raise(query, state, seen)
    return Step(_at(_reset(state), seen, phase=Phase.ACTIVE, onset=state.onset, alert=alert), (alert,), True)


def _while_active(query: StandingQuery, state: AlarmState, seen: Sighting, says: Signal) -> Step:
    if says is Signal.ON:
        return Step(_at(state, seen, looks=0, hits=0, held_ns=0), changed=state.looks > 0)
    if says is Signal.BETWEEN and state.looks == 0:
        return Step(_at(state, seen))
    if state.looks == 0:
        state = state.model_copy(update={"judged_ns": None})
    state = _count(state, seen, counts=says is Signal.OFF)
    if says is not Signal.OFF or not _held(query.off_delay, state):
        return Step(_at(state, seen), changed=True)
    assert state.alert is not None  # ACTIVE always has its alert
    at = seen.frame.captured_at
    facts = {"frame": seen.frame, "score": seen.score, "cleared_at": at}
    cleared = _transition(state.alert.model_copy(update=facts), AlertState.CLEARED, at, _reason(query, state, seen))
    closed = _transition(cleared, AlertState.CLOSED, at, "closed with its clearing")
    return Step(_at(_reset(state), seen), (cleared, closed), True)


def _count(state: AlarmState, seen: Sighting, *, counts: bool) -> AlarmState:
    # The time since the last frame counts, unless that frame was unknown; skipped frames make no gap.
    watched = max(0, seen.captured_ns - state.judged_ns) if counts and state.judged_ns is not None else 0
    return state.model_copy(
        update={"looks": state.looks + 1, "hits": state.hits + counts, "held_ns": state.held_ns + watched}
    )


def _held(delay: Delay, state: AlarmState) -> bool:
    if delay.unit == "frames":
        return state.hits >= max(1, delay.value)
    return state.held_ns >= delay.value * 1e9


def _raise(query: StandingQuery, state: AlarmState, seen: Sighting) -> Alert:
    assert state.onset is not None and seen.score is not None  # PENDING has its onset, ON has a score
    return Alert(
        id=alert_id(state.camera, query.id, query.revision, state.epoch, state.onset.sequence),
        camera=state.camera,
        query=AlertQuery(id=query.id, text=query.text, revision=query.revision),
        state=AlertState.RAISED,
        severity=query.severity,
        action=query.action,
        score=seen.score,
        boxes=seen.boxes,
        onset=state.onset,
        frame=seen.frame,
        onset_at=state.onset.captured_at,
        raised_at=seen.frame.captured_at,
        reason=_reason(query, state, seen),
        timeline=(Transition(state=AlertState.RAISED, at=seen.frame.captured_at),),
    )


def _reason(query: StandingQuery, state: AlarmState, seen: Sighting) -> str:
    """In words, for example ``score 0.97 at or above 0.80 in 3 of 3 frames``."""
    above = (query.expect == "absent") is (state.phase is not Phase.ACTIVE)
    bound = f"at or above {query.raise_threshold:.2f}" if above else f"below {query.clears_below:.2f}"
    delay = query.off_delay if state.phase is Phase.ACTIVE else query.on_delay
    frames = f"in {state.hits} of {state.looks} frame{'s' if state.looks != 1 else ''}"
    if delay.unit == "seconds":
        frames = f"for {state.held_ns / 1e9:.1f} s {frames}"
    expected = (
        ", and it is expected to be seen" if query.expect == "present" and state.phase is not Phase.ACTIVE else ""
    )
    return f"score {seen.score:.2f} {bound} {frames}{expected}"


def _transition(alert: Alert, to: Literal[AlertState.CLEARED, AlertState.CLOSED], at: datetime, reason: str) -> Alert:
    # A camera's clock may step back: a timeline never does.
    entry = Transition(state=to, at=max(at, alert.timeline[-1].at))
    return alert.model_copy(update={"state": to, "reason": reason, "timeline": (*alert.timeline, entry)})


def _closed_then(state: AlarmState, query: StandingQuery, seen: Sighting, reason: str) -> Step:
    ended = close(state, at=seen.frame.captured_at, reason=reason)
    begun = step(query, None, seen, camera=state.camera)
    return Step(begun.state, ended.alerts + begun.alerts, True)


def _taken_in_before(state: AlarmState, seen: Sighting) -> bool:
    if state.epoch == seen.epoch:
        return seen.frame.sequence <= state.frame.sequence
    # A frame from before a camera's restart, read again after ours. Offsets alone do not tell: a topic may have been
    # made anew; capture times alone do not: a clock may have been set back.
    same_log = (seen.frame.topic, seen.frame.partition) == (state.frame.topic, state.frame.partition)
    return same_log and seen.frame.offset <= state.frame.offset and seen.captured_ns <= state.captured_ns


def _fresh(query: StandingQuery, seen: Sighting, camera: str) -> AlarmState:
    return AlarmState(
        camera=camera,
        query_id=query.id,
        revision=query.revision,
        mode=query.mode,
        epoch=seen.epoch,
        frame=seen.frame,
        captured_ns=seen.captured_ns,
    )


def _reset(state: AlarmState) -> AlarmState:
    return state.model_copy(
        update={"phase": Phase.NORMAL, "looks": 0, "hits": 0, "held_ns": 0, "onset": None, "alert": None}
    )


def _at(state: AlarmState, seen: Sighting, **changes: object) -> AlarmState:
    place = {"frame": seen.frame, "captured_ns": seen.captured_ns, "judged_ns": seen.captured_ns}
    return state.model_copy(update=place | changes)
