"""Publishing to a real broker, also when it is away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Message

from infra.broker import LocalBroker
from infra.contracts import MessageReference
from infra.errors import BrokerError, BrokerUnavailable, BufferFull, MessageTooLarge, TopicMissing
from infra.kafka import Publisher, follow
from infra.process import free_port
from infra.settings import KafkaSettings
from infra.topics import create_topics, topic_name

Until = Callable[[Callable[[], object]], None]


class Deliveries:
    """What came back from the broker."""

    def __init__(self) -> None:
        self.references: list[MessageReference] = []
        self.errors: list[BrokerError] = []

    def __call__(self, error: BrokerError | None, reference: MessageReference | None) -> None:
        if error is not None:
            self.errors.append(error)
        if reference is not None:
            self.references.append(reference)


def _messages(kafka: KafkaSettings, topic: str, count: int) -> list[Message]:
    with follow(kafka, [topic], client_id="test", from_beginning=True) as reader:
        found: list[Message] = []
        while len(found) < count:  # a call may also end with the end of a partition
            found += reader.consume(count - len(found), 10.0)
        assert not reader.consume(count + 10, 0.3), "more messages than were sent"
        return found


def _read(kafka: KafkaSettings, topic: str, count: int) -> list[bytes | None]:
    return [message.value() for message in _messages(kafka, topic, count)]


def test_nothing_sent_flushes_at_once() -> None:
    """A publisher that was never used connects to nothing."""
    with Publisher(KafkaSettings(bootstrap="127.0.0.1:1"), client_id="test") as publisher:
        assert publisher.flush(0.0) == 0
        assert len(publisher) == 0


def test_message_arrives_with_key_and_headers(kafka: KafkaSettings) -> None:
    """What is sent is read back, and its place is reported."""
    topic, deliveries = topic_name(kafka.prefix, "frames"), Deliveries()
    with Publisher(kafka, client_id="test") as publisher:
        publisher.send(topic, key=b"c1", value=b"image", headers=[("ce_id", b"1")], on_delivery=deliveries)
        assert publisher.flush(10.0) == 0
    assert deliveries.errors == []
    (message,) = _messages(kafka, topic, 1)
    assert (message.key(), message.value(), message.headers()) == (b"c1", b"image", [("ce_id", b"1")])
    assert (message.partition(), message.offset()) == (deliveries.references[0].partition, 0)


def test_too_large_message_is_refused_with_its_size(kafka: KafkaSettings) -> None:
    """A message over the limit is refused at once, naming size, limit and remedy."""
    with (
        Publisher(kafka, client_id="test", max_message_bytes=1000) as publisher,
        pytest.raises(MessageTooLarge, match=r"1001 bytes.*limit of 1000.*JPEG quality"),
    ):
        publisher.send("frames", key=b"c1", value=bytes(1001))


def test_message_too_large_for_the_broker_is_reported(kafka: KafkaSettings) -> None:
    """A message that only the broker finds too large comes back with the same kind of error."""
    topic, deliveries = topic_name(kafka.prefix, "alerts"), Deliveries()
    with Publisher(kafka, client_id="test", max_message_bytes=6_000_000) as publisher:
        publisher.send(topic, key=b"c1", value=bytes(5_000_000), on_delivery=deliveries)
        publisher.flush(10.0)
    assert [type(error) for error in deliveries.errors] == [MessageTooLarge]


def test_largest_frame_is_taken(kafka: KafkaSettings) -> None:
    """A frame just under the topic's limit arrives."""
    topic, deliveries = topic_name(kafka.prefix, "frames"), Deliveries()
    with Publisher(kafka, client_id="test") as publisher:
        publisher.send(topic, key=b"c1", value=bytes(3_990_000), on_delivery=deliveries)
        publisher.flush(10.0)
    assert deliveries.errors == []
    assert len(deliveries.references) == 1


def test_unknown_topic_is_reported_with_the_remedy(kafka_without_topics: KafkaSettings) -> None:
    """A message for a topic that does not exist fails, saying how to create it."""
    deliveries = Deliveries()
    with Publisher(kafka_without_topics, client_id="test", topic_grace_s=1) as publisher:
        publisher.send(topic_name(kafka_without_topics.prefix, "frames"), key=b"", value=b"", on_delivery=deliveries)
        publisher.flush(30.0)
    assert isinstance(deliveries.errors[0], TopicMissing)
    assert "simvg topics create" in str(deliveries.errors[0])


def test_full_queue_is_said_at_once() -> None:
    """While the broker is away the local queue fills, and then says so instead of waiting."""
    publisher = Publisher(KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"), client_id="test", queue_messages=3)
    for _ in range(3):
        publisher.send("frames", key=b"c1", value=b"x")
    with pytest.raises(BufferFull, match=r"3 messages wait.*127\.0\.0\.1"):
        publisher.send("frames", key=b"c1", value=b"x")
    assert publisher.close(0.0) == 3


def test_message_not_delivered_in_time_is_reported() -> None:
    """Without a broker every message comes back as failed, naming the address."""
    deliveries = Deliveries()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")
    with Publisher(kafka, client_id="test", delivery_timeout_s=0.5) as publisher:
        publisher.send("frames", key=b"c1", value=b"x", on_delivery=deliveries)
        assert publisher.flush(30.0) == 0
    assert isinstance(deliveries.errors[0], BrokerUnavailable)
    assert kafka.bootstrap in str(deliveries.errors[0])


def test_messages_left_at_closing_are_reported() -> None:
    """Closing gives up on what could not be sent, through each message's callback."""
    deliveries = Deliveries()
    publisher = Publisher(KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"), client_id="test")
    publisher.send("frames", key=b"c1", value=b"x", on_delivery=deliveries)
    assert publisher.close(0.1) == 1
    assert len(deliveries.errors) == 1


def test_broker_that_comes_later_gets_everything(stopped_broker: LocalBroker) -> None:
    """A publisher started before the broker delivers once it is there."""
    kafka, deliveries = stopped_broker.settings, Deliveries()
    # The topic's grace runs while the broker starts, which takes a loaded machine its time.
    with Publisher(kafka, client_id="test", topic_grace_s=240.0, delivery_timeout_s=240.0) as publisher:
        for number in range(5):
            publisher.send("frames", key=b"c1", value=b"%d" % number, on_delivery=deliveries)
        publisher.poll(0.5)
        assert len(publisher) == 5
        stopped_broker.start()
        create_topics(kafka, ["frames"])
        assert publisher.flush(60.0) == 0
    assert deliveries.errors == []
    assert _read(kafka, "frames", 5) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_outage_neither_loses_nor_doubles_nor_reorders(broker: LocalBroker, kill: bool) -> None:
    """What is sent before, during and after an outage arrives once and in order."""
    kafka, deliveries = broker.settings, Deliveries()
    create_topics(kafka, ["frames"])
    with Publisher(kafka, client_id="test") as publisher:
        publisher.send("frames", key=b"c1", value=b"before", on_delivery=deliveries)
        publisher.flush(10.0)
        broker.stop(kill=kill)
        publisher.send("frames", key=b"c1", value=b"during", on_delivery=deliveries)
        publisher.poll(0.5)
        broker.start()
        publisher.send("frames", key=b"c1", value=b"after", on_delivery=deliveries)
        assert publisher.flush(60.0) == 0
    assert deliveries.errors == []
    assert _read(kafka, "frames", 3) == [b"before", b"during", b"after"]
