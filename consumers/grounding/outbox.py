"""Everything that leaves a worker, written in Kafka transactions together with the offsets of the frames it came of.

What came of one frame is one :class:`Work`. A thread of its own takes what has gathered and writes it as one
transaction: evidence first, then, as its places are known now, the alerts and states that refer to it (of each alarm
the last state only), then the offsets. A transaction that fails is aborted and the same works are written again from
memory, in the same order; so the alarms need not be turned back. A work whose partition has gone to another worker is
dropped: that worker goes on from the last commit.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import TopicPartition

from consumers.grounding.commits import CommitBook
from consumers.grounding.offsets import Mark
from consumers.grounding.work import (
    Abandoned,
    Outgoing,
    Place,
    Slot,
    Work,
    cut_down,
    finishes,
    last_states,
    pictured,
    tell_reduced,
    to_reduce,
)
from infra.errors import BrokerUnavailable, ProducerFenced, TransactionAborted
from infra.metrics import counter, gauge, histogram
from infra.topics import topic_name
from infra.transactions import Sent, TransactionalPublisher

logger = logging.getLogger(__name__)

QUEUE_WORKS = 2_000
QUEUE_BYTES = 128_000_000
"""What waits for Kafka at most; the worker takes in no more frames until there is room."""

TICK_SECONDS = 0.1
HURRY_SECONDS = 0.005
REPEAT_SECONDS = 0.1

HELD_UP_SECONDS = 5.0
"""A transaction takes some 20 ms, a change of leaders a second or two: after this, results are said to be held up."""

_TRANSACTIONS = counter("simvg_worker_transactions_total", "transactions, committed or aborted", ("outcome",))
_COMMIT = histogram("simvg_worker_commit_seconds", "from the beginning of a transaction to its commit")
_DELIVERED = counter("simvg_worker_messages_committed_total", "messages in committed transactions", ("topic",))
_FENCED = counter(
    "simvg_worker_fenced_total",
    "times that the broker took this worker for dead, or its producer failed for good, and it went on with a new one",
)
_WAITING = gauge("simvg_worker_outbox_works", "frames whose results wait for their transaction")

ReadMarks = Callable[[Collection[int]], dict[int, str | None]]
SentMessages = dict[Slot, tuple[Outgoing, Sent]]


class Outbox:
    """Writes works through one transactional publisher. :meth:`start` it first.

    A transaction begins ``interval_s`` after its first work has come, at ``works`` of them, or at once when one of
    them holds an alert. ``read_metadata`` gives the metadata that is committed for partitions: asked after a failure
    that leaves open whether the last transaction counts. ``doubts_group``: a transaction was refused, perhaps because
    the group has moved on; to be taken back by whoever asks for the membership.
    """

    def __init__(
        self,
        publisher: TransactionalPublisher,
        commits: CommitBook,
        *,
        prefix: str,
        name: str,
        interval_s: float,
        works: int,
        read_metadata: ReadMarks,
        given_up: threading.Event,
    ) -> None:
        self._publisher = publisher
        self._commits = commits
        self._prefix = prefix
        self._name = name
        self._interval_s = interval_s
        self._works = works
        self._read_metadata = read_metadata
        self._given_up = given_up
        self._frames = topic_name(prefix, "frames")
        self._changed = threading.Condition()
        self._queue = deque[tuple[float, Work]]()
        self._bytes = 0
        self._group: Any = None
        self.doubts_group = False
        self._hurried = 0
        self._closing = False
        self._failure: Exception | None = None
        # Where each alert's last picture lies, for as long as this worker has the alert: committed, and being written.
        self._evidence, self._pictured = dict[str, Place](), dict[str, Place]()
        self._life = uuid.uuid4().hex[:8]  # another life of this worker counts from 1 again
        self._number = 0
        self._last = time.monotonic()
        self._writing: float | None = None
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def failure(self) -> Exception | None:
        """What cannot be cured by writing again; the worker must stop."""
        return self._failure or self._publisher.stuck

    @property
    def full(self) -> bool:
        """Whether so much waits for Kafka that no more frames should be fetched."""
        with self._changed:
            return len(self._queue) > QUEUE_WORKS // 2 or self._bytes > QUEUE_BYTES // 2

    @property
    def trouble(self) -> str | None:
        """Why results are not committed, in words, when that takes longer than is usual. Any thread."""
        since, full = self._writing, self.full
        waited = 0.0 if since is None else time.monotonic() - since
        if waited < HELD_UP_SECONDS and not full:
            return None
        why = self._publisher.waits or self._said or "more come than it takes"
        return f"wait for Kafka for {waited:.0f} s ({why})" + ("; no more frames are taken in" if full else "")

    def join_group(self, group: Any) -> None:
        """Membership under which offsets are committed from now on; None: not known, nothing is written."""
        with self._changed:
            awaited, self._group = self._group is None, group
            if awaited:
                self._changed.notify_all()

    def wait_for_room(self) -> None:
        """Returns when more may be :meth:`put`. Raises Abandoned when the worker stops before."""
        with self._changed:
            while len(self._queue) >= QUEUE_WORKS or self._bytes >= QUEUE_BYTES:
                if self._given_up.is_set() or self._failure is not None:
                    raise Abandoned("worker stops: results were not written, their frames are done again")
                self._changed.wait(TICK_SECONDS)

    def put(self, work: Work) -> None:
        """Takes a work in, to be written in its turn."""
        with self._changed:
            self._queue.append((time.monotonic(), work))
            self._bytes += work.size
            _WAITING.set(len(self._queue))
            if work.urgent or self._hurried or len(self._queue) in (1, self._works):
                self._changed.notify_all()

    def drain(self, partitions: Collection[int], seconds: float) -> bool:
        """Commits what there is of these partitions as soon as it comes; False when some is open after ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
        try:
            while not self._idle(partitions):
                stopped = self._given_up.is_set() or self._failure is not None or not self._thread.is_alive()
                if stopped or time.monotonic() > deadline:
                    return False
                self._commits.wait_idle(partitions, TICK_SECONDS)
            return True
        finally:
            with self._changed:
                self._hurried -= 1

    def forget(self, partitions: Collection[int]) -> None:
        """Drops what waits of partitions that went to another worker."""
        with self._changed:
            self._queue = deque((at, work) for at, work in self._queue if work.partition not in partitions)
            self._bytes = sum(work.size for _, work in self._queue)
            self._evidence = {id: one for id, one in self._evidence.items() if one[0] not in partitions}
            _WAITING.set(len(self._queue))
            self._changed.notify_all()

    def close(self, seconds: float | None = None) -> int:
        """Ends at once, or after ``seconds`` at most. Returns of how many frames the results were not written."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)
        if not self._thread.is_alive():  # else the producer is still in its hands
            self._publisher.discard()
        with self._changed:
            return sum(work.offset is not None for _, work in self._queue)

    @property
    def ended(self) -> bool:
        """Whether nothing is written or asked of the broker any more."""
        return not self._thread.is_alive()

    def _idle(self, partitions: Collection[int]) -> bool:
        with self._changed:
            waiting = any(work.partition in partitions for _, work in self._queue)
        return not waiting and self._commits.wait_idle(partitions, 0.0)

    def _run(self) -> None:
        try:
            self._writing = time.monotonic()
            self._publisher.connect()  # at once: what an earlier life has left open keeps its partitions from everybody
            while self._wait_for_work():
                self._writing = time.monotonic()
                self._publisher.settle()
                self._write(self._writing)
        except BrokerUnavailable as error:
            if not self._given_up.is_set() and not self._closing:
                self._failure = error
            logger.warning("worker stops with results that were not written: %s", error)
        except Exception as error:
            logger.exception("results cannot be written")
            self._failure = error
        finally:
            with self._changed:
                self._changed.notify_all()

    def _wait_for_work(self) -> bool:
        """Until a transaction is due, or a look at those before it; False at the end."""
        self._writing, self._said = None, ""
        with self._changed:
            while not self._closing and not self._due(time.monotonic()):
                self._changed.wait(self._rest(time.monotonic()))
            return not self._closing

    def _rest(self, now: float) -> float:
        """Seconds until something may be due that nobody tells of."""
        if self._group is None:
            return TICK_SECONDS
        first = self._queue[0][0] if self._queue else self._last
        left = first + self._interval_s - now
        if left <= 0:  # only skipped frames are to come, and they are not told of
            return HURRY_SECONDS if self._hurried else TICK_SECONDS
        return min(left, TICK_SECONDS)

    def _due(self, now: float) -> bool:
        if self._publisher.look_due:
            return True
        if self._group is None:
            return False
        if not self._queue:
            return (self._hurried > 0 or now - self._last >= self._interval_s) and bool(self._commits.marks({}))
        if self._hurried or len(self._queue) >= self._works or now - self._queue[0][0] >= self._interval_s:
            return True
        return any(work.urgent for _, work in self._queue)

    def _write(self, began: float) -> None:
        """One transaction, tried until it is committed or nothing of it is ours any more."""
        with self._changed:
            works = [work for _, work in list(self._queue)[: self._works]]
        cuts: Counter[Slot] = Counter()
        while True:
            with self._changed:
                # Read before the leases: of a partition taken away in between, the broker takes no commit under it.
                group = self._group
            if group is None:
                return None
            works = [work for work in works if self._commits.lease(work.partition) == work.lease]
            finishing = finishes(works)
            marks = self._commits.marks(finishing)
            if not works and not marks:
                return self._remove(works)
            self._number += 1
            try:
                self._attempt(works, marks, group, cuts)
            except TransactionAborted as error:
                self.doubts_group = True
                self._said = f"its last transaction was undone: {error}"
                logger.warning("transaction is written again: %s", error)
            except ProducerFenced as error:
                if self._counts_all_the_same(error, marks):
                    return self._succeed(works, finishing, marks, began)
            else:
                return self._succeed(works, finishing, marks, began)
            _TRANSACTIONS.labels("aborted").inc()
            if self._given_up.wait(REPEAT_SECONDS) or self._closing:
                raise BrokerUnavailable("the worker was told to stop")

    def _attempt(self, works: list[Work], marks: Mapping[int, Mark], group: Any, cuts: Counter[Slot]) -> None:
        """Raises TransactionAborted, with nothing written and the transaction closed; ProducerFenced; BrokerError."""
        self._publisher.begin()
        sent: SentMessages = {}
        try:
            for work in works:
                self._send(work, "evidence", work.evidence, cuts, sent)
            if sent:
                self._publisher.flush()
            self._pictured, last = {}, last_states(works)
            for work in works:
                self._pictured |= pictured(work, sent)
                places = {alert: place for alert, (_, place) in (self._evidence | self._pictured).items()}
                self._send(work, "messages", work.messages(places), cuts, sent)
                for key, state in work.states.items():
                    if last[key] == id(work):
                        self._send(work, key, [state(places)], cuts, sent)
            offsets = [
                TopicPartition(self._frames, partition, mark.offset, mark.metadata(self._transaction))
                for partition, mark in marks.items()
            ]
            self._publisher.commit(offsets, group)
        except TransactionAborted:
            refused = {slot: (message, one.refused) for slot, (message, one) in sent.items() if one.refused is not None}
            if refused:
                self._publisher.abort()
            else:  # a new producer ends what this one leaves open, and has no stale word of where coordinators are
                self._publisher.discard()
            for slot in to_reduce(refused):
                cuts[slot] += 1
                tell_reduced(*refused[slot])
            raise
        for message, _ in sent.values():
            _DELIVERED.labels(message.topic).inc()

    def _send(
        self, work: Work, part: str, messages: Collection[Outgoing], cuts: Counter[Slot], sent: SentMessages
    ) -> None:
        for number, original in enumerate(messages):
            slot = (id(work), part, number)
            message = cut_down(original, cuts[slot])
            if message is None:
                continue
            one = Sent()
            sent[slot] = message, one
            topic = topic_name(self._prefix, message.topic)
            self._publisher.send(one, topic, key=message.key, value=message.value, headers=message.headers)

    def _counts_all_the_same(self, error: ProducerFenced, marks: Mapping[int, Mark]) -> bool:
        """After the producer failed for good: whether the broker has committed its last transaction.

        Raises ProducerFenced when another process has taken over this worker's name.
        """
        overdue = self._publisher.overdue
        self._publisher.discard()
        if not overdue and error.by_namesake:
            raise ProducerFenced(
                f"another worker with the id {self._name!r} was started and has taken over its name; "
                "give every worker an id of its own (--id)",
                by_namesake=True,
            ) from error
        _FENCED.inc()
        logger.warning("the worker was held up or its producer failed; it goes on with a new one: %s", error)
        self._publisher.connect()  # the broker ends what the old one left open: now it is settled
        committed = self._patiently_read(marks) if marks else {}
        return any((text or "").partition(" ")[0] == self._transaction for text in committed.values())

    def _patiently_read(self, partitions: Collection[int]) -> dict[int, str | None]:
        """What is committed, however long the broker takes. Raises BrokerUnavailable when the worker stops before."""
        while True:
            try:
                return self._read_metadata(partitions)
            except BrokerUnavailable as error:
                if not self._said.startswith("asked"):
                    logger.warning("whether the last transaction counts is not known yet: %s", error)
                self._said = f"asked whether its last transaction counts: {error}"
                if self._given_up.wait(REPEAT_SECONDS) or self._closing:
                    raise

    @property
    def _transaction(self) -> str:
        return f"{self._name}-{self._life}-{self._number}"

    def _succeed(
        self, works: list[Work], finishing: Mapping[int, Mapping[int, str]], marks: Mapping[int, Mark], began: float
    ) -> None:
        _TRANSACTIONS.labels("committed").inc()
        _COMMIT.observe(time.monotonic() - began)
        self._evidence |= self._pictured
        for work in works:
            work.committed()
            for alert in work.ended:
                self._evidence.pop(alert, None)
        self._remove(works)
        self._commits.committed(finishing, marks)

    def _remove(self, works: list[Work]) -> None:
        """Takes written works, and those that are not ours any more, out of the queue."""
        written = {id(work) for work in works}
        with self._changed:
            self._queue = deque(
                (at, work)
                for at, work in self._queue
                if id(work) not in written and self._commits.lease(work.partition) == work.lease
            )
            self._bytes = sum(work.size for _, work in self._queue)
            self._last = time.monotonic()
            _WAITING.set(len(self._queue))
            self._changed.notify_all()
