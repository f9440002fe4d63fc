"""Reading the alarm states back from their changelog, for partitions that a worker takes over."""

from __future__ import annotations

import logging
import time

from confluent_kafka import TopicPartition
from pydantic import ValidationError

from consumers.grounding.alarm import AlarmState
from infra.errors import BrokerUnavailable
from infra.kafka import follow
from infra.metrics import counter
from infra.settings import KafkaSettings
from infra.topics import topic_name

logger = logging.getLogger(__name__)

_UNREADABLE = counter("simvg_worker_alarm_states_unreadable_total", "stored alarm states that could not be read")


def read_alarm_states(kafka: KafkaSettings, *, client_id: str, seconds: float = 30.0) -> list[AlarmState]:
    """The last state of every alarm in the changelog. What cannot be read is counted, logged and skipped.

    Raises BrokerUnavailable when the end is not reached in time, TopicMissing.
    """
    topic = topic_name(kafka.prefix, "alarm-state")
    deadline = time.monotonic() + seconds
    states: dict[bytes, AlarmState] = {}
    with follow(kafka, [topic], client_id=client_id, from_beginning=True) as consumer:
        ends = {part.partition: consumer.watermarks(part, cached=False) for part in consumer.assignment()}
        missing = {partition for partition, (first, end) in ends.items() if end > first}
        while missing:
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"alarm states could not be read to their end from {kafka.bootstrap} (topic {topic}) "
                    f"within {seconds:g} s"
                )
            for message in consumer.consume(500, 0.1):
                key, value = message.key(), message.value()
                if key is None or value is None:
                    states.pop(key or b"", None)
                    continue
                try:
                    states[key] = AlarmState.model_validate_json(value)
                except ValidationError as error:
                    _UNREADABLE.inc()
                    place = {"topic": topic, "partition": message.partition(), "offset": message.offset()}
                    logger.error("stored alarm state is skipped: %s", error, extra=place)
            positions = consumer.position([TopicPartition(topic, partition) for partition in missing])
            missing = {part.partition for part in positions if part.offset < ends[part.partition][1]}
    return list(states.values())
