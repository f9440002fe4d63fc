"""The cameras that alarms know, and taking one out of the plant."""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consumers.actions import publish_action
from consumers.grounding.alarm import AlarmState
from consumers.grounding.restore import read_alarm_states
from infra.contracts import CAMERA_BLIND, ActionKind, OperatorAction
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


def forget_camera(kafka: KafkaSettings, camera: str, *, by: str, comment: str | None = None) -> KnownCamera:
    """Takes a camera out of the plant: its alarms end, and nobody waits for its frames any more.

    Raises BadOperatorAction naming the nearest known camera when none of this id is known; as :func:`known_cameras`.
    """
    known = {one.id: one for one in known_cameras(kafka)}
    if camera not in known:
        hint = did_you_mean(camera, known)
        raise BadOperatorAction(f"no camera {camera!r} is known{hint}; `simvg cameras list` shows those that are")
    # A camera's clock may be ahead of this one: what it has sent by now is before its end all the same.
    at = max(datetime.now(UTC), known[camera].last + timedelta(microseconds=1))
    publish_action(
        kafka,
        OperatorAction(
            id=str(uuid.uuid4()),
            kind=ActionKind.FORGET,
            at=at,
            by=by,
            query_id=CAMERA_BLIND,
            camera=camera,
            comment=comment,
        ),
    )
    return known[camera]
