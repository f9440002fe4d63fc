"""Reading frames: polls Kafka, checks headers, fills the mailbox, takes partitions over and hands them over."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import OFFSET_INVALID, Message, TopicPartition

from consumers.grounding.commits import CommitBook
from consumers.grounding.frames import Frame
from consumers.grounding.ledger import Ledger, SkipReason
from consumers.grounding.listening import Listening
from consumers.grounding.mailbox import Mailbox
from consumers.grounding.offsets import WINDOW
from consumers.grounding.outbox import Outbox
from consumers.grounding.resuming import ASK_SECONDS, last_marks
from consumers.grounding.settings import WorkerSettings
from consumers.grounding.skips import SkipLog
from consumers.grounding.stalls import Stalls
from consumers.grounding.work import Outgoing, Work
from infra.cloudevents import Headers, frame_headers, headers_of, read_frame, require_near
from infra.contact import Contact
from infra.contracts import FrameReference, MessageReference, utc_from_ns
from infra.errors import BadFrameMessage, BrokerError, BrokerUnavailable
from infra.kafka import Consumer, committed_offsets, subscribe
from infra.metrics import counter, gauge
from infra.topics import topic_name

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
GROUP_SECONDS = 1.0
"""A membership is asked for anew after this, or when a transaction was refused: it changes when others come and go, and
the library lets the whole program wait for its answer."""
FETCH_AT_ONCE = 256
UNKNOWN_CAMERA = "unknown"

_ASSIGNED = gauge("simvg_worker_partitions_assigned", "partitions of frames that this worker holds")
_PAUSED = gauge("simvg_worker_partitions_paused", "partitions not fetched now because their frames cannot be taken in")
_PAUSES = counter(
    "simvg_worker_pauses_total",
    "times that a partition was not fetched any more because its frames could not be taken in; what the client had "
    "fetched ahead of it is fetched again",
)
_LAG = gauge("simvg_worker_lag_frames", "frames in the partitions of this worker that it has not read yet")
_STALLED = counter(
    "simvg_worker_partitions_stalled_total",
    "times that a partition gave nothing though there was more, and was begun anew",
)

OnAssigned = Callable[[set[int]], Callable[[], object]]
OnRevoked = Callable[[set[int]], None]


class Fetcher:
    """The worker's consumer. :meth:`step` again and again from one thread; it must never be kept waiting for long."""

    def __init__(
        self,
        settings: WorkerSettings,
        mailbox: Mailbox,
        ledger: Ledger,
        commits: CommitBook,
        outbox: Outbox,
        skips: SkipLog,
        *,
        turn: threading.Lock,
        stopping: Callable[[], bool],
        on_assigned: OnAssigned,
        on_revoked: OnRevoked,
        heard: Callable[[str], object],
    ) -> None:
        """``turn``: held while a frame is judged, and here while partitions come and go. ``on_assigned`` prepares for
        partitions before they are taken; ``on_revoked`` runs in turn. ``heard`` is told the camera of every frame that
        is skipped: it did not fall silent."""
        self._settings = settings
        self._topic = topic_name(settings.kafka.prefix, "frames")
        self._mailbox = mailbox
        self._ledger = ledger
        self._commits = commits
        self._outbox = outbox
        self._skips = skips
        self._turn = turn
        self._stopping = stopping
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._heard = heard
        self._consumer: Consumer | None = None
        self._next: dict[int, int] = {}
        self._paused: set[int] = set()
        self._joining = False
        self._group: Any = None
        self._asked = 0.0
        self._stalls = Stalls()
        self._contact, self._listening = Contact(), Listening()

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
            instance_id=self._settings.worker_id if self._settings.static_member else None,
            session_timeout_s=self._settings.session_timeout_s,
            contact=self._contact,
        )

    def step(self) -> None:
        """Reads what there is, waiting a moment for the first message. Raises BrokerError, Abandoned."""
        consumer = self._consumer
        assert consumer is not None, "open() comes first"
        # Asked before the polling: should these partitions be lost by then, polling tells us before it is used.
        group = self._membership(consumer)
        try:
            first = consumer.poll(POLL_SECONDS)
        except BrokerUnavailable as error:
            if not self._stopping():
                raise
            logger.warning("told to stop while partitions were being taken over: %s", error)
            return
        drained = first is None
        if first is not None:
            self._accept(first)
            following = consumer.consume(FETCH_AT_ONCE, 0.0)
            drained = len(following) < FETCH_AT_ONCE
            for message in following:
                self._accept(message)
        if drained and self._commits.partitions and not self._joining:
            self._outbox.join_group(group)
        self._joining = False
        self._listen()
        self._look_ahead(consumer)
        self._back_pressure(consumer)
        self._revive(consumer)

    def listened_ns(self) -> Mapping[int, int]:
        """For how long each partition has been read in all: not while partitions are taken over or its broker does not
        answer, and while it is paused only as far as what was written meanwhile has been read since. Any thread."""
        return self._listening.listened_ns()

    def _listen(self) -> None:
        held, paused = self._commits.partitions, self._paused
        heard, there = self._contact.heard(self._topic), self._contact.there(self._topic)
        away = (held - paused - heard) | (paused - there)
        self._listening.polled((held - paused) & heard, paused=paused & there, unheard=away)

    def _membership(self, consumer: Consumer) -> Any:
        now = time.monotonic()
        if self._group is None or self._outbox.doubts_group or now - self._asked >= GROUP_SECONDS:
            self._outbox.doubts_group = False
            self._group, self._asked = consumer.group_metadata(), now
        return self._group

    def close(self, seconds: float | None = None) -> None:
        """Leaves the group, when what is done is committed; waits for the broker's word, but no longer than
        ``seconds``. Nothing else may be asked of it any more."""
        if self._consumer is None:
            return
        leaving = threading.Thread(target=self._consumer.close, name="leaving", daemon=True)
        leaving.start()
        leaving.join(seconds)
        if leaving.is_alive():
            logger.warning("the group could not be left in time; others get the cameras after the session time-out")

    def committed_metadata(self, partitions: Collection[int]) -> dict[int, str | None]:
        """What stands beside the committed offsets. Any thread. Raises BrokerError."""
        found = committed_offsets(
            self._settings.kafka,
            self._settings.group,
            self._parts(partitions),
            client_id=self._settings.worker_id,
            seconds=ASK_SECONDS,
        )
        return {part.partition: part.metadata for part in found}

    def skip(self, frame: Frame, reason: SkipReason) -> None:
        """A frame will not be scored and its offset may be committed. Any thread."""
        if self._commits.lease(frame.place.partition) != frame.lease:
            # It was read again, or is another worker's: what becomes of it is told there.
            self.leave(frame, "handed_over")
            return
        self._heard(frame.camera)
        self._ledger.skipped(frame.camera, _place(frame), reason)
        self._skips.add(frame.header, reason)
        self._commits.finish(*_place(frame), f"skipped_{reason}", lease=frame.lease)

    def leave(self, frame: Frame, reason: SkipReason) -> None:
        """A frame is left to the next reader of its partition. Any thread."""
        self._ledger.skipped(frame.camera, _place(frame), reason)
        self._commits.abandon(*_place(frame), lease=frame.lease)

    def reject(self, frame: Frame, reason: str, error: Exception) -> None:
        """A frame whose image is of no use goes to frames-rejected. Any thread."""
        original = MessageReference(topic=frame.place.topic, partition=frame.place.partition, offset=frame.place.offset)
        facts = {"camera": frame.camera, "partition": original.partition, "offset": original.offset, "reason": reason}
        logger.warning("frame rejected: %s", error, extra=facts)
        kind, headers = frame.header.content_type, frame_headers(frame.header)
        message = Outgoing.rejected(
            original, frame.camera.encode(), frame.image, reason=reason, error=error, kind=kind, headers=headers
        )
        self._put(original, frame.lease, message, reason)
        self._ledger.rejected(frame.camera, _place(frame), reason)

    def _accept(self, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None, "a consumed message has a place"
        self._next[partition] = offset + 1
        self._stalls.gave(partition)
        self._listening.gave(partition, message.timestamp()[1] * 1_000_000)
        if not self._commits.start(partition, offset):
            return
        lease = self._commits.lease(partition)
        key, value = message.key(), message.value() or b""
        headers: Headers = []
        original = MessageReference(topic=self._topic, partition=partition, offset=offset)
        try:
            headers = headers_of(message)
            header = read_frame(headers, _bytes(key))
            require_near(header, time.time_ns())
        except BadFrameMessage as error:
            self._ledger.fetched(UNKNOWN_CAMERA, (partition, offset))
            facts = {"partition": partition, "offset": offset, "reason": error.reason}
            logger.warning("message rejected: %s", error, extra=facts)
            rejected = Outgoing.rejected(
                original,
                _bytes(key),
                value,
                reason=error.reason,
                error=error,
                kind=None,
                headers=headers,
            )
            self._put(original, lease, rejected, error.reason)
            self._ledger.rejected(UNKNOWN_CAMERA, (partition, offset), error.reason)
            return
        place = FrameReference(
            **original.model_dump(), sequence=header.sequence, captured_at=utc_from_ns(header.captured_ns)
        )
        self._ledger.fetched(header.camera, (partition, offset))
        for replaced in self._mailbox.offer(Frame(header, place, value, time.time_ns(), lease)):
            self.skip(replaced, "behind")

    def _put(self, original: MessageReference, lease: int, message: Outgoing, reason: str) -> None:
        self._outbox.put(
            Work(
                partition=original.partition,
                lease=lease,
                offset=original.offset,
                messages=lambda _: [message],
                fate=f"rejected_{reason}",
                size=len(message.value or b""),
            )
        )

    def _look_ahead(self, consumer: Consumer) -> None:
        """Tells the mailbox which partitions have more to read, by the broker's last word."""
        now, lag = time.monotonic(), 0
        for partition, following in self._next.items():
            _, end = consumer.watermarks(TopicPartition(self._topic, partition))
            lag += max(end - following, 0)
            self._mailbox.hold(partition, behind=following < end, now=now)
            (self._listening.lags if following < end else self._listening.caught_up)(partition)
        _LAG.set(lag)

    def _back_pressure(self, consumer: Consumer) -> None:
        crowded = self._outbox.full
        wide = self._commits.partitions if crowded else self._commits.wide(WINDOW)
        full = ((self._mailbox.full() | wide) - self._paused) & self._commits.partitions
        if full:
            consumer.pause(self._parts(full))
            _PAUSES.inc(len(full))
        narrow = self._paused - self._commits.wide(WINDOW // 2) if not crowded else set()
        roomy = {partition for partition in narrow if self._mailbox.roomy(partition)} - full
        if roomy:
            consumer.resume(self._parts(roomy))
        if full or roomy:
            self._paused = (self._paused | full) - roomy
            _PAUSED.set(len(self._paused))

    def _revive(self, consumer: Consumer) -> None:
        """Begins the reading of a partition anew that gives nothing although its broker has more."""
        for partition in self._stalls.suspects(self._commits.partitions - self._paused):
            place = TopicPartition(self._topic, partition, self._next.get(partition, OFFSET_INVALID))
            try:
                first, end = consumer.watermarks(place, cached=False, seconds=1.0)
                if place.offset < 0 and self._settings.from_beginning:
                    place.offset = first
                if self._stalls.stalled(partition, behind=0 <= place.offset < end):
                    _STALLED.inc()
                    facts = {"partition": partition, "offset": place.offset, "frames": end - place.offset}
                    logger.error("partition gives nothing although there is more; it is begun anew", extra=facts)
                    consumer.begin_anew(place)
            except BrokerError as error:  # a broker that is away, or a partition that is just being taken away
                logger.debug("partition could not be looked at: %s", error)

    def _parts(self, partitions: Collection[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(partitions)]

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {partition.partition for partition in partitions}
        logger.info("partitions assigned: %s", sorted(numbers))
        # The old membership does not cover the new partitions; nothing of them is written before the next step.
        self._leave_group()
        if not numbers:
            return
        adopt = self._on_assigned(numbers)
        marks = last_marks(consumer, self._parts(numbers), stopping=self._stopping)
        with self._turn:
            adopt()
            self._commits.assign(marks)
        self._next |= {partition: mark.offset for partition, mark in marks.items() if mark is not None}
        # From what the marks say, not from what is committed later: the two must not differ.
        consumer.assign_more(
            [
                TopicPartition(self._topic, partition, OFFSET_INVALID if mark is None else mark.offset)
                for partition, mark in marks.items()
            ]
        )
        _ASSIGNED.set(len(self._commits.partitions))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {partition.partition for partition in partitions} & self._commits.partitions
        self._group = None
        if numbers and not self._stopping():
            # The group may have moved on since it was last asked about, and nobody asks while this drains.
            with contextlib.suppress(BrokerError):
                self._outbox.join_group(self._membership(consumer))
        self._release(numbers, ours=True)
        self._group = None

    def _leave_group(self) -> None:
        """Nothing is committed until the next step has asked for the membership anew."""
        self._outbox.join_group(None)
        self._joining, self._group = True, None

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {partition.partition for partition in partitions} & self._commits.partitions
        logger.warning("partitions lost: %s; their frames are done again by their next owner", sorted(numbers))
        self._release(numbers, ours=False)

    def _release(self, numbers: set[int], *, ours: bool) -> None:
        if not ours:
            # Whatever membership comes next is not to be used for the frames of the last.
            self._leave_group()
        if not numbers:
            return
        for frame in self._mailbox.drop(numbers):
            self.leave(frame, "handed_over")
        if ours and not self._outbox.drain(numbers, self._settings.drain_s):
            logger.warning("partitions %s are handed over with frames in flight; these are done again", sorted(numbers))
        with self._turn:
            self._on_revoked(numbers)
            self._commits.revoke(numbers)
        self._outbox.forget(numbers)
        self._paused -= numbers
        self._listening.forget(numbers)
        for number in numbers:
            self._next.pop(number, None)
        _ASSIGNED.set(len(self._commits.partitions))
        _PAUSED.set(len(self._paused))
        logger.info("partitions handed over: %s", sorted(numbers))


def _place(frame: Frame) -> tuple[int, int]:
    return frame.place.partition, frame.place.offset


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
