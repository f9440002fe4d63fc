"""Reading the alerts topic: for the terminal, and for anyone else who wants alerts as typed values."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Message
from pydantic import ValidationError

from consumers.reading import read_to_end
from infra.cloudevents import headers_of
from infra.contracts import EVENT_TYPES, Alert, MessageReference
from infra.errors import BadAlertMessage, ContractError
from infra.kafka import follow
from infra.metrics import counter
from infra.settings import KafkaSettings
from infra.topics import topic_name

logger = logging.getLogger(__name__)

_UNREADABLE = counter("simvg_alerts_unreadable_total", "messages on the alerts topic that could not be read")


@dataclass(frozen=True, slots=True)
class UnreadableAlert:
    """A message on the alerts topic that is no alert: where it lies, and what is wrong with it."""

    place: MessageReference
    fault: str


def parse_alert(value: bytes | None, headers: object = None) -> Alert:
    """The value of one message → Alert. Raises BadAlertMessage naming the field, its value and what is right."""
    found = dict(headers) if isinstance(headers, list) else {}
    kind = found.get("ce_type")
    if kind is not None and kind != EVENT_TYPES["alerts"].encode():
        raise BadAlertMessage(f"message of type {kind!r} on the alerts topic; expected {EVENT_TYPES['alerts']!r}")
    if not value:
        raise BadAlertMessage("message has no value")
    try:
        return Alert.model_validate_json(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "value"
        raise BadAlertMessage(f"{where}: {fault['msg']} (got {str(fault.get('input'))[:80]!r})") from error


def read_alerts(
    kafka: KafkaSettings,
    *,
    from_beginning: bool,
    to_end: bool = False,
    stop: threading.Event | None = None,
    client_id: str = "simvg-alerts",
) -> Iterator[Alert | UnreadableAlert]:
    """Alert transitions as they come, committed ones only; in order per alert.

    What cannot be read is counted and comes as :class:`UnreadableAlert`. Ends when ``stop`` is set, or, with
    ``to_end`` (always from the beginning), after the last message that was there at the start.

    Raises TopicMissing, BrokerUnavailable (at the start; later the reader waits for the broker).
    """
    topic = topic_name(kafka.prefix, "alerts")
    stop = stop if stop is not None else threading.Event()
    if to_end:
        for message in read_to_end(kafka, topic, client_id=client_id):
            yield _read(message)
            if stop.is_set():
                return
        return
    with follow(kafka, [topic], client_id=client_id, from_beginning=from_beginning) as consumer:
        while not stop.is_set():
            following = consumer.poll(0.1)
            if following is not None:
                yield _read(following)


def _read(message: Message) -> Alert | UnreadableAlert:
    try:
        return parse_alert(message.value(), headers_of(message))
    except ContractError as error:
        _UNREADABLE.inc()
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None and partition is not None and offset is not None, "a consumed message has a place"
        place = MessageReference(topic=topic, partition=partition, offset=offset)
        logger.warning("message is no alert: %s", error, extra=place.model_dump())
        return UnreadableAlert(place, str(error))
