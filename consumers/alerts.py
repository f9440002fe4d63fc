"""Reading the alerts topic: for the terminal, and for anyone else who wants alerts as typed values."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import Message
from pydantic import ValidationError

from consumers.moments import shown
from consumers.reading import read_to_end
from infra.cloudevents import headers_of
from infra.contact import Contact
from infra.contracts import EVENT_TYPES, Alert, MessageReference
from infra.errors import BadAlertMessage, ContractError, UnknownAlert
from infra.kafka import follow
from infra.metrics import counter
from infra.settings import KafkaSettings
from infra.topics import topic_name

logger = logging.getLogger(__name__)

_UNREADABLE = counter("simvg_alerts_unreadable_total", "messages on the alerts topic that could not be read")


AWAY_SECONDS = 3.0
"""A broker that is not heard for so long is away; a change of the partitions' leaders takes a second or two."""


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
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Alert | UnreadableAlert]:
    """Alert transitions as they come, committed ones only; in order per alert.

    What cannot be read is counted and comes as :class:`UnreadableAlert`. Ends when ``stop`` is set, or, with
    ``to_end`` (always from the beginning), after the last message that was there at the start. ``say``: told in words
    when alerts do not arrive any more because no broker answers, and when one does again.

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
    contact = Contact()
    with follow(kafka, [topic], client_id=client_id, from_beginning=from_beginning, contact=contact) as consumer:
        parts, outage = len(consumer.assignment()), Outage(kafka.bootstrap, say)
        while not stop.is_set():
            following = consumer.poll(0.1)
            outage.look(parts - len(contact.heard(topic)), of=parts)
            if following is not None:
                yield _read(following)


def whole_id(begin: str, kept: Collection[str]) -> str:
    """The one of the ids that begins so, or is this. Raises UnknownAlert if none does, or several do."""
    if not begin.strip():  # as of a shell's variable that is not set: it would be the only alert that is kept
        raise UnknownAlert(f"{begin!r} is no id of an alert; `simvg alerts` lists those that are kept")
    if begin in kept:
        return begin
    found = sorted(one for one in kept if one.startswith(begin))
    if not found:
        raise UnknownAlert(f"no alert {begin!r} is kept; `simvg alerts` lists those that are")
    if len(found) > 1:
        raise UnknownAlert(f"{len(found)} alerts begin with {begin!r}: {', '.join(found[:5])}; write more")
    return found[0]


class Outage:
    """Says that brokers do not answer, once they have not for a while, and that they do again. Pure but for ``say``."""

    def __init__(self, bootstrap: str, say: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        self._bootstrap = bootstrap
        self._say = say
        self._clock = clock
        self._well = clock()
        self._told = False

    def look(self, silent: int, *, of: int) -> None:
        """``silent``: partitions, of so many, of which no broker is heard now."""
        now = self._clock()
        if not silent:
            if self._told:
                self._say(f"Kafka at {self._bootstrap} answers again, at {_shown(now)}; what came meanwhile follows")
            self._well, self._told = now, False
        elif not self._told and now - self._well >= AWAY_SECONDS:
            what = "alerts" if silent == of else f"alerts on {silent} of {of} partitions"
            self._say(f"no broker answers at {self._bootstrap} since {_shown(self._well)}: {what} wait until one does")
            self._told = True


def _shown(seconds: float) -> str:
    return shown(datetime.fromtimestamp(seconds, UTC))


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
