"""Reading frames: polls Kafka, checks headers, fills the mailbox, pauses and resumes, commits what is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

from confluent_kafka import Message, TopicPartition

from consumers.grounding.commits import CommitBook
from consumers.grounding.frames import Frame
from consumers.grounding.ledger import Ledger, SkipReason
from consumers.grounding.mailbox import Mailbox
from consumers.grounding.outbox import Outbox
from consumers.grounding.settings import WorkerSettings
from infra.cloudevents import frame_headers, read_frame
from infra.contracts import FrameReference, MessageReference, utc_from_ns
from infra.errors import BadFrameMessage, BrokerError
from infra.kafka import Consumer, subscribe
from infra.metrics import counter, gauge
from infra.topics import topic_name

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
FETCH_AT_ONCE = 256
UNKNOWN_CAMERA = "unknown"

_ASSIGNED = gauge("simvg_worker_partitions_assigned", "partitions of frames that this worker holds")
_PAUSED = gauge("simvg_worker_partitions_paused", "partitions not fetched now because their frames cannot be taken in")
_FAILED_COMMITS = counter("simvg_worker_commits_failed_total", "commits of offsets that the broker did not take")

OnPartitions = Callable[[set[int]], None]


class Fetcher:
    """The worker's consumer. :meth:`step` again and again from one thread; it must never be kept waiting for long."""

    def __init__(
        self,
        settings: WorkerSettings,
        mailbox: Mailbox,
        ledger: Ledger,
        commits: CommitBook,
        outbox: Outbox,
        *,
        on_assigned: OnPartitions,
        on_revoked: OnPartitions,
    ) -> None:
        self._settings = settings
        self._topic = topic_name(settings.kafka.prefix, "frames")
        self._mailbox = mailbox
        self._ledger = ledger
        self._commits = commits
        self._outbox = outbox
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._consumer: Consumer | None = None
        self._next: dict[int, int] = {}
        self._behind: set[int] = set()
        self._paused: set[int] = set()
        self._commit_at = 0.0

    def open(self) -> None:
        """Joins the group; connects at the first :meth:`step`."""
        self._consumer = subscribe(
            self._settings.kafka,
            self._settings.group,
            [self._topic],
            client_id=self._settings.worker_id,
            from_beginning=self._settings.from_beginning,
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def step(self) -> None:
        """Reads what there is, waiting a moment for the first message. Raises BrokerError, Abandoned."""
        consumer = self._consumer
        assert consumer is not None, "open() comes first"
        first = consumer.poll(POLL_SECONDS)
        if first is not None:
            self._accept(first)
            for message in consumer.consume(FETCH_AT_ONCE, 0.0):
                self._accept(message)
        self._look_ahead(consumer)
        self._back_pressure(consumer)
        if time.monotonic() >= self._commit_at:
            self.commit(wait=False)

    def commit(self, *, wait: bool) -> None:
        """Commits what is done since the last time. A refusal is counted: the frames will be read again."""
        self._commit_at = time.monotonic() + self._settings.commit_interval_s
        due = self._commits.due()
        if not due or self._consumer is None:
            return
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in due.items()]
        try:
            self._consumer.commit(offsets, wait=wait)
        except BrokerError as error:
            _FAILED_COMMITS.inc()
            logger.warning("offsets were not committed: %s", error)
        else:
            self._commits.committed(due)

    def close(self) -> None:
        """Commits and leaves the group."""
        if self._consumer is not None:
            self.commit(wait=True)
            self._consumer.close()

    def skip(self, frame: Frame, reason: SkipReason) -> None:
        """A frame will not be scored and its offset may be committed. Any thread."""
        self._ledger.skipped(frame.camera, _place(frame), reason)
        self._commits.finish(*_place(frame))

    def leave(self, frame: Frame, reason: SkipReason) -> None:
        """A frame is left to the next reader of its partition. Any thread."""
        self._ledger.skipped(frame.camera, _place(frame), reason)
        self._commits.abandon(*_place(frame))

    def reject(self, frame: Frame, reason: str, error: Exception) -> None:
        """A frame whose image is of no use goes to frames-rejected. Any thread. Raises Abandoned."""
        original = MessageReference(topic=frame.place.topic, partition=frame.place.partition, offset=frame.place.offset)
        facts = {"camera": frame.camera, "partition": original.partition, "offset": original.offset, "reason": reason}
        logger.warning("frame rejected: %s", error, extra=facts)
        self._outbox.reject(
            original,
            frame.camera.encode(),
            frame.image,
            reason=reason,
            error=error,
            content_type=frame.header.content_type,
            headers=frame_headers(frame.header),
            confirmed=lambda _: self._commits.finish(*_place(frame)),
        )
        self._ledger.rejected(frame.camera, _place(frame), reason)

    def _accept(self, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None, "a consumed message has a place"
        self._next[partition] = offset + 1
        if not self._commits.start(partition, offset):
            return
        key, value, headers = message.key(), message.value() or b"", message.headers()
        original = MessageReference(topic=self._topic, partition=partition, offset=offset)
        try:
            header = read_frame(_headers(headers), _bytes(key))
            captured_at = _captured_at(header.captured_ns)
        except BadFrameMessage as error:
            self._ledger.fetched(UNKNOWN_CAMERA, (partition, offset))
            facts = {"partition": partition, "offset": offset, "reason": error.reason}
            logger.warning("message rejected: %s", error, extra=facts)
            self._outbox.reject(
                original,
                _bytes(key),
                value,
                reason=error.reason,
                error=error,
                content_type=None,
                headers=_headers(headers) or [],
                confirmed=lambda _: self._commits.finish(partition, offset),
            )
            self._ledger.rejected(UNKNOWN_CAMERA, (partition, offset), error.reason)
            return
        place = FrameReference(**original.model_dump(), sequence=header.sequence, captured_at=captured_at)
        self._ledger.fetched(header.camera, (partition, offset))
        for replaced in self._mailbox.offer(Frame(header, place, value, time.time_ns())):
            self.skip(replaced, "behind")

    def _look_ahead(self, consumer: Consumer) -> None:
        """Tells the mailbox which partitions have more to read, by the broker's last word."""
        now = time.monotonic()
        for partition, following in self._next.items():
            _, end = consumer.watermarks(TopicPartition(self._topic, partition))
            self._mailbox.hold(partition, behind=following < end, now=now)

    def _back_pressure(self, consumer: Consumer) -> None:
        full = (self._mailbox.full() - self._paused) & self._commits.partitions
        if full:
            consumer.pause([TopicPartition(self._topic, partition) for partition in full])
        roomy = {partition for partition in self._paused if self._mailbox.roomy(partition)}
        if roomy:
            consumer.resume([TopicPartition(self._topic, partition) for partition in roomy])
        if full or roomy:
            self._paused = (self._paused | full) - roomy
            _PAUSED.set(len(self._paused))

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {partition.partition for partition in partitions}
        logger.info("partitions assigned: %s", sorted(numbers))
        self._on_assigned(numbers)
        self._commits.assign(numbers)
        _ASSIGNED.set(len(self._commits.partitions))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {partition.partition for partition in partitions} & self._commits.partitions
        self._release(numbers, commit=True)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {partition.partition for partition in partitions} & self._commits.partitions
        logger.warning("partitions lost: %s; their frames are done again by their next owner", sorted(numbers))
        self._release(numbers, commit=False)

    def _release(self, numbers: set[int], *, commit: bool) -> None:
        if not numbers:
            return
        for frame in self._mailbox.drop(numbers):
            self.leave(frame, "handed_over")
        if not self._commits.wait_idle(numbers, self._settings.drain_s):
            logger.warning("partitions %s are handed over with frames in flight; these are done again", sorted(numbers))
        if commit:
            self.commit(wait=True)
        self._on_revoked(numbers)
        self._commits.revoke(numbers)
        self._paused -= numbers
        for number in numbers:
            self._next.pop(number, None)
        _ASSIGNED.set(len(self._commits.partitions))
        _PAUSED.set(len(self._paused))
        logger.info("partitions handed over: %s", sorted(numbers))


def _place(frame: Frame) -> tuple[int, int]:
    return frame.place.partition, frame.place.offset


def _captured_at(ns: int) -> datetime:
    try:
        return utc_from_ns(ns)
    except (ValueError, OverflowError, OSError) as error:
        raise BadFrameMessage(f"capture time {ns} ns is after the year 9999", reason="bad_header") from error


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _headers(headers: object) -> list[tuple[str, bytes]] | None:
    """Headers as the client gives them: a list of pairs, or none at all."""
    return headers if isinstance(headers, list) else None
