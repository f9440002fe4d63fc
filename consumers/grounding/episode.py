"""One episode of an alarm: from the first frame that speaks for it to the close of its alert. Pure.

    PENDING ──on-delay held──► ACTIVE ──off-delay held──► over (alert cleared, then closed)
       └──OFF──► over             (alert raised)  └─ latch, not acknowledged ─► LATCHED ──acknowledged──► over

A frame says ON, OFF or, between the two thresholds, BETWEEN. BETWEEN neither counts towards a delay nor ends it, so a
score that flickers around one threshold gives one alert. UNKNOWN holds everything as it is. Terms: ISA-18.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import NamedTuple

from pydantic import Field

from infra.contracts import (
    Action,
    Alert,
    AlertQuery,
    AlertState,
    Box,
    Contract,
    Delay,
    FrameReference,
    StandingQuery,
    State,
    Time,
    Transition,
    alert_id,
)

RAISED_AGAIN = "raised again"


class Phase(StrEnum):
    """Where an alarm or one of its episodes stands."""

    NORMAL = "normal"
    PENDING = "pending"
    ACTIVE = "active"
    LATCHED = "latched"


class Signal(Enum):
    """What one frame says of the condition."""

    ON = "on"
    BETWEEN = "between"
    OFF = "off"
    UNKNOWN = "unknown"


class Shelf(Contract):
    """Taken out of annunciation by an operator, until a time; `one_shot`: or until the condition has cleared."""

    by: str
    until: Time
    one_shot: bool = False


class Episode(Contract):
    """What is remembered of one episode.

    `looks` and `hits` are the frames judged and the frames that counted since the onset (PENDING) or since the first
    frame that spoke for the end (ACTIVE); `judged_ns` is the capture time of the last of them.
    """

    number: int = Field(ge=0, description="counts the alarm's episodes; its tracks carry it")
    ordinal: int = Field(default=0, ge=0, description="tells episodes apart that begin on one frame")
    phase: Phase = Phase.PENDING
    onset: FrameReference
    looks: int = 0
    hits: int = 0
    held_ns: int = 0
    judged_ns: int | None = None
    raised_ns: int | None = Field(default=None, description="capture time of the frame that last raised it")
    leaving: bool = Field(default=False, description="an object of it has left the picture: nothing joins it any more")
    objects: int = Field(default=1, ge=1, description="objects that the alert has told of")
    alert: Alert | None = Field(default=None, description="last transition of its alert, while that is open")
    shelf: Shelf | None = None


class Place(NamedTuple):
    """A frame of a camera, as the last one that an alarm has taken in."""

    frame: FrameReference
    captured_ns: int


class Sighting(NamedTuple):
    """What the model said of one query on one frame. `boxes` are xyxy, normalised to the full frame, best first.

    `box_scores` belong to the boxes; without them, every box has the frame's score.
    """

    frame: FrameReference
    epoch: str
    captured_ns: int
    state: State
    score: float | None
    boxes: tuple[Box, ...] = ()
    box_scores: tuple[float, ...] = ()

    @property
    def place(self) -> Place:
        """Where an alarm stands that has taken it in."""
        return Place(self.frame, self.captured_ns)


@dataclass(frozen=True, slots=True)
class Glance:
    """What one frame says of one episode: its own boxes, best first, and its own score."""

    says: Signal
    score: float | None
    boxes: tuple[Box, ...] = ()
    objects: int = 1


@dataclass(frozen=True, slots=True)
class Moment:
    """What all episodes of one alarm share at one frame."""

    query: StandingQuery
    camera: str
    epoch: str
    frame: FrameReference
    captured_ns: int
    shelf: Shelf | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """An episode after one frame, None when it is over, and the transitions of its alert."""

    episode: Episode | None
    alerts: tuple[Alert, ...] = ()


def signal(query: StandingQuery, state: State, score: float | None) -> Signal:
    """What a score says of the alarm's condition: seen for `expect: absent`, not seen for `expect: present`."""
    if state is State.UNKNOWN or score is None:
        return Signal.UNKNOWN
    seen, gone = score >= query.raise_threshold, score < query.clears_below
    if query.expect == "present":
        seen, gone = gone, seen
    return Signal.ON if seen else Signal.OFF if gone else Signal.BETWEEN


def advance(now: Moment, episode: Episode, glance: Glance) -> Progress:
    """Takes one frame in."""
    if episode.phase is Phase.LATCHED:
        return Progress(episode)
    if glance.says is Signal.UNKNOWN:
        return Progress(episode.model_copy(update={"judged_ns": None}))
    if episode.phase is Phase.ACTIVE:
        return _while_active(now, episode, glance)
    return _before_alert(now, episode, glance)


def _before_alert(now: Moment, episode: Episode, glance: Glance) -> Progress:
    if glance.says is Signal.OFF:
        return Progress(None)
    episode = _count(episode, now, counts=glance.says is Signal.ON)
    if glance.says is not Signal.ON or not _held(now.query.on_delay, episode):
        return Progress(episode)
    alert = _raise(now, episode, glance)
    active = {
        "phase": Phase.ACTIVE,
        "alert": alert,
        "raised_ns": now.captured_ns,
        "objects": max(glance.objects, len(glance.boxes)),
    }
    return Progress(_calm(episode).model_copy(update=active), (alert,))


def _while_active(now: Moment, episode: Episode, glance: Glance) -> Progress:
    if glance.says is Signal.ON:
        return _still_on(now, _calm(episode), glance)
    if glance.says is Signal.BETWEEN and episode.looks == 0:
        return Progress(episode)
    episode = _count(episode, now, counts=glance.says is Signal.OFF)
    if glance.says is not Signal.OFF or not _held(now.query.off_delay, episode):
        return Progress(episode)
    assert episode.alert is not None  # ACTIVE always has its alert
    at = now.frame.captured_at
    facts: dict[str, object] = {"frame": now.frame, "cleared_at": at}
    if glance.score is not None:
        facts["score"] = glance.score
    before = episode.alert.state
    cleared = announced(
        transition(episode.alert.model_copy(update=facts), AlertState.CLEARED, at, _reason(now.query, episode, glance)),
        now.query,
        lasting(episode.shelf, now.shelf),
    )
    if now.query.latch and before is not AlertState.ACKNOWLEDGED:
        waiting = {"phase": Phase.LATCHED, "alert": cleared}
        return Progress(_calm(episode).model_copy(update=waiting), (cleared,))
    closed = transition(cleared, AlertState.CLOSED, at, "closed with its clearing")
    return Progress(None, (cleared, closed))


def _still_on(now: Moment, episode: Episode, glance: Glance) -> Progress:
    """Told again when it has lasted for the re-alarm interval, or when more objects belong to it than were told of."""
    assert episode.alert is not None and episode.raised_ns is not None  # ACTIVE always has its alert
    interval, shelf = now.query.realarm_interval, lasting(episode.shelf, now.shelf)
    lasted_s = (now.captured_ns - episode.raised_ns) / 1e9
    facts: dict[str, object] = {"frame": now.frame, "score": glance.score, "boxes": glance.boxes}
    pictured = facts | {"evidence": None}  # what is raised gets its picture from this frame
    at = now.frame.captured_at
    if interval is not None and lasted_s >= interval and shelf is None:
        alert = transition(
            episode.alert.model_copy(update=pictured),
            AlertState.RAISED,
            at,
            f"{RAISED_AGAIN}: still true after {lasted_s:.0f} s (re-alarm interval {interval:g} s)",
            note=RAISED_AGAIN,
        )
        told = {"alert": alert, "raised_ns": now.captured_ns, "objects": max(glance.objects, episode.objects)}
        return Progress(episode.model_copy(update=told), (alert,))
    if glance.objects > episode.objects:
        note = f"{glance.objects} objects instead of {episode.objects}"
        stays = episode.alert.state
        grown = episode.alert.model_copy(update=pictured if stays is AlertState.RAISED else facts)
        alert = announced(
            transition(grown, stays, at, note, note=note),
            now.query,
            shelf,
        )
        return Progress(episode.model_copy(update={"alert": alert, "objects": glance.objects}), (alert,))
    return Progress(episode)


def transition(
    alert: Alert, to: AlertState, at: datetime, reason: str, *, by: str | None = None, note: str | None = None
) -> Alert:
    """The alert's next transition. A camera's clock may step back: a timeline never does.

    The same thing again right after itself (re-alarms) counts up instead of growing the timeline without end.
    """
    last = alert.timeline[-1]
    entry = Transition(state=to, at=max(at, last.at), by=by, note=note)
    before = alert.timeline
    if note == RAISED_AGAIN and last.note == note:
        entry, before = entry.model_copy(update={"count": last.count + 1}), before[:-1]
    return alert.model_copy(update={"state": to, "reason": reason, "timeline": (*before, entry)})


def lasting(own: Shelf | None, of_query: Shelf | None) -> Shelf | None:
    """Of an alert's own shelf and its query's the one that ends later: until then the alert is shelved."""
    both = [shelf for shelf in (own, of_query) if shelf is not None]
    return max(both, key=lambda shelf: shelf.until, default=None)


def announced(alert: Alert, query: StandingQuery, shelf: Shelf | None) -> Alert:
    """The alert with the action that it calls for now: none while it is shelved, so that no reader acts on it."""
    shelved = {"suppressed": "shelved", "shelved_until": shelf.until, "action": Action.NONE} if shelf else {}
    free = {"suppressed": None, "shelved_until": None, "action": query.action}
    return alert.model_copy(update=shelved or free)


def _count(episode: Episode, now: Moment, *, counts: bool) -> Episode:
    # The time since the last frame counts, unless that frame was unknown; skipped frames make no gap.
    before = episode.judged_ns
    watched = max(0, now.captured_ns - before) if counts and before is not None else 0
    return episode.model_copy(
        update={
            "looks": episode.looks + 1,
            "hits": episode.hits + counts,
            "held_ns": episode.held_ns + watched,
            "judged_ns": now.captured_ns,
        }
    )


def _calm(episode: Episode) -> Episode:
    if not episode.looks and episode.judged_ns is None:
        return episode
    return episode.model_copy(update={"looks": 0, "hits": 0, "held_ns": 0, "judged_ns": None})


def _held(delay: Delay, episode: Episode) -> bool:
    if delay.unit == "frames":
        return episode.hits >= max(1, delay.value)
    return episode.held_ns >= delay.value * 1e9


def _raise(now: Moment, episode: Episode, glance: Glance) -> Alert:
    query = now.query
    assert glance.score is not None  # ON has a score
    alert = Alert(
        id=alert_id(now.camera, query.id, query.revision, now.epoch, episode.onset.sequence, episode.ordinal),
        camera=now.camera,
        query=AlertQuery(id=query.id, text=query.text, revision=query.revision),
        state=AlertState.RAISED,
        severity=query.severity,
        action=query.action,
        score=glance.score,
        boxes=glance.boxes,
        onset=episode.onset,
        frame=now.frame,
        onset_at=episode.onset.captured_at,
        raised_at=now.frame.captured_at,
        reason=_reason(query, episode, glance),
        timeline=(Transition(state=AlertState.RAISED, at=now.frame.captured_at),),
    )
    return announced(alert, query, lasting(episode.shelf, now.shelf))


def _reason(query: StandingQuery, episode: Episode, glance: Glance) -> str:
    """In words, for example ``score 0.97 at or above 0.80 in 3 of 3 frames``."""
    active = episode.phase is Phase.ACTIVE
    delay = query.off_delay if active else query.on_delay
    frames = f"in {episode.hits} of {episode.looks} frame{'s' if episode.looks != 1 else ''}"
    if delay.unit == "seconds":
        frames = f"for {episode.held_ns / 1e9:.1f} s {frames}"
    if glance.score is None:
        return f"not seen any more {frames}, while another is in view"
    above = (query.expect == "absent") is not active
    bound = f"at or above {query.raise_threshold:.2f}" if above else f"below {query.clears_below:.2f}"
    expected = ", and it is expected to be seen" if query.expect == "present" and not active else ""
    return f"score {glance.score:.2f} {bound} {frames}{expected}"
