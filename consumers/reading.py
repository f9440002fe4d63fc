"""Reading a topic, from its beginning or a time on, to where it ended when the reading began."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from confluent_kafka import OFFSET_END, Message, TopicPartition

from infra.errors import BrokerUnavailable, TopicMissing
from infra.kafka import Consumer, follow, last_offsets
from infra.settings import KafkaSettings

SILENCE_SECONDS = 30.0
"""A reading that gets nothing for so long before it has reached its end has lost the broker."""

SETTLE_SECONDS = 10.0
"""A partition that was only just created, or whose leader is just being elected, is asked again for this long."""


def read_to_end(
    kafka: KafkaSettings,
    topic: str,
    *,
    client_id: str,
    settled: bool = False,
    silence_s: float = SILENCE_SECONDS,
    stop: threading.Event | None = None,
) -> Iterator[Message]:
    """All committed messages that are there at the start; in order per partition.

    Messages behind a transaction that is open at the start are not there yet. ``settled`` waits until it is committed
    or aborted (its producer's time-out at most) and gives those that were committed.

    Raises BrokerUnavailable when nothing comes for ``silence_s`` before the end is reached, or ``stop`` is set by then;
    TopicMissing.
    """
    with follow(kafka, [topic], client_id=client_id, from_beginning=True) as consumer:
        ends = last_offsets(kafka, topic, client_id=client_id) if settled else _ends(consumer)
        yield from _until(kafka, consumer, topic, ends, silence_s, stop)


def read_span(kafka: KafkaSettings, topic: str, *, since_ms: int, client_id: str) -> Iterator[Message]:
    """As :func:`read_to_end`, from the first message on whose Kafka timestamp is ``since_ms`` (since 1970) or later."""
    with follow(kafka, [topic], client_id=client_id, from_beginning=True) as consumer:
        ends = _ends(consumer)
        if not ends:
            return
        found = consumer.at_times([TopicPartition(topic, partition, since_ms) for partition in ends])
        starts = {part.partition: part.offset for part in found if 0 <= part.offset < ends[part.partition]}
        for part in consumer.assignment():
            consumer.seek(TopicPartition(topic, part.partition, starts.get(part.partition, OFFSET_END)))
        yield from _until(kafka, consumer, topic, {partition: ends[partition] for partition in starts}, SILENCE_SECONDS)


def _until(
    kafka: KafkaSettings,
    consumer: Consumer,
    topic: str,
    ends: dict[int, int],
    silence_s: float,
    stop: threading.Event | None = None,
) -> Iterator[Message]:
    open_ends = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
    deadline = time.monotonic() + silence_s
    while open_ends:
        for message in consumer.consume(500, 0.1):
            deadline = time.monotonic() + silence_s
            yield message
        open_ends = [end for end in open_ends if not consumer.reached_end(end)]
        if stop is not None and stop.is_set():
            raise BrokerUnavailable(f"topic {topic} on {kafka.bootstrap} was not read to its end before the stop")
        if time.monotonic() > deadline:
            raise BrokerUnavailable(
                f"topic {topic} on {kafka.bootstrap} could not be read to its end: nothing came for {silence_s:g} s"
            )


def _ends(consumer: Consumer) -> dict[int, int]:
    """Next offset to be read when all that is committed now was read, of the partitions that hold anything."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            marks = {part.partition: consumer.watermarks(part, cached=False) for part in consumer.assignment()}
            return {partition: end for partition, (first, end) in marks.items() if end > first}
        except (BrokerUnavailable, TopicMissing):  # a broker that is back may know its partitions a moment later
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
