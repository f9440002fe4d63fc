"""Transactions that hang: over for Kafka, but still open in a partition, where nobody reads past them.

What ends a transaction in a partition is a marker. Kafka 4.1 to 4.3 leave it out for good when the partition has no
leader just then (KAFKA-20734). A broker that is cut off between the decision on a transaction and its markers writes
them when it starts again, and for a moment has no leaders. Its messages then wait for readers of committed ones for
ever, and its offsets for the next owner of their partition.

The next marker of the same producer in the partition ends the old transaction too, in the way in which it ends its own.
So a *seal* is committed there: a message that says nothing, which our readers never see. A commit is right for all that
was decided to be committed, whose markers may stand in other partitions; an abort would lose it. What was just being
undone is committed by it too: rarer by far, and what is written again then has the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not marked as re-exported

from infra.kafka_client import client_config, new_client, translate
from infra.settings import KafkaSettings

SEAL_KEY = b"simvg-seal"

RESEAL_SECONDS = 600.0
"""What a seal has not ended is another producer's: it is tried again after this time only."""

ANSWER_SECONDS = 1.0


def is_seal(message: Message) -> bool:
    """Whether a message is there for the marker behind it only."""
    return message.key() == SEAL_KEY and message.value() is None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Where a reader of what is committed cannot go on: at an offset; or, where that is None, at the group's places."""

    topic: str
    partition: int = 0
    offset: int | None = None

    def __str__(self) -> str:
        if self.offset is None:
            return f"the group's places in {self.topic}"
        return f"offset {self.offset} of {self.topic}/{self.partition}"


@dataclass(frozen=True, kw_only=True)
class GroupOffsets:
    """What a producer commits besides messages: the places of ``group`` in the topic ``read``. ``spare``: a topic that
    it may read too, and in which the group has no place."""

    group: str
    read: str
    spare: str


class HangingWatch:
    """Looks where readers wait: in ``topics``, and for the places of a group.

    For one thread; connects at the first look. Times are seconds of any clock.
    """

    def __init__(
        self, kafka: KafkaSettings, *, client_id: str, topics: Sequence[str], offsets: GroupOffsets | None = None
    ) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._topics = topics
        self._offsets = offsets
        self._admin: AdminClient | None = None
        self._asking: Consumer | None = None
        self._since: dict[Waiting, float] = {}

    def look(self, now: float) -> bool:
        """Whether a reader waits anywhere, most often for a transaction that is just being written.

        Raises BrokerError; what was seen before counts no more then.
        """
        before, self._since = self._since, {}
        try:
            found = [*self._messages(), *self._places()]
        except KafkaException as error:
            self._let_go()
            raise translate(error, self._kafka) from error
        self._since = {one: before.get(one, now) for one in found}
        return bool(found)

    def standing(self, now: float, seconds: float) -> list[Waiting]:
        """Where a reader has waited for so long; each is told once, and again after :data:`RESEAL_SECONDS`."""
        found = [one for one, since in self._since.items() if now - since >= seconds]
        self._since |= dict.fromkeys(found, now + RESEAL_SECONDS)
        return found

    def spare_offset(self) -> tuple[list[TopicPartition], Any]:
        """An offset that nobody asks for, to be committed for the sake of its marker, and the group without membership,
        from which the broker takes it. It stands at the end, so that it looks like no lag."""
        assert self._offsets is not None and self._asking is not None, "somebody waits for offsets"
        spare = TopicPartition(self._offsets.spare, 0)
        spare.offset = self._ends([spare], IsolationLevel.READ_UNCOMMITTED).get((spare.topic, 0), 0)
        return [spare], self._asking.consumer_group_metadata()

    def _messages(self) -> list[Waiting]:
        parts = [part for topic in self._topics for part in self._partitions(topic)]
        readable = self._ends(parts, IsolationLevel.READ_COMMITTED)
        written = self._ends(parts, IsolationLevel.READ_UNCOMMITTED)
        return [Waiting(*slot, end) for slot, end in readable.items() if end < written.get(slot, end)]

    def _places(self) -> list[Waiting]:
        """The library asks again for as long as they are unsettled, so only its silence tells; unless the group's
        coordinator says nothing at all. (Asked through its AdminClient, librdkafka 2.16 crashes when that moves.)"""
        if self._offsets is None:
            return []
        parts = self._partitions(self._offsets.read)
        if self._asking is None:
            self._asking = self._consumer("read_committed")
        try:
            self._asking.committed(parts, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._TIMED_OUT:
                raise
        else:
            return []
        careless = self._consumer("read_uncommitted")
        try:
            careless.committed(parts, timeout=ANSWER_SECONDS)
        finally:
            careless.close()
        return [Waiting(self._offsets.read)]

    def _partitions(self, topic: str) -> list[TopicPartition]:
        """Those with a leader; one without would keep us waiting."""
        found = self._client().list_topics(topic, timeout=ANSWER_SECONDS).topics[topic].partitions
        return [TopicPartition(topic, number) for number, part in found.items() if part.leader >= 0]

    def _ends(self, parts: list[TopicPartition], level: IsolationLevel) -> dict[tuple[str, int], int]:
        if not parts:
            return {}
        latest = {part: OffsetSpec.latest() for part in parts}  # type: ignore[no-untyped-call]
        futures = self._client().list_offsets(latest, isolation_level=level, request_timeout=ANSWER_SECONDS)
        return {
            (part.topic, part.partition): future.result().offset
            for part, future in futures.items()
            if future.exception() is None
        }

    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = new_client(AdminClient, self._kafka, client_config(self._kafka, client_id=self._client_id))
        return self._admin

    def _consumer(self, level: str) -> Consumer:
        assert self._offsets is not None, "somebody asks for offsets"
        config = client_config(self._kafka, client_id=self._client_id)
        alone = {"group.id": self._offsets.group, "enable.auto.commit": False, "isolation.level": level}
        return new_client(Consumer, self._kafka, config | alone)

    def _let_go(self) -> None:
        """A new connection finds a broker again that has been away, and the group's coordinator."""
        self._admin = None
        if self._asking is not None:
            self._asking.close()
            self._asking = None
