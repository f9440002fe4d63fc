"""The built-in alarm of a camera that sees nothing: unknown for too long, or silent. Pure, clock passed in.

Every frame is a sighting of its query `camera-blind`: "seen" when the frame cannot be judged, "not seen" when it can.
So it is raised, cleared, acknowledged and shelved like any other. Frames that do not come at all are told by a timer of
the worker that holds the camera's partition; its alert begins with the last frame that came.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from consumers.grounding.alarm import AlarmState, Sighting, Step, act, step, take_in, taken_in_before, with_alerts
from consumers.grounding.cameras import CameraLimits
from consumers.grounding.episode import Episode, Glance, Moment, Phase, Signal, advance
from infra.contracts import (
    CAMERA_BLIND,
    CAMERA_SILENT,
    Action,
    Alert,
    AlertState,
    Delay,
    FrameReference,
    OperatorAction,
    Severity,
    StandingQuery,
    State,
    Transition,
    utc_from_ns,
)

MADE = datetime(2026, 1, 1, tzinfo=UTC)

SEES_AGAIN_S = 2.0
"""A camera must see for so long before its alert clears: flicker between black and picture is one alert."""


@lru_cache(maxsize=256)
def blind_query(limits: CameraLimits) -> StandingQuery | None:
    """The standing query of the alarm; None where the camera's limits switch it off."""
    if limits.blind_s is None:
        return None
    # A frozen picture is told after `frozen_s` only: until then nobody knows that the camera sees again.
    again_s = max(SEES_AGAIN_S, (limits.frozen_s or 0.0) + 1.0)
    return StandingQuery(
        id=CAMERA_BLIND,
        text="camera blind",
        on_delay=Delay(value=limits.blind_s, unit="seconds"),
        off_delay=Delay(value=again_s, unit="seconds"),
        severity=Severity.CRITICAL,
        action=Action.NOTIFY,
        episodes="query",
        author="system",
        created=MADE,
        changed=MADE,
    )


def judged(
    query: StandingQuery,
    state: AlarmState | None,
    *,
    camera: str,
    frame: FrameReference,
    epoch: str,
    captured_ns: int,
    problem: str | None,
    actions: Sequence[OperatorAction] = (),
) -> Step:
    """Takes one frame in; ``problem`` says why it cannot be judged.

    A camera that was restarted and numbers its frames anew is the same camera: that does not end its alert.
    """
    blind = problem is not None
    seen = Sighting(frame, epoch, captured_ns, State.PRESENT if blind else State.ABSENT, 1.0 if blind else 0.0)
    if state is None:
        taken = step(query, None, seen, camera=camera, actions=actions)
        taken = Step(taken.state, taken.alerts, True)  # written at once: the camera is known from now on
    elif taken_in_before(state, seen):
        return Step(state)
    else:
        same = state.model_copy(update={"epoch": epoch, "revision": query.revision, "mode": query.mode})
        taken = take_in(query, same, seen, actions)
        taken = Step(taken.state, taken.alerts, taken.changed or state.epoch != epoch)
    return _in_words(taken, f"camera sees nothing: {problem}" if blind else "camera sees again")


def silent(
    query: StandingQuery,
    state: AlarmState,
    *,
    silent_ns: int,
    now_ns: int,
    actions: Sequence[OperatorAction] = (),
) -> Step:
    """A moment without a frame: applies what operators have done, and raises once the silence is over the limit."""
    at = utc_from_ns(now_ns)
    acted = act(query, state, actions, at=at)
    state = acted.state
    if silent_ns < query.on_delay.value * 1e9 or state.phase is Phase.ACTIVE:
        return acted
    pending = next((e for e in state.episodes if e.phase is Phase.PENDING), None)
    # Without a frame in between, the last alert may have had the same onset: its number makes it another alert.
    episode = pending or Episode(number=state.next_number, ordinal=state.next_number, onset=state.frame)
    now = Moment(
        query.model_copy(update={"on_delay": Delay(value=0)}),
        state.camera, state.epoch, state.frame, now_ns, state.shelf,
    )  # fmt: skip
    raised = advance(now, episode, Glance(Signal.ON, 1.0))
    assert raised.episode is not None and raised.episode.alert is not None  # without a delay it is raised at once
    reason = f"{CAMERA_SILENT} {silent_ns / 1e9:.0f} s (limit {query.on_delay.value:g} s)"
    # Noted too: of a compacted topic a reader may see no other transition than the last.
    begun = Transition(state=AlertState.RAISED, at=at, note=reason)
    alert = raised.episode.alert.model_copy(update={"raised_at": at, "timeline": (begun,), "reason": reason})
    others = tuple(e for e in state.episodes if e is not pending)
    state = state.model_copy(
        update={
            "episodes": (*others, raised.episode.model_copy(update={"alert": alert})),
            "next_number": max(state.next_number, episode.number + 1),
        }
    )
    return Step(state, (*acted.alerts, alert), True)


def _in_words(taken: Step, reason: str) -> Step:
    """Raised and cleared say what is the matter instead of a score."""
    changed: list[Alert] = []
    for alert in taken.alerts:
        told = alert.reason.startswith("score ") and alert.timeline[-1].note is None
        changed.append(alert.model_copy(update={"reason": reason}) if told else alert)
    return Step(with_alerts(taken.state, changed), tuple(changed), taken.changed)


class SilenceWatch:
    """How long each camera has said nothing, by the ticks of clocks that are passed in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent_ns: dict[str, int] = {}
        self._clocks_ns: dict[str, int] = {}

    def heard(self, camera: str) -> None:
        """A frame of this camera came, whatever becomes of it: silence counts from the next tick on."""
        with self._lock:
            self._silent_ns[camera] = 0
            self._clocks_ns.pop(camera, None)

    def tick(self, clocks_ns: Mapping[str, int], waiting: Collection[str] = ()) -> None:
        """Time passes for the cameras that are watched, each by a clock of its own, but not for those whose frames are
        ``waiting`` here; others are forgotten. A camera's first tick, ever and after a frame, counts as no silence: a
        worker that was busy itself takes in the frames of a long time at once."""
        with self._lock:
            self._silent_ns = {
                camera: self._silent_ns.get(camera, 0) + (0 if camera in waiting else self._passed(camera, clock_ns))
                for camera, clock_ns in clocks_ns.items()
            }
            self._clocks_ns = dict(clocks_ns)

    def _passed(self, camera: str, clock_ns: int) -> int:
        return max(0, clock_ns - self._clocks_ns.get(camera, clock_ns))

    def silent_ns(self, camera: str) -> int:
        """Nanoseconds without a frame; a camera that is new here begins with none."""
        with self._lock:
            return self._silent_ns.get(camera, 0)
