"""Reading a topic from its beginning to where it ended when the reading began."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Message, TopicPartition

from infra.errors import BrokerUnavailable
from infra.kafka import Consumer, follow, last_offsets
from infra.settings import KafkaSettings

SETTLE_SECONDS = 10.0
"""A partition that was only just created, or whose leader is just being elected, is asked again for this long."""


def read_to_end(
    kafka: KafkaSettings, topic: str, *, client_id: str, settled: bool = False, silence_s: float = 30.0
) -> Iterator[Message]:
    """All committed messages that are there at the start; in order per partition.

    Messages behind a transaction that is open at the start are not there yet. ``settled`` waits until it is committed
    or aborted (its producer's time-out at most) and gives those that were committed.

    Raises BrokerUnavailable when nothing comes for ``silence_s`` before the end is reached, TopicMissing.
    """
    with follow(kafka, [topic], client_id=client_id, from_beginning=True) as consumer:
        ends = last_offsets(kafka, topic, client_id=client_id) if settled else _ends(consumer)
        open_ends = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
        deadline = time.monotonic() + silence_s
        while open_ends:
            for message in consumer.consume(500, 0.1):
                deadline = time.monotonic() + silence_s
                yield message
            open_ends = [end for end in open_ends if not consumer.reached_end(end)]
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
        except BrokerUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
