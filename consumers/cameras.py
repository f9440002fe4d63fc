"""The cameras that alarms know, and taking one out of the plant."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consumers.actions import new_action, publish_action
from consumers.grounding.alarm import AlarmState
from consumers.grounding.restore import read_alarm_states
from infra.contracts import CAMERA_BLIND, ActionKind
from infra.errors import BadOperatorAction
from infra.near import did_you_mean
from infra.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class KnownCamera:
    """One camera as its alarms stand: when the last frame that changed one was captured, and what is open."""

    id: str
    last: datetime
    open_alerts: int
    blind: bool


def known_cameras(kafka: KafkaSettings) -> list[KnownCamera]:
    """All cameras with an alarm, by id. Raises TopicMissing, BrokerUnavailable, AccessDenied."""
    found: dict[str, list[AlarmState]] = defaultdict(list)
    for state in read_alarm_states(kafka, client_id="simvg-cameras"):
        found[state.camera].append(state)
    return [
        KnownCamera(
            id=camera,
            last=max(state.frame.captured_at for state in states),
            open_alerts=sum(len(state.alerts) for state in states),
            blind=any(state.alerts for state in states if state.query_id == CAMERA_BLIND),
        )
        for camera, states in sorted(found.items())
    ]


def read_alarms(kafka: KafkaSettings) -> list[AlarmState]:
    """All alarms as they stand by what is committed now. Raises TopicMissing, BrokerUnavailable, AccessDenied."""
    return read_alarm_states(kafka, client_id="simvg-operator", settled=False)


def forget_camera(kafka: KafkaSettings, camera: str, *, by: str | None, comment: str | None = None) -> KnownCamera:
    """Takes a camera out of the plant: its alarms end, and nobody waits for its frames any more.

    ``by``: None for who is logged in. Raises BadOperatorAction naming the nearest known camera when none of this id is
    known, or what cannot be kept; as :func:`known_cameras`.
    """
    known = {one.id: one for one in known_cameras(kafka)}
    if camera not in known:
        hint = did_you_mean(camera, known)
        raise BadOperatorAction(f"no camera {camera!r} is known{hint}; `simvg cameras list` shows those that are")
    # A camera's clock may be ahead of this one: what it has sent by now is before its end all the same.
    at = max(datetime.now(UTC), known[camera].last + timedelta(microseconds=1))
    publish_action(
        kafka,
        new_action(ActionKind.FORGET, by=by, comment=comment, at=at, query_id=CAMERA_BLIND, camera=camera),
    )
    return known[camera]
