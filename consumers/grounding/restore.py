"""Reading the alarm states back from their changelog, for partitions that a worker takes over."""

from __future__ import annotations

import logging
import threading
import time

from pydantic import ValidationError

from consumers.grounding.alarm import AlarmState
from consumers.reading import read_to_end
from infra.errors import BrokerUnavailable
from infra.metrics import counter
from infra.settings import KafkaSettings
from infra.topics import topic_name

logger = logging.getLogger(__name__)

RESTORE_SECONDS = 120.0

_UNREADABLE = counter("simvg_worker_alarm_states_unreadable_total", "stored alarm states that could not be read")


def read_alarm_states(
    kafka: KafkaSettings, *, client_id: str, settled: bool = True, stop: threading.Event | None = None
) -> list[AlarmState]:
    """The last committed state of every alarm in the changelog. What cannot be read is counted, logged and skipped.

    ``settled``: waits until the transaction of a worker that was killed in mid-commit is undone, or done; or until
    ``stop``.

    Raises BrokerUnavailable, TopicMissing.
    """
    states: dict[bytes | str | None, AlarmState] = {}
    topic = topic_name(kafka.prefix, "alarm-state")
    for message in read_to_end(kafka, topic, client_id=client_id, settled=settled, stop=stop):
        key, value = message.key(), message.value()
        if value is None:
            states.pop(key, None)
            continue
        try:
            states[key] = AlarmState.model_validate_json(value)
        except ValidationError as error:
            _UNREADABLE.inc()
            place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
            logger.error("stored alarm state is skipped: %s", error, extra=place)
    return list(states.values())


def read_patiently(kafka: KafkaSettings, *, client_id: str, stop: threading.Event) -> list[AlarmState]:
    """As :func:`read_alarm_states`, again and again while the broker is away, for two minutes or until ``stop``."""
    deadline = time.monotonic() + RESTORE_SECONDS
    while True:
        try:
            return read_alarm_states(kafka, client_id=client_id, stop=stop)
        except BrokerUnavailable as error:
            if time.monotonic() > deadline or stop.is_set():
                raise
            logger.warning("alarm states cannot be read yet: %s", error)
