"""Partitions that go and come back while frames of them are under way; only Kafka is made up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TopicPartition

from consumers.grounding.commits import CommitBook
from consumers.grounding.fetch import Fetcher
from consumers.grounding.frames import Frame
from consumers.grounding.ledger import Ledger, SkipReason
from consumers.grounding.mailbox import Mailbox
from consumers.grounding.offsets import Mark
from consumers.grounding.outbox import Outbox
from consumers.grounding.settings import WorkerSettings
from consumers.grounding.skips import SkipLog
from consumers.grounding.work import Work
from infra.kafka import Consumer
from tests.consumers.grounding.test_mailbox import frame, freshness
from tests.infra.test_contact import statistics

BEGIN = 100


@dataclass
class Written:
    """A message that is no frame."""

    at: int
    written_ms: int

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_CREATE_TIME, self.written_ms

    def key(self) -> bytes:
        return b"line-1"

    def value(self) -> bytes:
        return b""

    def headers(self) -> None:
        return None


class Broker:
    """A consumer and an outbox, of which nothing is asked but to agree."""

    full = doubts_group = False

    def __init__(self) -> None:
        self.end, self.messages = BEGIN, list[Written]()

    def write(self, written_ms: int) -> None:
        self.messages.append(Written(self.end, written_ms))
        self.end += 1

    def poll(self, seconds: float) -> Written | None:
        time.sleep(0.01)
        return self.messages.pop(0) if self.messages else None

    def consume(self, most: int, seconds: float) -> list[Written]:
        return []

    def watermarks(self, part: TopicPartition) -> tuple[int, int]:
        return BEGIN, self.end

    def group_metadata(self) -> None:
        pass

    def pause(self, partitions: list[TopicPartition]) -> None:
        pass

    def resume(self, partitions: list[TopicPartition]) -> None:
        pass

    def put(self, work: Work) -> None:
        pass

    def committed(self, partitions: list[TopicPartition], seconds: float) -> list[TopicPartition]:
        return [TopicPartition(one.topic, one.partition, BEGIN) for one in partitions]

    def assign_more(self, partitions: list[TopicPartition]) -> None:
        pass

    def join_group(self, group: object) -> None:
        pass

    def forget(self, partitions: set[int]) -> None:
        pass


class Reading:
    """A fetcher whose partitions are given and taken by hand."""

    def __init__(self) -> None:
        self.broker, self.commits, self.ledger, self.skips = Broker(), CommitBook(), Ledger(), SkipLog()
        self.heard: list[str] = []
        self.fetcher = Fetcher(
            WorkerSettings(), Mailbox(freshness, 1_000), self.ledger, self.commits, cast(Outbox, self.broker),
            self.skips, turn=threading.Lock(), stopping=lambda: False, on_assigned=lambda numbers: lambda: None,
            on_revoked=lambda numbers: None, heard=self.heard.append,
        )  # fmt: skip

    def take(self) -> None:
        self.fetcher._assigned(cast(Consumer, self.broker), [TopicPartition("frames", 0)])

    def lose(self) -> None:
        self.fetcher._lost(cast(Consumer, self.broker), [TopicPartition("frames", 0)])

    def read(self, offset: int) -> Frame:
        assert self.commits.start(0, offset)
        self.ledger.fetched("line-1", (0, offset))
        return replace(frame("line-1", offset), lease=self.commits.lease(0), fetched_ns=time.time_ns())


@pytest.mark.parametrize(
    "end",
    [lambda fetcher, one: fetcher.leave(one, "handed_over"), lambda fetcher, one: fetcher.skip(one, "expired")],
    ids=["left", "skipped"],
)
def test_first_copies_of_frames_end_no_second_ones(end: Callable[[Fetcher, Frame], None]) -> None:
    """A partition was lost without a word, and came back: what is still under way of it says nothing of what is read
    now, neither to the group nor to who asks which frames were skipped; and it is counted all the same."""
    reading = Reading()
    reading.take()
    first = [reading.read(offset) for offset in (BEGIN, BEGIN + 1)]
    reading.lose()
    reading.take()
    second = [reading.read(one.place.offset) for one in first]
    for one in first:
        end(reading.fetcher, one)
    assert reading.ledger.totals().skipped == {"handed_over": 2}
    assert reading.skips.take("line-1") == ()
    assert reading.commits.marks({0: {}}) == {0: Mark(BEGIN)}
    finished = {0: {one.place.offset: "scored" for one in second}}
    marks = reading.commits.marks(finished)
    assert marks == {0: Mark(BEGIN + 2, fates=(("scored", 2),))}
    reading.commits.committed(finished, marks)
    assert reading.commits.wait_idle([0], 0.0)


@pytest.mark.parametrize("reason", ["behind", "expired", "no_query"])
def test_camera_whose_frame_is_skipped_is_heard(reason: SkipReason) -> None:
    """Wherever on its way that was found out, as of a frame that has expired in its batch: it is not silent. One that
    another worker reads is heard there."""
    reading = Reading()
    reading.take()
    first = reading.read(BEGIN)
    reading.fetcher.skip(first, reason)
    assert reading.heard == ["line-1"]
    second = reading.read(BEGIN + 1)
    reading.lose()
    reading.fetcher.skip(second, reason)
    assert reading.heard == ["line-1"]


@pytest.mark.parametrize("state", ["UP", "DOWN"])
def test_paused_partition_is_listened_to_as_far_as_it_is_read_later(state: str) -> None:
    """The cameras of a partition that is paused again and again are missed all the same; not if its broker was away."""
    reading = Reading()
    reading.take()
    fetcher, broker = reading.fetcher, reading.broker
    fetcher._consumer = cast(Consumer, broker)
    fetcher._contact(statistics(state, rxidle=5_000_000, waitresp_cnt=0))
    broker.write(1_000)
    fetcher.step()
    broker.full = True
    for _ in range(30):
        fetcher.step()
    broker.full = False
    fetcher.step()
    assert fetcher.listened_ns()[0] == 0
    for written_ms in (1_060, 1_150, 1_200):
        broker.write(written_ms)
    for _ in range(3):
        fetcher.step()
    assert fetcher.listened_ns()[0] == (200_000_000 if state == "UP" else 0)
