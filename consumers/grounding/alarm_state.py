"""What an alarm remembers between two frames, and what one step of it gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from consumers.grounding.episode import Episode, Phase, Place, Shelf
from consumers.grounding.tracks import Track, Vector
from infra.contracts import CAMERA_BLIND, Alert, Contract, FrameReference, Identifier, Time


class AlarmState(Contract):
    """Everything the alarm remembers; the value of `alarm-state`, key `camera/query id`."""

    camera: Identifier
    query_id: Identifier
    revision: int = Field(ge=1)
    mode: Literal["live", "shadow"] = "live"
    epoch: str
    frame: FrameReference = Field(description="the last frame this alarm has taken in")
    captured_ns: int
    episodes: tuple[Episode, ...] = ()
    tracks: tuple[Track, ...] = ()
    flow: Vector | None = Field(default=None, description="how the belt moves objects, shares of the frame per second")
    next_number: int = 0
    shelf: Shelf | None = None
    applied: tuple[str, ...] = Field(default=(), description="ids of the last actions that took effect")
    applied_until: Time | None = Field(default=None, description="actions up to here are done, whatever their id")

    @property
    def alert(self) -> Alert | None:
        """Last transition of the newest open alert."""
        return next((e.alert for e in reversed(self.episodes) if e.alert is not None), None)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Last transitions of all open alerts."""
        return tuple(episode.alert for episode in self.episodes if episode.alert is not None)

    @property
    def phase(self) -> Phase:
        """The furthest that any of the episodes has come; latched alerts that only wait for a person do not count."""
        phases = {episode.phase for episode in self.episodes}
        return next((phase for phase in (Phase.ACTIVE, Phase.PENDING) if phase in phases), Phase.NORMAL)

    @model_validator(mode="before")
    @classmethod
    def _one_episode(cls, value: Any) -> Any:
        """States written before there were several episodes have their one in the alarm itself."""
        if not isinstance(value, dict) or "phase" not in value:
            return value
        names = ("phase", "onset", "looks", "hits", "held_ns", "judged_ns", "alert")
        old = {name: value[name] for name in names if name in value}
        new = {name: field for name, field in value.items() if name not in names}
        if old["phase"] == Phase.NORMAL:
            return new
        raised_ns = value["captured_ns"] if old["phase"] == Phase.ACTIVE else None
        return new | {"episodes": [old | {"number": 0, "raised_ns": raised_ns}], "next_number": 1}


_REMEMBERED = tuple(name for name in AlarmState.model_fields if name not in ("frame", "captured_ns"))
"""All but the place in the stream."""


class Step(NamedTuple):
    """Result of one step. `changed` says that the state must be written, for another worker to go on from it; `was`,
    after an edit, in which mode the alarm was before."""

    state: AlarmState
    alerts: tuple[Alert, ...] = ()
    changed: bool = False
    was: Literal["live", "shadow"] | None = None

    @property
    def by_mode(self) -> list[tuple[Alert, str]]:
        """The alerts, each with the mode of the revision that raised it: who was told of one is told of its end."""
        state, before = self.state, self.was or self.state.mode
        return [(one, state.mode if one.query.revision == state.revision else before) for one in self.alerts]


def moved_on(state: AlarmState, place: Place | None) -> AlarmState:
    """The same state at another place in the stream; as it is for None."""
    return state if place is None else state.model_copy(update=place._asdict())


def at_rest(state: AlarmState) -> AlarmState:
    """The same alarm with nothing going on. What operators did to it outlasts that: its shelf, and which actions took
    effect, so that none of them does a second time. Its episodes count on: the next may have the onset of the last."""
    return state.model_copy(update={"episodes": (), "tracks": (), "flow": None})


def begun_anew(state: AlarmState, kept: tuple[Episode, ...] = ()) -> AlarmState:
    """As :func:`at_rest`, its episodes counted from 0: under another revision, or another numbering of the frames.
    ``kept``: episodes that stay; those to come are counted on from theirs."""
    number = max((episode.number for episode in kept), default=-1) + 1
    return at_rest(state).model_copy(update={"episodes": kept, "next_number": number})


def outlasts(state: AlarmState) -> bool:
    """Whether the alarm is remembered while nothing asks for it: it knows something of operators, or it is a camera's
    own, which alone says that there is such a camera. One that dies meanwhile is missed when a query watches it again.
    """
    touched = state.shelf is not None or bool(state.applied) or state.applied_until is not None
    return touched or state.query_id == CAMERA_BLIND


def with_alerts(state: AlarmState, alerts: Iterable[Alert]) -> AlarmState:
    """The state with its open alerts as they were sent, evidence filled in; alerts of other ids are left alone."""
    sent = {alert.id: alert for alert in alerts}
    if not sent:
        return state
    episodes = tuple(
        e.model_copy(update={"alert": sent[e.alert.id]}) if e.alert is not None and e.alert.id in sent else e
        for e in state.episodes
    )
    return state.model_copy(update={"episodes": episodes})


def differs(before: AlarmState, after: AlarmState) -> bool:
    """Whether anything but the place in the stream is different."""
    if before is after:
        return False
    # Most of it is the very same object: that is asked first, for it is asked of every alarm on every frame.
    was, now = before.__dict__, after.__dict__
    return any(was[name] is not now[name] and was[name] != now[name] for name in _REMEMBERED)
