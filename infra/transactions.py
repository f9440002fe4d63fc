"""Writing to Kafka in transactions: all messages of one, with the offsets they stand for, become visible, or none."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from infra.contracts import MessageReference
from infra.errors import BrokerError, BrokerUnavailable, MessageTooLarge, ProducerFenced, TransactionAborted
from infra.hanging import SEAL_KEY, HangingWatch
from infra.kafka_client import AWAY, DENIED, client_config, new_client, translate
from infra.metrics import counter
from infra.settings import KafkaSettings
from infra.topics import MAX_MESSAGE_BYTES, MAX_REJECTED_BYTES

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
Headers = list[tuple[str, bytes]]

STEP_SECONDS = 0.5
"""Longest time in one call of the library; between two, the caller may give up."""

PATIENCE_SECONDS = 5.0
"""Kafka that has not answered for so long is said not to, at every fourfold of the time."""

STUCK_SECONDS = 60.0
"""A call that should return within :data:`STEP_SECONDS` and has not after so long will not return."""

REPORTS = 20
"""How often the library is asked what has become of the messages of a transaction that is over."""

LOOK_SECONDS = 5.0
"""How often a publisher looks for transactions that hang; a look takes some 5 ms."""

STANDING_SECONDS = 20.0
"""A transaction that is open for so long hangs, most probably: a killed worker's is undone by then."""

PASSING_SECONDS = 0.5
"""The same of a publisher that has just connected: nothing that is open is its own, and others' is soon over."""

IDLE_MS = 5_000

_BY_KEY = -1  # as the library says: the key decides on the partition

_SEALED = counter(
    "simvg_kafka_seals_total",
    "places where readers of committed messages waited for a transaction that Kafka had left open, until this process "
    "ended it",
)

# What waiting does not cure: the message itself is refused.
_REFUSED = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG})


@dataclass(slots=True)
class Sent:
    """One message of the open transaction: where it lies once the broker has it, or why it was refused or lost."""

    place: MessageReference | None = None
    refused: BrokerError | None = None
    lost: str | None = None


class TransactionalPublisher:
    """A producer whose messages belong to transactions. Used by one thread; connects at the first :meth:`begin`.

    A newer publisher with the same ``transactional_id`` fences this one: nothing that it sends afterwards counts. The
    broker does the same with a transaction that is open for longer than ``timeout_s``. ``given_up()`` is asked
    whenever the broker lets us wait. ``watch``: looks at what this publisher writes, so that it can end what hangs
    there (see :mod:`infra.hanging`).
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        transactional_id: str,
        client_id: str,
        given_up: Callable[[], bool],
        timeout_s: float = 10.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        watch: HangingWatch | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self._watch = watch
        self._looked = 0.0
        self._kafka = kafka
        self._given_up = given_up
        self._max_message_bytes = max_message_bytes
        self._config = client_config(kafka, client_id=client_id) | {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(timeout_s * 1000),
            # Room for key, headers and record framing, of which a rejected frame has most.
            "message.max.bytes": max(max_message_bytes, MAX_REJECTED_BYTES) + 64_000,
            "queue.buffering.max.kbytes": 512_000,
            # The next transaction may begin before the markers of the last one are written; the broker then asks to
            # come back, and the default of 100 ms would be most of a commit's time.
            "retry.backoff.ms": 10,
            # Messages go out when they are flushed, those of a partition in one request: one for each costs the broker
            # more than all else of a transaction. A flush does not wait for this time to pass.
            "linger.ms": 100,
            # After an outage of all brokers librdkafka 2.16 would forget its transaction coordinator with them and not
            # look for it again while a transaction is open. Known brokers and the bootstrap addresses are enough.
            "metadata.recovery.strategy": "none",
            # librdkafka 2.16 waits without limit for a group coordinator that has left the cluster, and looks for the
            # new one only when another of its connections changes (its issues 5456 and 5511): closing idle ones sees to
            # that within seconds.
            "connections.max.idle.ms": IDLE_MS,
        }
        self._producer: Producer | None = None
        self._sent: list[Sent] = []
        self._began = 0.0
        self._waits: tuple[str, float] | None = None
        self._answer = "no answer yet"
        self._told_s = PATIENCE_SECONDS
        self._called: float | None = None

    @property
    def stuck(self) -> BrokerError | None:
        """The error that a call of the Kafka library has not returned for too long: only a new process helps.

        Any thread."""
        called = self._called
        if called is None or _clock() - called < STUCK_SECONDS:
            return None
        return BrokerError(f"a call of the Kafka library does not return; {self.waits or 'it was asked nothing'}")

    @property
    def waits(self) -> str | None:
        """What Kafka is asked for, for how long by now, and its last answer; None when it is asked nothing.

        Any thread."""
        waits = self._waits
        if waits is None:
            return None
        what, since = waits
        return f"Kafka was asked to {what} {_clock() - since:.0f} s ago: {self._answer}"

    def begin(self) -> None:
        """Opens a transaction. Raises as :meth:`connect`."""
        self.connect()
        self._sent = []
        self._began = _clock()
        self._call(self._open().begin_transaction)

    def connect(self) -> None:
        """Connects, unless that is done; ends what a namesake has left open, also where that hangs.

        Raises BrokerUnavailable when given up, ProducerFenced, BrokerError.
        """
        if self._producer is None:
            producer = new_client(Producer, self._kafka, self._config)
            with self._asking("end what an earlier producer of this name has left open"):
                self._call(lambda: producer.init_transactions(STEP_SECONDS))
            self._producer = producer
            until = _clock() + PASSING_SECONDS
            while self._look() and self._looked <= until:
                time.sleep(0.1)
            self._seal(PASSING_SECONDS)

    @property
    def look_due(self) -> bool:
        """Whether :meth:`settle` has anything to do."""
        return self._watch is not None and self._producer is not None and _clock() >= self._looked + LOOK_SECONDS

    def settle(self) -> None:
        """Between transactions, when it is due: looks for what hangs, and ends it.

        Raises BrokerUnavailable when given up. A producer that is fenced meanwhile is so at the next :meth:`begin` too.
        """
        if self.look_due:
            self._look()
            with contextlib.suppress(ProducerFenced):
                self._seal(STANDING_SECONDS)

    def _look(self) -> bool:
        """Whether a reader waits somewhere, or that is not known."""
        if self._watch is None:
            return False
        self._looked = _clock()
        try:
            return self._watch.look(self._looked)
        except BrokerError as error:
            logger.debug("what hangs is not known: %s", error)
            return True

    def _seal(self, seconds: float) -> None:
        """Ends, by a commit, what readers had waited for so long when it was last looked."""
        if self._watch is None or not (waiting := self._watch.standing(self._looked, seconds)):
            return
        logger.warning("readers wait for a transaction that Kafka has left open: %s", ", ".join(map(str, waiting)))
        offsets, group = self._watch.spare_offset() if any(one.offset is None for one in waiting) else ([], None)
        try:
            self.begin()
            for one in waiting:
                if one.offset is not None:
                    self.send(Sent(), one.topic, key=SEAL_KEY, value=None, partition=one.partition)
            self.commit(offsets, group)
        except TransactionAborted as error:
            logger.warning("they wait on: %s", error)
            self.abort()
        else:
            _SEALED.inc(len(waiting))

    def send(
        self,
        sent: Sent,
        topic: str,
        *,
        key: bytes,
        value: bytes | None,
        headers: Headers | None = None,
        partition: int = _BY_KEY,
    ) -> None:
        """Adds a message; its fate goes to ``sent``. ``value`` None is a tombstone.

        Raises TransactionAborted, ProducerFenced, BrokerUnavailable when given up, BrokerError.
        """
        self._sent.append(sent)
        if value is not None and len(value) > self._max_message_bytes:
            sent.refused = MessageTooLarge(f"message of {len(value)} bytes is over {self._max_message_bytes} bytes")
            raise TransactionAborted(f"topic {topic}: {sent.refused}")

        def delivered(error: KafkaError | None, message: KafkaMessage) -> None:
            if error is None:
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None, "a confirmed message has a place"
                sent.place = MessageReference(topic=topic, partition=partition, offset=offset)
            elif error.code() in _REFUSED:
                sent.refused = translate(error, self._kafka, topic=topic)
            else:
                sent.lost = f"message for topic {topic}: {error.str()}"

        producer = self._open()

        def produce() -> None:
            try:
                producer.produce(
                    topic, key=key, value=value, partition=partition, headers=list(headers or []), on_delivery=delivered
                )
            except KafkaException as error:
                if error.args[0].code() == KafkaError._STATE:
                    raise TransactionAborted(self._why_over(producer)) from error
                raise

        with self._asking(f"take messages for {topic}"):
            while True:
                try:
                    return self._call(produce)
                except BufferError:
                    self._call(lambda: producer.poll(0.05))
                    self._check()

    def _why_over(self, producer: Producer) -> str:
        """Why the library takes no more messages: it has heard of an earlier one that the broker refused, or has lost
        one, while this one was made. What has become of which is known once the reports of it are read."""
        for _ in range(REPORTS):
            producer.poll(0.05)
            if found := [str(one.refused or one.lost) for one in self._sent if one.refused or one.lost]:
                return found[0]
        return "the transaction was over before all of it was written"

    def flush(self) -> None:
        """Waits until the broker has all messages so far and their places are known.

        Raises TransactionAborted, ProducerFenced, BrokerUnavailable when given up.
        """
        producer = self._open()
        with self._asking("confirm messages"):
            while self._call(lambda: producer.flush(STEP_SECONDS)):
                self._check()
        if any(sent.place is None for sent in self._sent):
            reasons = [str(one.refused or one.lost) for one in self._sent if one.refused or one.lost]
            raise TransactionAborted(reasons[0] if reasons else "messages were lost")

    def commit(self, offsets: Sequence[TopicPartition], group: Any) -> None:
        """Makes all of it visible, and ``offsets`` (the next to read) those of the consumer's group.

        ``group``: the consumer's :meth:`~infra.consumer.Consumer.group_metadata`; when the group has moved on since,
        the transaction is refused. Raises as :meth:`flush`.
        """
        producer = self._open()
        self.flush()
        if offsets:
            with self._asking("take the offsets of the transaction"):
                self._call(lambda: producer.send_offsets_to_transaction(list(offsets), group, STEP_SECONDS))
        with self._asking("commit the transaction"):
            self._call(lambda: producer.commit_transaction(STEP_SECONDS))
        self._sent = []

    def abort(self) -> None:
        """Undoes the open transaction. Raises ProducerFenced, BrokerUnavailable when given up."""
        producer = self._open()
        with self._asking("undo the transaction"):
            self._call(lambda: producer.abort_transaction(STEP_SECONDS))
        self._sent = []

    @property
    def overdue(self) -> bool:
        """Whether the transaction was open for so long (the process was paused) that the broker has ended it."""
        return _clock() - self._began >= self.timeout_s

    def discard(self) -> None:
        """Lets go of a producer that failed for good, without waiting; the next :meth:`begin` makes a new one."""
        producer, self._producer, self._sent = self._producer, None, []
        if producer is not None:
            with contextlib.suppress(KafkaException):  # what it died of is known
                producer.purge()
                producer.poll(0)

    def _open(self) -> Producer:
        assert self._producer is not None, "begin() comes first"
        return self._producer

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        self._answer, self._told_s = "no answer yet", PATIENCE_SECONDS
        self._waits = what, _clock()
        try:
            yield
        finally:
            self._waits = None

    def _check(self) -> None:
        if self._given_up():
            raise BrokerUnavailable(f"Kafka at {self._kafka.bootstrap} did not finish the transaction in time")
        waits = self._waits
        if waits is not None and _clock() - waits[1] >= self._told_s:
            self._told_s *= 4
            logger.warning("results wait: %s", self.waits)

    def _call(self, action: Callable[[], ResultT]) -> ResultT:
        """Again and again while the library says that this helps."""
        while True:
            self._called = _clock()
            try:
                return action()
            except (KafkaException, SystemError) as failed:
                # A fatal error is raised while the library runs callbacks, which Python may report as SystemError.
                error = failed if isinstance(failed, KafkaException) else failed.__cause__
                if not isinstance(error, KafkaException):
                    raise
                inner = error.args[0]
                if inner.code() in DENIED:
                    raise translate(inner, self._kafka) from error
                if inner.fatal():
                    by_namesake = inner.code() == KafkaError._FENCED
                    raise ProducerFenced(
                        f"Kafka at {self._kafka.bootstrap}: {inner.str()}", by_namesake=by_namesake
                    ) from error
                if inner.txn_requires_abort():
                    raise TransactionAborted(f"Kafka at {self._kafka.bootstrap}: {inner.str()}") from error
                if not inner.retriable() and inner.code() not in AWAY:
                    raise translate(error, self._kafka) from error
                if inner.code() != KafkaError._TIMED_OUT:  # that says only that nothing has come yet
                    self._answer = inner.str()
                self._check()
                if inner.code() != KafkaError._TIMED_OUT:
                    time.sleep(0.02)
            finally:
                self._called = None


def _clock() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
