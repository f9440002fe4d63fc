"""The alarm of one standing query at one camera: from scores, frame by frame, to raised, cleared and closed alerts.

Pure: a state and a sighting give a new state and the alerts to send. Time comes from the frames' capture times, so
equal frames give equal alerts on every worker and every replay. What operators do comes in as actions; each takes
effect at the first frame captured at or after it, or, where the camera is silent, by the clock of its worker.

An alarm has one episode at a time (`episodes: query`, and always with `expect: present`), or one per object in view
(`episodes: object`); the life of an episode is in :mod:`consumers.grounding.episode`. Terms: ISA-18.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from consumers.grounding.alarm_state import AlarmState as AlarmState
from consumers.grounding.alarm_state import Step as Step
from consumers.grounding.alarm_state import at_rest, begun_anew, differs, moved_on
from consumers.grounding.alarm_state import with_alerts as with_alerts
from consumers.grounding.episode import (
    Episode,
    Glance,
    Moment,
    Progress,
    Signal,
    advance,
    announced,
    lasting,
    signal,
    transition,
)
from consumers.grounding.episode import Phase as Phase
from consumers.grounding.episode import Place as Place
from consumers.grounding.episode import Sighting as Sighting
from consumers.grounding.objects import Scene, glance_at_all
from consumers.grounding.operating import act as act
from infra.contracts import Alert, AlertState, OperatorAction, StandingQuery, State

MAX_LATCHED = 20
"""Cleared alerts of one alarm that wait for an acknowledgement; over that the oldest is closed, and says so."""


def step(
    query: StandingQuery,
    state: AlarmState | None,
    seen: Sighting,
    *,
    camera: str,
    actions: Sequence[OperatorAction] = (),
) -> Step:
    """Takes one sighting in, after the operators' actions up to its capture time.

    Frames must come in the order of their camera. A frame taken in before (delivered again after a restart) changes
    nothing. An edited query, and a camera that numbers its frames anew, close the open alerts and begin afresh: what
    was true under the old text, or before the camera was away, is not known to be the same episode. A camera that comes
    back takes no latched alert away from people.
    """
    if state is None:
        return take_in(query, _fresh(query, seen, camera), seen, actions)
    if taken_in_before(state, seen):
        return Step(state)
    at = seen.frame.captured_at
    if state.revision != query.revision:
        reason = f"the query was edited (revision {state.revision} to {query.revision})"
        ended, anew = close(state, at=at, reason=reason).alerts, begun_anew(state)
    elif state.epoch != seen.epoch:
        kept, ended = _interrupted(query, state, at, "the camera was restarted and numbers its frames anew")
        anew = begun_anew(state, kept)
    else:
        return take_in(query, state, seen, actions)
    now = {"revision": query.revision, "mode": query.mode, "epoch": seen.epoch} | seen.place._asdict()
    begun = take_in(query, anew.model_copy(update=now), seen, actions)
    return Step(begun.state, ended + begun.alerts, True, was=state.mode)


def idles(query: StandingQuery, state: AlarmState, seen: Sighting) -> bool:
    """Whether a sighting that is new changes nothing of an alarm but its place, without an action: as of most alarms on
    most frames."""
    return state.revision == query.revision and state.epoch == seen.epoch and _rests(query, state, seen)


def close(state: AlarmState, *, at: datetime, reason: str) -> Step:
    """Ends the alarm from outside: each open alert is closed for `reason` without having cleared."""
    ended = at_rest(state)
    closed = tuple(transition(alert, AlertState.CLOSED, at, f"closed because {reason}") for alert in state.alerts)
    return Step(ended, closed, differs(state, ended))


def take_in(query: StandingQuery, state: AlarmState, seen: Sighting, actions: Sequence[OperatorAction]) -> Step:
    """As :func:`step`, for a sighting that is known to be new and of the same episode."""
    if not actions and _rests(query, state, seen):
        return Step(moved_on(state, seen.place))
    at = seen.frame.captured_at
    acted = pass_time(query, state, actions, at=at)
    before = acted.state
    if _is_off_duty(query, at):
        return Step(moved_on(before, seen.place), acted.alerts, acted.changed)
    now = Moment(query, state.camera, seen.epoch, seen.frame, seen.captured_ns, before.shelf)
    scene = Scene(before.episodes, before.tracks, before.flow, before.next_number)
    by_object = query.episodes == "object" and query.expect == "absent"
    scene, glances = glance_at_all(now, scene, seen) if by_object else _glance_at_one(now, scene, seen)
    after, alerts = _settled(before, scene, [advance(now, e, glances[e.number]) for e in scene.episodes], at)
    return Step(moved_on(after, seen.place), acted.alerts + alerts, differs(state, after))


def _rests(query: StandingQuery, state: AlarmState, seen: Sighting) -> bool:
    """Whether nothing goes on and nothing is seen, so that the way through all that might be changes nothing."""
    if state.episodes or state.tracks or state.shelf is not None or state.next_number or query.schedule is not None:
        return False
    if seen.state is State.UNKNOWN or seen.score is None:
        return True
    least = query.clears_below
    if query.expect == "present":
        return seen.score >= query.raise_threshold
    return seen.score < least and (not seen.box_scores or max(seen.box_scores) < least)


def pass_time(query: StandingQuery, state: AlarmState, actions: Sequence[OperatorAction], *, at: datetime) -> Step:
    """What operators have done up to ``at``, shelves that are over and the end of the hours of duty; needs no frame."""
    acted = act(query, state, actions, at=at)
    if not _is_off_duty(query, at):
        return acted
    after, alerts = _off_duty(query, acted.state, at)
    return Step(after, acted.alerts + alerts, differs(state, after))


def _is_off_duty(query: StandingQuery, at: datetime) -> bool:
    return query.schedule is not None and not query.schedule.covers(at)


def _off_duty(query: StandingQuery, state: AlarmState, at: datetime) -> tuple[AlarmState, tuple[Alert, ...]]:
    """Outside the hours of its schedule an alarm is out of service; what is latched goes on waiting for a person."""
    kept, alerts = _interrupted(query, state, at, "the hours of the query's schedule are over")
    return state.model_copy(update={"episodes": kept, "tracks": ()}), alerts


def _interrupted(
    query: StandingQuery, state: AlarmState, at: datetime, reason: str
) -> tuple[tuple[Episode, ...], tuple[Alert, ...]]:
    """What is left of the episodes, and told of them, when nothing more is seen of them for `reason`: they end, but a
    latched one that nobody has acknowledged waits for a person all the same."""
    episodes: list[Episode] = []
    alerts: list[Alert] = []
    for episode in state.episodes:
        if episode.phase is Phase.LATCHED:
            episodes.append(episode)
        elif episode.alert is not None:
            if query.latch and episode.alert.state is not AlertState.ACKNOWLEDGED:
                cleared = transition(
                    episode.alert.model_copy(update={"cleared_at": at}),
                    AlertState.CLEARED,
                    at,
                    f"cleared because {reason}",
                )
                alerts.append(announced(cleared, query, lasting(episode.shelf, state.shelf)))
                episodes.append(episode.model_copy(update={"phase": Phase.LATCHED, "alert": alerts[-1]}))
            else:
                alerts.append(transition(episode.alert, AlertState.CLOSED, at, f"closed because {reason}"))
    return tuple(episodes), tuple(alerts)


def _glance_at_one(now: Moment, scene: Scene, seen: Sighting) -> tuple[Scene, dict[int, Glance]]:
    """One episode for all that is seen."""
    says = signal(now.query, seen.state, seen.score)
    if says is Signal.ON and not any(e.phase in (Phase.PENDING, Phase.ACTIVE) for e in scene.episodes):
        begun = Episode(number=scene.next_number, onset=now.frame)
        scene = Scene((*scene.episodes, begun), scene.tracks, scene.flow, scene.next_number + 1)
    return scene, {e.number: Glance(says, seen.score, seen.boxes) for e in scene.episodes}


def _settled(
    before: AlarmState, scene: Scene, progress: Sequence[Progress], at: datetime
) -> tuple[AlarmState, tuple[Alert, ...]]:
    """The state after all episodes have moved on: over ones go with their tracks, too many latched ones are closed."""
    episodes = [one.episode for one in progress if one.episode is not None]
    alerts = [alert for one in progress for alert in one.alerts]
    latched = [episode for episode in episodes if episode.phase is Phase.LATCHED]
    for episode in latched[: max(0, len(latched) - MAX_LATCHED)]:
        assert episode.alert is not None  # LATCHED always has its alert
        reason = f"closed without an acknowledgement: more than {MAX_LATCHED} cleared alerts wait for one"
        alerts.append(transition(episode.alert, AlertState.CLOSED, at, reason))
        episodes.remove(episode)
    followed = {episode.number for episode in episodes if episode.phase is not Phase.LATCHED}
    cleared = any(alert.state is AlertState.CLEARED for alert in alerts)
    shelf = None if before.shelf is not None and before.shelf.one_shot and cleared else before.shelf
    if not (before.episodes or before.tracks or episodes) and scene.flow == before.flow and shelf is before.shelf:
        return before.model_copy(update={"next_number": 0}) if before.next_number else before, tuple(alerts)
    state = before.model_copy(
        update={
            "episodes": tuple(episodes),
            "tracks": tuple(track for track in scene.tracks if track.episode in followed),
            "flow": scene.flow,
            "next_number": scene.next_number if episodes else 0,
            "shelf": shelf,
        }
    )
    return state, tuple(alerts)


def taken_in_before(state: AlarmState, seen: Sighting) -> bool:
    """Whether the alarm has had this frame already, or one that its camera took later.

    A frame of an offset up to the alarm's was read again, unless it is later in every other way: then the topic was
    made anew and counts from 0. Beyond that offset, or in another partition, it is old if both its camera's number and
    its capture time say so (a rejected frame that was sent again); one of the two alone may be a camera's slip.
    """
    renumbered = seen.epoch != state.epoch
    later_by_clock = seen.captured_ns > state.captured_ns
    later_by_number = renumbered or seen.frame.sequence > state.frame.sequence
    same_log = (seen.frame.topic, seen.frame.partition) == (state.frame.topic, state.frame.partition)
    if same_log and seen.frame.offset <= state.frame.offset:
        return not (later_by_clock and later_by_number)
    return not (later_by_clock or later_by_number)


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
