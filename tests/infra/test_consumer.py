"""Reading from a real broker: groups, commits, outages."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not marked as re-exported

from infra.broker import LocalBroker
from infra.consumer import _latest
from infra.errors import BrokerUnavailable, TopicMissing
from infra.kafka import Consumer, Publisher, committed_offsets, follow, subscribe, wait_for_broker
from infra.process import free_port
from infra.settings import KafkaSettings
from infra.topics import create_topics, topic_name

Until = Callable[[Callable[[], object]], None]


def _publish(kafka: KafkaSettings, topic: str, *values: bytes) -> None:
    with Publisher(kafka, client_id="test") as publisher:
        for value in values:
            publisher.send(topic, key=b"c1", value=value)
        assert publisher.flush(30.0) == 0


def _member(kafka: KafkaSettings, topic: str) -> Consumer:
    return subscribe(kafka, f"{kafka.prefix}group", [topic], client_id="test", from_beginning=True)


def _next(consumer: Consumer) -> Message:
    for _ in range(60):
        message = consumer.poll(1.0)
        if message is not None:
            return message
    raise AssertionError("no message came")


def _commit(consumer: Consumer, message: Message) -> None:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None
    consumer.commit([TopicPartition(topic, partition, offset + 1)])


def test_uncommitted_message_is_read_again(kafka: KafkaSettings) -> None:
    """A member that takes over starts at what was committed, not at what was read."""
    topic = topic_name(kafka.prefix, "frames")
    _publish(kafka, topic, b"1", b"2", b"3")
    with _member(kafka, topic) as first:
        _commit(first, _next(first))
        assert _next(first).value() == b"2"
    with _member(kafka, topic) as second:
        assert _next(second).value() == b"2"


def test_what_is_committed_can_be_asked_while_a_member_polls(kafka: KafkaSettings) -> None:
    """Another thread learns what the group has committed, although the member polls without a pause."""
    topic = topic_name(kafka.prefix, "frames")
    _publish(kafka, topic, b"1")
    with _member(kafka, topic) as member:
        message = _next(member)
        number = message.partition()
        _commit(member, message)
        with ThreadPoolExecutor(1) as other:
            part = TopicPartition(topic, 0 if number is None else number)
            member.poll(0.05)
            asked = other.submit(
                committed_offsets, kafka, f"{kafka.prefix}group", [part], client_id="asks", seconds=10.0
            )
            for _ in range(1200):
                if asked.done():
                    break
                member.poll(0.05)
            assert [found.offset for found in asked.result(0.1)] == [1]


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_reading_of_a_partition_can_begin_anew(kafka: KafkaSettings, protocol: str) -> None:
    """A partition that is held is read from the given offset on, and goes on from there; its neighbours are left."""
    settings = kafka.model_copy(update={"group_protocol": protocol})
    topic = topic_name(kafka.prefix, "frames")
    _publish(kafka, topic, b"1", b"2", b"3")
    with _member(settings, topic) as member:
        message = _next(member)
        number = message.partition()
        assert number is not None
        held = {part.partition for part in member.assignment()}
        member.begin_anew(TopicPartition(topic, number, 1))
        assert [_next(member).value() for _ in range(2)] == [b"2", b"3"]
        assert {part.partition for part in member.assignment()} == held
        _publish(kafka, topic, b"4")
        assert _next(member).value() == b"4"


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_second_member_takes_part_of_the_partitions(kafka: KafkaSettings, protocol: str, until: Until) -> None:
    """Two members of a group share the partitions, and callbacks tell which."""
    settings = kafka.model_copy(update={"group_protocol": protocol})
    topic = topic_name(kafka.prefix, "frames")
    held: dict[str, set[int]] = {"a": set(), "b": set()}

    def member(name: str) -> Consumer:
        return subscribe(
            settings,
            f"{kafka.prefix}shared",
            [topic],
            client_id=name,
            from_beginning=True,
            on_assign=lambda _, partitions: held[name].update(p.partition for p in partitions),
            on_revoke=lambda _, partitions: held[name].difference_update(p.partition for p in partitions),
        )

    with member("a") as first:
        until(lambda: first.poll(0.1) is None and held["a"] == {0, 1})
        with member("b") as second:
            until(lambda: (first.poll(0.1), second.poll(0.1)) and len(held["a"]) == len(held["b"]) == 1)
        until(lambda: first.poll(0.1) is None and held["a"] == {0, 1})


def test_paused_partition_gives_nothing(kafka: KafkaSettings, until: Until) -> None:
    """A paused partition is not read until it is resumed."""
    topic = topic_name(kafka.prefix, "frames")
    with _member(kafka, topic) as member:
        until(lambda: member.poll(0.1) is None and len(member.assignment()) == 2)
        member.pause(member.assignment())
        _publish(kafka, topic, b"1")
        assert [member.poll(0.2) for _ in range(3)] == [None, None, None]
        member.resume(member.assignment())
        message = _next(member)
        place = TopicPartition(topic, message.partition() or 0)
        assert member.watermarks(place, cached=False) == (0, 1)
        assert member.position([place])[0].offset == 1


def test_follower_sees_only_what_is_new(kafka: KafkaSettings) -> None:
    """A follower that does not start at the beginning starts at the end as it was when it was made."""
    topic = topic_name(kafka.prefix, "alerts")
    _publish(kafka, topic, b"old")
    with follow(kafka, [topic], client_id="test", from_beginning=False) as reader:
        _publish(kafka, topic, b"new")
        assert _next(reader).value() == b"new"


def test_following_a_missing_topic_names_the_remedy(kafka_without_topics: KafkaSettings) -> None:
    """A topic that does not exist is said with how to create it."""
    with pytest.raises(TopicMissing, match=r"nothing.*simvg topics create"):
        follow(kafka_without_topics, ["nothing"], client_id="test", from_beginning=True)


@pytest.mark.parametrize("name", ["NOT_LEADER_FOR_PARTITION", "UNKNOWN_LEADER_EPOCH", "FENCED_LEADER_EPOCH"])
def test_end_is_asked_again_while_a_leader_is_new(name: str) -> None:
    """A broker that is just back knows less of its partitions than its clients, for a moment."""
    answers = iter([KafkaException(KafkaError(getattr(KafkaError, name))), SimpleNamespace(offset=7)])

    class Admin:
        def list_offsets(self, wanted: dict[TopicPartition, object], **_: object) -> dict[TopicPartition, Future[Any]]:
            answer, told = next(answers), Future[Any]()
            if isinstance(answer, Exception):
                told.set_exception(answer)
            else:
                told.set_result(answer)
            return dict.fromkeys(wanted, told)

    part = TopicPartition("frames", 3)
    assert _latest(cast(AdminClient, Admin()), {part: OffsetSpec.latest()}) == {3: 7}  # type: ignore[no-untyped-call]


def test_classic_group_says_that_a_topic_is_missing(kafka_without_topics: KafkaSettings) -> None:
    """With the classic protocol a group's topic that does not exist is said at polling."""
    kafka = kafka_without_topics.model_copy(update={"group_protocol": "classic"})
    with _member(kafka, "nothing") as member, pytest.raises(TopicMissing, match="simvg topics create"):
        _next(member)


def test_reading_goes_on_after_an_outage(broker: LocalBroker) -> None:
    """A member rides out a broker restart and reads what comes after it, no message twice."""
    kafka = broker.settings
    create_topics(kafka, ["frames"])
    _publish(kafka, "frames", b"before")
    with _member(kafka, "frames") as member:
        message = _next(member)
        _commit(member, message)
        broker.stop()
        assert member.poll(0.5) is None
        broker.start()
        _publish(kafka, "frames", b"after")
        assert _next(member).value() == b"after"


def test_member_that_comes_before_the_broker_waits(stopped_broker: LocalBroker) -> None:
    """A member started without a broker polls in vain, then reads."""
    kafka = stopped_broker.settings
    with _member(kafka, "frames") as member:
        assert member.poll(0.3) is None
        stopped_broker.start()
        create_topics(kafka, ["frames"])
        _publish(kafka, "frames", b"1")
        assert _next(member).value() == b"1"


def test_waiting_for_no_broker_ends_with_the_address() -> None:
    """Waiting in vain names the address and the remedy."""
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnavailable, match=rf"{kafka.bootstrap}.*simvg up"):
        wait_for_broker(kafka, 0.3)


def test_closing_twice_is_harmless(kafka: KafkaSettings) -> None:
    """A consumer may be closed again."""
    member = _member(kafka, topic_name(kafka.prefix, "frames"))
    member.close()
    member.close()
    with pytest.raises(RuntimeError):
        member.poll(0.0)


def test_closing_is_not_undone_by_what_partitions_still_ask_for(kafka: KafkaSettings) -> None:
    """A broker that cannot be asked while partitions change hands is no error of a consumer that leaves."""
    topic = topic_name(kafka.prefix, "frames")

    def ask(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        raise BrokerUnavailable("told to stop")

    create_topics(kafka, ["frames"])
    member = subscribe(kafka, f"{kafka.prefix}leaving", [topic], client_id="test", from_beginning=True, on_revoke=ask)
    _publish(kafka, topic, b"1")
    assert _next(member).value() == b"1"
    member.close()
    with pytest.raises(RuntimeError):
        member.poll(0.0)
