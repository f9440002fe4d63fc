"""What operators do to an alarm: acknowledge, shelve, unshelve, verdicts and comments (ISA-18.2, OPC UA Part 9). Pure.

Shelving takes an alarm out of annunciation: its transitions go on and are published, marked `suppressed` and with
`action: none`, so that nobody is called and nothing is stopped. A shelf ends at its time; a one-shot one also when the
condition has cleared. What is still true then comes back with its action.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from consumers.grounding.alarm_state import AlarmState, Step, differs
from consumers.grounding.episode import Episode, Phase, Shelf, announced, lasting, transition
from infra.contracts import MAX_SHELF, UNSHELVED, ActionKind, Alert, AlertState, OperatorAction, StandingQuery

MAX_APPLIED = 100
"""Actions remembered as done per alarm, so that one that comes twice counts once."""


def act(query: StandingQuery, state: AlarmState, actions: Sequence[OperatorAction], *, at: datetime) -> Step:
    """Applies what operators have done up to ``at`` and ends what was shelved until then; also without a frame.

    An action that is about another alarm, or about an alert that is not open, changes nothing here.
    """
    if not actions and state.shelf is None and not any(map(_is_shelved, state.episodes)):
        return Step(state)
    begun, alerts = state, []
    for action in sorted(actions, key=lambda one: (one.at, one.id)):
        if action.at <= at and not _done(state, action) and _concerns(state, action):
            state, more = _apply(query, state, action, at)
            alerts += more
            state = _noted(state, action)
    state, more = _unshelved_by(query, state, at)
    return Step(state, (*alerts, *more), differs(begun, state))


def _apply(
    query: StandingQuery, state: AlarmState, action: OperatorAction, at: datetime
) -> tuple[AlarmState, list[Alert]]:
    shelf = None
    if action.kind is ActionKind.SHELVE:
        until = action.until or action.at + MAX_SHELF
        if until <= at:
            return state, []  # read long after it was over
        shelf = Shelf(by=action.by, until=until, one_shot=action.until is None)
    whole = action.query_id is not None
    if whole and action.kind in (ActionKind.SHELVE, ActionKind.UNSHELVE):
        state = state.model_copy(update={"shelf": shelf})
    episodes, alerts = [], []
    for episode in state.episodes:
        alert = episode.alert
        if alert is None or not (whole or alert.id == action.alert_id):
            episodes.append(episode)
            continue
        told, after = _applied_to(query, state, episode, alert, action, shelf, whole, at)
        alerts += told
        episodes += [after] if after is not None else []
    return state.model_copy(update={"episodes": tuple(episodes)}), alerts


def _applied_to(
    query: StandingQuery,
    state: AlarmState,
    episode: Episode,
    alert: Alert,
    action: OperatorAction,
    shelf: Shelf | None,
    whole: bool,
    at: datetime,
) -> tuple[list[Alert], Episode | None]:
    """What one action makes of one open alert: the transitions, and the episode unless it is over."""
    said = f": {action.comment}" if action.comment else ""
    if action.kind is ActionKind.ACKNOWLEDGE:
        if alert.state is AlertState.ACKNOWLEDGED:
            return [], episode
        told = transition(alert, AlertState.ACKNOWLEDGED, at, f"acknowledged by {action.by}{said}", by=action.by)
        if episode.phase is Phase.LATCHED:
            return [told, transition(told, AlertState.CLOSED, at, "closed with its acknowledgement")], None
        return [told], episode.model_copy(update={"alert": told})
    if action.kind in (ActionKind.SHELVE, ActionKind.UNSHELVE):
        if shelf is None or not whole:  # an unshelved query has no alert that stays shelved
            episode = episode.model_copy(update={"shelf": shelf})
        holds = lasting(episode.shelf, state.shelf)
        if holds is None and alert.suppressed is None:
            return [], episode
        did = UNSHELVED if shelf is None else f"shelved until {_written(shelf.until)}"
        stays = ""
        if holds is not None and holds != shelf:
            other = "alert" if whole else "query"
            stays = f"; the {other} stays shelved until {_written(holds.until)} (by {holds.by})"
        told = transition(alert, alert.state, at, f"{did} by {action.by}{said}{stays}", by=action.by, note=did + stays)
        told = announced(told, query, holds)
        return [told], episode.model_copy(update={"alert": told})
    note = f"verdict {action.verdict}{said}" if action.kind is ActionKind.VERDICT else f"comment{said}"
    told = transition(alert, alert.state, at, f"{note} by {action.by}", by=action.by, note=note)
    return [told], episode.model_copy(update={"alert": told})


def _unshelved_by(query: StandingQuery, state: AlarmState, at: datetime) -> tuple[AlarmState, list[Alert]]:
    """Shelves that are over. What is still true comes back to those who act."""
    shelf = state.shelf if state.shelf is not None and state.shelf.until > at else None
    episodes, alerts = [], []
    for episode in state.episodes:
        own = episode.shelf if episode.shelf is not None and episode.shelf.until > at else None
        episode = episode.model_copy(update={"shelf": own})
        if episode.alert is not None and episode.alert.suppressed is not None and own is None and shelf is None:
            reason = f"{UNSHELVED}: the shelving is over"
            told = announced(transition(episode.alert, episode.alert.state, at, reason, note=UNSHELVED), query, None)
            alerts.append(told)
            episode = episode.model_copy(update={"alert": told})
        episodes.append(episode)
    return state.model_copy(update={"shelf": shelf, "episodes": tuple(episodes)}), alerts


def _written(until: datetime) -> str:
    return f"{until:%Y-%m-%d %H:%M:%S} UTC"


def _is_shelved(episode: Episode) -> bool:
    return episode.shelf is not None or (episode.alert is not None and episode.alert.suppressed is not None)


def _concerns(state: AlarmState, action: OperatorAction) -> bool:
    if action.kind is ActionKind.FORGET:
        return False  # ends all alarms of a camera; see the judge
    if action.query_id is not None:
        return action.query_id == state.query_id and action.camera in (None, state.camera)
    return any(alert.id == action.alert_id for alert in state.alerts)


def _done(state: AlarmState, action: OperatorAction) -> bool:
    return action.id in state.applied or (state.applied_until is not None and action.at <= state.applied_until)


def _noted(state: AlarmState, action: OperatorAction) -> AlarmState:
    applied = (*state.applied, action.id)
    if len(applied) <= MAX_APPLIED:
        return state.model_copy(update={"applied": applied})
    return state.model_copy(update={"applied": (), "applied_until": action.at})
