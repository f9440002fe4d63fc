"""What an alert and an alarm's state look like as messages."""

from __future__ import annotations

from collections.abc import Mapping

from consumers.grounding.alarm import AlarmState, with_alerts
from consumers.grounding.work import Outgoing
from infra.contracts import Alert, MessageReference


def with_evidence(alert: Alert, places: Mapping[str, MessageReference]) -> Alert:
    """The alert with the place of its picture, by its id, where it has none yet."""
    return alert if alert.evidence is not None else alert.model_copy(update={"evidence": places.get(alert.id)})


def alert_message(alert: Alert) -> Outgoing:
    """An alert's transition, for everybody."""
    return Outgoing.json(
        "alerts",
        key=alert.id,
        value=alert.model_dump_json(),
        id=f"{alert.id}/{alert.number}",
        source=f"/cameras/{alert.camera}",
    )


def state_key(state: AlarmState) -> str:
    """Of the changelog: the camera and the query."""
    return f"{state.camera}/{state.query_id}"


def state_message(state: AlarmState, places: Mapping[str, MessageReference]) -> Outgoing:
    """What an alarm remembers, with the places of its alerts' pictures, for whoever goes on from it."""
    key = state_key(state)
    told = with_alerts(state, [with_evidence(alert, places) for alert in state.alerts])
    return Outgoing.json(
        "alarm-state",
        key=key,
        value=told.model_dump_json(),
        id=f"{key}/{state.epoch}/{state.frame.sequence}",
        source=f"/cameras/{state.camera}",
    )


def gone_message(state: AlarmState) -> Outgoing:
    """Of an alarm that is no more."""
    key = state_key(state)
    return Outgoing.tombstone("alarm-state", key=key, id=f"{key}/gone", source=f"/cameras/{state.camera}")
