"""Reading a topic from its beginning to where it ended when the reading began."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Message, TopicPartition

from infra.errors import BrokerUnavailable
from infra.kafka import Consumer, follow
from infra.settings import KafkaSettings

SETTLE_SECONDS = 10.0
"""A partition that was only just created, or whose leader is just being elected, is asked again for this long."""


def read_to_end(kafka: KafkaSettings, topic: str, *, client_id: str, silence_s: float = 30.0) -> Iterator[Message]:
    """All committed messages that are there at the start; in order per partition.

    Raises BrokerUnavailable when nothing comes for ``silence_s`` before the end is reached, TopicMissing.
    """
    with follow(kafka, [topic], client_id=client_id, from_beginning=True) as consumer:
        ends = _ends(consumer)
        deadline = time.monotonic() + silence_s
        while ends:
            for message in consumer.consume(500, 0.1):
                deadline = time.monotonic() + silence_s
                yield message
            places = consumer.position([TopicPartition(topic, partition) for partition in ends])
            ends = {part.partition: ends[part.partition] for part in places if part.offset < ends[part.partition]}
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"topic {topic} on {kafka.bootstrap} could not be read to its end: nothing came for {silence_s:g} s"
                )


def _ends(consumer: Consumer) -> dict[int, int]:
    """Next offset to be written, of the partitions that hold anything."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            marks = {part.partition: consumer.watermarks(part, cached=False) for part in consumer.assignment()}
            return {partition: end for partition, (first, end) in marks.items() if end > first}
        except BrokerUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
