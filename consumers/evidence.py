"""The picture of an alert: which transition tells of it, and the frame itself, from the evidence topic."""

from __future__ import annotations

import time

from confluent_kafka import Message, TopicPartition

from infra.cloudevents import headers_of
from infra.contracts import Alert, AlertState, MessageReference
from infra.errors import BadAlertMessage, BadFrameMessage, BrokerUnavailable
from infra.kafka import Consumer, follow
from infra.settings import KafkaSettings

WAIT_S = 10.0


def as_pictured(known: Alert | None, one: Alert) -> Alert:
    """Of two transitions of an alert, in their order, the one whose picture is shown: as it was raised first, else the
    later one, where compaction has left no other."""
    return one if known is None or known.state is not AlertState.RAISED else known


class EvidenceReader:
    """Reads pictures, one after another. Connects at the first one; for one thread. To be closed in the end."""

    def __init__(self, kafka: KafkaSettings, *, client_id: str) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._consumers: dict[str, Consumer] = {}

    def frame(self, alert_id: str, place: MessageReference, number: int | None = None) -> bytes | None:
        """The whole frame as JPEG, nothing drawn on it; None: retention has removed it. ``number``: of the transition
        that it was taken for, where that is known.

        Raises BadAlertMessage: something else lies there, as in a topic that was made anew; TopicMissing,
        BrokerUnavailable, AccessDenied.
        """
        message = self._message(place)
        if message is None:
            return None
        try:
            headers = dict(headers_of(message))
        except BadFrameMessage:
            headers = {}
        told = headers.get("ce_id", b"").decode(errors="replace")
        of_alert, _, rest = told.partition("/")
        if of_alert != alert_id or headers.get("ce_part") != b"frame" or number not in (None, _number(rest)):
            raise BadAlertMessage(
                f"evidence at {place.topic}/{place.partition}/{place.offset} is {told!r:.80}, not the picture of alert "
                f"{alert_id}; was the topic made anew?"
            )
        return message.value() or b""

    def _message(self, place: MessageReference) -> Message | None:
        consumer = self._consumers.get(place.topic)
        if consumer is None:
            consumer = follow(self._kafka, [place.topic], client_id=self._client_id, from_beginning=False)
            self._consumers[place.topic] = consumer
        if place.partition not in {part.partition for part in consumer.assignment()}:
            return None
        first, end = consumer.watermarks(TopicPartition(place.topic, place.partition), cached=False)
        if not first <= place.offset < end:
            return None
        consumer.seek(TopicPartition(place.topic, place.partition, place.offset))
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None or message.partition() != place.partition:
                continue
            offset = message.offset()
            assert offset is not None, "a consumed message has a place"
            if offset >= place.offset:  # a later one: it was removed since, or never committed
                return message if offset == place.offset else None
        raise BrokerUnavailable(
            f"evidence at {place.topic}/{place.partition}/{place.offset} on {self._kafka.bootstrap} could not be read: "
            f"nothing came for {WAIT_S:g} s"
        )

    def close(self) -> None:
        while self._consumers:
            self._consumers.popitem()[1].close()


def _number(rest: str) -> int | None:
    number = rest.partition("/")[0]
    return int(number) if number.isdecimal() else None
