"""Transactions that are over for Kafka but open in partitions, against a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import TopicPartition

from consumers.reading import read_to_end
from infra import transactions
from infra.broker import LocalBroker
from infra.consumer import committed_offsets, last_offsets
from infra.errors import BrokerUnavailable
from infra.hanging import GroupOffsets, HangingWatch
from infra.settings import KafkaSettings
from infra.topics import TopicName, create_topics, topic_name
from infra.transactions import Sent, TransactionalPublisher
from tests.markers import cut_marker, with_markers

WRITTEN: tuple[TopicName, ...] = ("alarm-state", "detections")
Until = Callable[..., None]


class Writer:
    """Writes states, detections and the group's place in the frames, as a worker does."""

    def __init__(self, kafka: KafkaSettings, name: str = "w1") -> None:
        self.kafka = kafka
        read, *written = (topic_name(kafka.prefix, topic) for topic in ("frames", *WRITTEN))
        self.topics = written
        self.frames = TopicPartition(read, 0)
        offsets = GroupOffsets(group="g", read=read, spare=written[0])
        self.publisher = TransactionalPublisher(
            kafka,
            transactional_id=f"{kafka.prefix}/{name}",
            client_id=name,
            given_up=lambda: False,
            watch=HangingWatch(kafka, client_id=name, topics=written, offsets=offsets),
        )

    def commit(self, offset: int) -> None:
        """A message of each topic and the offset; returns when Kafka has ended the transaction in every partition."""
        member = KafkaConsumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": "g"})
        self.publisher.begin()
        for topic in self.topics:
            self.publisher.send(Sent(), topic, key=b"k", value=str(offset).encode())
        self.publisher.commit([TopicPartition(self.frames.topic, 0, offset)], member.consumer_group_metadata())
        member.close()
        self.publisher.begin()
        self.publisher.send(Sent(), topic_name(self.kafka.prefix, "evidence"), key=b"k", value=b"not before that")
        self.publisher.flush()
        self.publisher.abort()

    def messages(self, seconds: float = 60.0) -> list[list[bytes | None]]:
        """What is committed, by topic. Raises BrokerUnavailable when that cannot be read to its end."""
        read = (read_to_end(self.kafka, topic, client_id="t", settled=True, silence_s=seconds) for topic in self.topics)
        return [[message.value() for message in messages] for messages in read]

    def place(self, seconds: float = 60.0) -> int:
        """Offset of the group. Raises BrokerUnavailable when it is not known."""
        (found,) = committed_offsets(self.kafka, "g", [self.frames], client_id="t", seconds=seconds)
        return found.offset

    def written(self) -> int:
        """Messages and markers in all partitions of the topics."""
        return sum(sum(last_offsets(self.kafka, topic, client_id="t").values()) for topic in self.topics)


@pytest.fixture
def writer(broker: LocalBroker, tmp_path: Path) -> Iterator[Writer]:
    """One whose second transaction hangs in all its partitions after a power cut of the broker."""
    kafka = KafkaSettings(bootstrap=broker.settings.bootstrap, prefix="h", partitions=2)
    create_topics(kafka)
    one = Writer(kafka)
    one.commit(1)
    one.commit(2)
    broker.stop(kill=True)
    data = tmp_path / "broker" / "kafka"
    hanging = with_markers(data, *one.topics, "__consumer_offsets")
    assert len(hanging) == len(WRITTEN) + 1
    for partition in hanging:
        cut_marker(data, partition)
    broker.start()
    with pytest.raises(BrokerUnavailable, match="could not be read to its end"):
        one.messages(2.0)
    with pytest.raises(BrokerUnavailable):
        one.place(2.0)
    yield one
    one.publisher.discard()


@pytest.mark.timeout(600)
def test_the_next_life_ends_what_hangs(writer: Writer) -> None:
    """What was decided stands: the messages and the offset are committed, and readers see no message besides."""
    writer.publisher.discard()
    again = Writer(writer.kafka)
    again.publisher.connect()
    assert again.messages() == [[b"1", b"2"]] * len(WRITTEN)
    assert again.place() == 2
    again.commit(3)
    assert again.messages() == [[b"1", b"2", b"3"]] * len(WRITTEN)
    assert again.place() == 3
    again.publisher.discard()


@pytest.mark.timeout(600)
def test_the_same_life_ends_what_hangs(writer: Writer, monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    """A producer that went on after the power cut looks from time to time; what has waited for long is ended."""
    written = writer.written()
    monkeypatch.setattr(transactions, "LOOK_SECONDS", 0.2)
    for _ in range(5):
        time.sleep(0.2)
        writer.publisher.settle()
    assert writer.written() == written, "it may be another's, which is just being written"
    monkeypatch.setattr(transactions, "STANDING_SECONDS", 0.5)

    def ended() -> bool:
        time.sleep(0.2)
        writer.publisher.settle()  # a look that gets no answer in time begins to count anew
        return writer.written() > written

    until(ended)
    assert writer.messages() == [[b"1", b"2"]] * len(WRITTEN)
    assert writer.place() == 2


def test_where_nothing_hangs_nothing_is_written(kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a life that begins nor by one that looks; a transaction that another has open is left to it."""
    monkeypatch.setattr(transactions, "LOOK_SECONDS", 0.0)
    first, other = Writer(kafka), Writer(kafka, "w2")
    first.commit(1)
    written = first.written()
    first.publisher.discard()
    again = Writer(kafka)
    again.publisher.connect()
    again.publisher.settle()
    assert again.written() == written
    other.publisher.begin()
    other.publisher.send(Sent(), other.topics[0], key=b"k", value=b"other")
    other.publisher.flush()
    again.publisher.settle()
    assert again.written() == written + 1
    with pytest.raises(BrokerUnavailable):
        again.messages(2.0)
    other.publisher.commit([], None)
    assert again.messages() == [[b"1", b"other"], [b"1"]]
    for one in (again, other):
        one.publisher.discard()
