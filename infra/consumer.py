"""Reading from Kafka with offsets committed by hand: what is committed was dealt with."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not marked as re-exported
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from infra.contact import Contact, statistics
from infra.errors import BrokerError
from infra.hanging import is_seal
from infra.kafka_client import AWAY, client_config, new_client, translate
from infra.settings import KafkaSettings

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
OnPartitions = Callable[["Consumer", list[TopicPartition]], None]

_METADATA_TIMEOUT_S = 10.0

FOLLOWER_GROUPS = "simvg-follower-"
"""How the names of the groups begin that :func:`follow` makes up."""

_NO_LEADER_YET = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_LEADER_EPOCH,  # client and broker do not know of the same election yet
    KafkaError.FENCED_LEADER_EPOCH,
}

# Librdkafka goes on by itself after these; they are worth a log line, not an exception.
_PASSING = AWAY | {
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError._AUTO_OFFSET_RESET,
}


class Consumer:
    """Messages of some topics. Make one with :func:`subscribe` (in a group) or :func:`follow` (on its own).

    For one thread. The library lets a call of another thread wait for a gap between two polls, which may not come for
    minutes; what others need to know, they ask with :func:`committed_offsets`.
    """

    def __init__(self, kafka: KafkaSettings, consumer: KafkaConsumer, group: str | None = None) -> None:
        self._kafka = kafka
        self._group = group
        self._consumer = consumer
        self._ends: dict[tuple[str, int], int] = {}

    def reached_end(self, partition: TopicPartition) -> bool:
        """Whether reading has come to ``partition.offset``, or to the end, if later messages are of no transaction
        that was committed. Of :func:`follow` only."""
        return self._ends.get((partition.topic, partition.partition), -1) >= partition.offset

    def positions(self) -> dict[int, int]:
        """Of one topic that is followed: by partition, the offset up to which all has been handed out."""
        return {partition: offset for (_, partition), offset in self._ends.items()}

    def poll(self, seconds: float) -> Message | None:
        """The next message, or None: after ``seconds``, or before where something else has come, as the end of a
        partition that is followed, or word that the broker is away for a while.

        Raises:
            TopicMissing: a topic does not exist (any more).
            BrokerError: anything that waiting does not cure.
        """
        try:
            message = self._consumer.poll(seconds)
        except KafkaException as error:
            raise translate(error, self._kafka, group=self._group) from error
        return None if message is None or not self._usable(message) else message

    def consume(self, count: int, seconds: float) -> list[Message]:
        """Up to ``count`` messages, as many as come within ``seconds``. Raises as :meth:`poll`."""
        try:
            messages = self._consumer.consume(count, seconds)
        except KafkaException as error:
            raise translate(error, self._kafka, group=self._group) from error
        return [message for message in messages if self._usable(message)]

    def commit(self, offsets: Sequence[TopicPartition], *, wait: bool = True) -> None:
        """Commit the next offset to read of each partition (last dealt with + 1).

        Raises BrokerError when ``wait`` and the group has moved on or no broker answers.
        """
        if not offsets:
            return
        try:
            if wait:
                for committed in self._consumer.commit(offsets=list(offsets), asynchronous=False) or []:
                    if committed.error is not None:
                        raise translate(committed.error, self._kafka, topic=committed.topic, group=self._group)
            else:
                self._consumer.commit(offsets=list(offsets), asynchronous=True)
        except KafkaException as error:
            raise translate(error, self._kafka, group=self._group) from error

    def committed(
        self, partitions: Sequence[TopicPartition], seconds: float = _METADATA_TIMEOUT_S
    ) -> list[TopicPartition]:
        """Committed offsets of the group, with their metadata; waits for transactions that are about to change them.

        Raises BrokerUnavailable when that takes longer than ``seconds``, BrokerError.
        """
        found = self._call(lambda: self._consumer.committed(list(partitions), timeout=seconds))
        for part in found:
            if part.error is not None:
                raise translate(part.error, self._kafka, topic=part.topic)
        return found

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch nothing more of these partitions until :meth:`resume`; go on polling meanwhile."""
        self._call(lambda: self._consumer.pause(list(partitions)))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undo :meth:`pause`."""
        self._call(lambda: self._consumer.resume(list(partitions)))

    def seek(self, partition: TopicPartition) -> None:
        """Read on from ``partition.offset``."""
        self._call(lambda: self._consumer.seek(partition))

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """The next offset that each partition will be read from."""
        return self._call(lambda: self._consumer.position(list(partitions)))

    def at_times(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Where to read from for messages at or after a time: offsets of the partitions are times in ms since 1970.

        A partition without such a message comes with its end, or -1 where that is not known.
        """
        return self._call(lambda: self._consumer.offsets_for_times(list(partitions), timeout=_METADATA_TIMEOUT_S))

    def assignment(self) -> list[TopicPartition]:
        """The partitions that are read now."""
        return self._call(self._consumer.assignment)

    def watermarks(
        self, partition: TopicPartition, *, cached: bool = True, seconds: float = _METADATA_TIMEOUT_S
    ) -> tuple[int, int]:
        """First offset kept and next offset to be written; ``cached``: as of the last fetch, without asking."""
        found = self._call(lambda: self._consumer.get_watermark_offsets(partition, timeout=seconds, cached=cached))
        return found if found is not None else (0, 0)

    def assign_more(self, partitions: Sequence[TopicPartition]) -> None:
        """Within ``on_assign``: takes the partitions from these offsets on instead of the committed ones.

        They are fetched even if they were paused when they were last held, which the library does not forget.
        """
        self._call(lambda: self._consumer.incremental_assign(list(partitions)))
        self._call(lambda: self._consumer.resume(list(partitions)))

    def begin_anew(self, partition: TopicPartition) -> None:
        """Reads a partition that is held from ``partition.offset`` on, with all that its reading takes made anew."""
        self._call(lambda: self._consumer.incremental_unassign([partition]))
        self.assign_more([partition])

    def group_metadata(self) -> Any:
        """What a transactional producer needs to commit offsets on behalf of this group."""
        return self._call(self._consumer.consumer_group_metadata)

    def close(self) -> None:
        """Leave the group at once, so that others take the partitions over without waiting."""
        try:
            self._consumer.close()
        # BrokerError: partitions were being taken over when we were told to stop. RuntimeError: closed already.
        except (KafkaException, BrokerError, RuntimeError) as error:
            logger.debug("closing consumer: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, action: Callable[[], ResultT]) -> ResultT:
        try:
            return action()
        except KafkaException as error:
            raise translate(error, self._kafka, group=self._group) from error

    def _usable(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            self._came_to(message, 1)
            return not is_seal(message)
        if error.code() == KafkaError._PARTITION_EOF:
            self._came_to(message, 0)
            return False
        if error.code() in _PASSING and not error.fatal():
            logger.warning("kafka consumer: %s (%s)", error.str(), error.name())
            return False
        raise translate(error, self._kafka, topic=message.topic(), group=self._group)

    def _came_to(self, message: Message, more: int) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is not None and partition is not None and offset is not None:
            self._ends[topic, partition] = offset + more


def subscribe(
    kafka: KafkaSettings,
    group: str,
    topics: Sequence[str],
    *,
    client_id: str,
    from_beginning: bool,
    on_assign: OnPartitions | None = None,
    on_revoke: OnPartitions | None = None,
    on_lost: OnPartitions | None = None,
    instance_id: str | None = None,
    max_poll_interval_s: float = 300,
    session_timeout_s: float = 10,
    fetch_queue_bytes: int = 4_000_000,
    read_committed: bool = True,
    contact: Contact | None = None,
) -> Consumer:
    """A member of the consumer group, with its offsets committed by hand only.

    ``from_beginning``: where to start in a partition without a committed offset. ``on_assign`` and ``on_revoke`` get
    the partitions that come and go (not all that are held) from within :meth:`Consumer.poll`; commit what is done in
    ``on_revoke``. ``on_lost``: taken away without asking, nothing can be committed; default: ``on_revoke``.
    ``instance_id``: static membership, a restart within the session time-out moves no partitions.
    ``fetch_queue_bytes``: so much is fetched ahead of what is polled; :meth:`Consumer.pause` throws it away.
    ``session_timeout_s``: a member that is silent for so long has lost its partitions (protocol "classic" only; with
    "consumer" the broker says it, see :func:`infra.topics.set_session_timeout`). ``contact``: told with every poll.

    With the protocol "consumer" a topic that does not exist is simply waited for: call
    :func:`infra.topics.require_topics` first. Connects when it is first polled; raises BrokerError if the client
    refuses the settings.
    """
    config = client_config(kafka, client_id=client_id) | {
        "group.id": group,
        "group.protocol": kafka.group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest" if from_beginning else "latest",
        "isolation.level": "read_committed" if read_committed else "read_uncommitted",
        "max.poll.interval.ms": int(max_poll_interval_s * 1000),
        "queued.max.messages.kbytes": max(fetch_queue_bytes // 1000, 1),
        "fetch.wait.max.ms": 100,
    }
    if kafka.group_protocol == "classic":
        config["partition.assignment.strategy"] = "cooperative-sticky"
        config["session.timeout.ms"] = int(session_timeout_s * 1000)
        config["heartbeat.interval.ms"] = 1_000
    if instance_id is not None:
        config["group.instance.id"] = instance_id
    consumer = new_client(KafkaConsumer, kafka, config | statistics(contact))
    wrapped = Consumer(kafka, consumer, group)

    def hook(callback: OnPartitions | None) -> Callable[[KafkaConsumer, list[TopicPartition]], None] | None:
        if callback is None:
            return None
        return lambda _, partitions: callback(wrapped, partitions)

    hooks = {"on_assign": hook(on_assign), "on_revoke": hook(on_revoke), "on_lost": hook(on_lost or on_revoke)}
    try:
        consumer.subscribe(list(topics), **{name: call for name, call in hooks.items() if call is not None})
    except KafkaException as error:
        raise translate(error, kafka) from error
    return wrapped


def committed_offsets(
    kafka: KafkaSettings, group: str, partitions: Sequence[TopicPartition], *, client_id: str, seconds: float
) -> list[TopicPartition]:
    """What a group has committed, with its metadata, asked by somebody who is no member of it. Any thread.

    Waits for transactions that are about to change it. Raises BrokerUnavailable when that takes longer than
    ``seconds``, BrokerError.
    """
    config = client_config(kafka, client_id=client_id) | {
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
    asking = Consumer(kafka, new_client(KafkaConsumer, kafka, config), group)
    try:
        return asking.committed(partitions, seconds)
    finally:
        asking.close()


def last_offsets(kafka: KafkaSettings, topic: str, *, client_id: str) -> dict[int, int]:
    """Next offset to be written, by partition, open transactions included. Raises TopicMissing, BrokerUnavailable."""
    admin = new_client(AdminClient, kafka, client_config(kafka, client_id=client_id))
    try:
        metadata = admin.list_topics(topic, timeout=_METADATA_TIMEOUT_S).topics[topic]
        if metadata.error is not None:
            raise translate(metadata.error, kafka, topic=topic)
        latest = {TopicPartition(topic, number): OffsetSpec.latest() for number in metadata.partitions}  # type: ignore[no-untyped-call]
        return _latest(admin, latest)
    except KafkaException as error:
        raise translate(error, kafka, topic=topic) from error


def follow(
    kafka: KafkaSettings,
    topics: Sequence[str],
    *,
    client_id: str,
    from_beginning: bool,
    wait_ms: int = 100,
    contact: Contact | None = None,
) -> Consumer:
    """All partitions of the topics, read outside of any group: nothing is committed, every follower sees everything.

    ``wait_ms``: so long the broker waits with an answer while there is nothing to read. What comes is told at once in
    any case, where a partition ends is told with such an answer, and each costs the broker most of a millisecond.
    ``contact``: told with every poll.

    Raises TopicMissing, BrokerUnavailable.
    """
    config = client_config(kafka, client_id=client_id) | {
        # A client needs one, and looks for its coordinator; nothing is ever committed for it.
        "group.id": f"{FOLLOWER_GROUPS}{client_id}-{uuid.uuid4().hex[:8]}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": wait_ms,
    }
    consumer = new_client(KafkaConsumer, kafka, config | statistics(contact))
    start = OFFSET_BEGINNING if from_beginning else OFFSET_END
    try:
        partitions = []
        for topic in topics:
            metadata = consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S).topics[topic]
            if metadata.error is not None:
                raise translate(metadata.error, kafka, topic=topic)
            for number in metadata.partitions:
                # fixed now: "the end" must not drift to when the first fetch happens
                offset = start if from_beginning else _end_of(consumer, TopicPartition(topic, number))
                partitions.append(TopicPartition(topic, number, offset))
        consumer.assign(partitions)
    except KafkaException as error:
        consumer.close()
        raise translate(error, kafka) from error
    except BaseException:
        consumer.close()
        raise
    return Consumer(kafka, consumer, FOLLOWER_GROUPS)


@retry(
    # a topic that was created a moment ago has partitions without a leader for a moment
    retry=retry_if_exception(
        lambda error: isinstance(error, KafkaException) and error.args[0].code() in _NO_LEADER_YET
    ),
    stop=stop_after_delay(_METADATA_TIMEOUT_S),
    wait=wait_fixed(0.1),
    reraise=True,
)
def _end_of(consumer: KafkaConsumer, partition: TopicPartition) -> int:
    consumer.list_topics(partition.topic, timeout=_METADATA_TIMEOUT_S)  # asks anew who leads it
    _, end = consumer.get_watermark_offsets(partition, timeout=_METADATA_TIMEOUT_S)
    return int(end)


@retry(
    retry=retry_if_exception(
        lambda error: isinstance(error, KafkaException) and error.args[0].code() in _NO_LEADER_YET
    ),
    stop=stop_after_delay(_METADATA_TIMEOUT_S),
    wait=wait_fixed(0.1),
    reraise=True,
)
def _latest(admin: AdminClient, wanted: dict[TopicPartition, OffsetSpec]) -> dict[int, int]:
    futures = admin.list_offsets(
        wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_METADATA_TIMEOUT_S
    )
    return {part.partition: future.result().offset for part, future in futures.items()}
