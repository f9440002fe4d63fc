"""Frames from the capture to Kafka: order, limits, and books that add up."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock, Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from infra.cloudevents import read_frame
from infra.contracts import FrameHeader, MessageReference
from infra.errors import BrokerError, BrokerUnavailable, BufferFull, MessageTooLarge, TopicMissing
from infra.kafka import Headers, OnDelivery
from producers.encoding import Encoder
from producers.frame import CapturedFrame, EncodedImage, Picture, picture_of
from producers.ledger import Counts, Ledger
from producers.publisher import FramePublisher, PublishingLimits

PICTURE = picture_of(np.zeros((12, 16, 3), np.uint8))
Until = Callable[..., None]


class FakeKafka:
    """Confirms, fails or keeps what is sent. ``away``: everything stays unconfirmed until it comes back."""

    def __init__(self, *, away: bool = False, faults: dict[int, BrokerError] | None = None, room: int = 10_000) -> None:
        self.away = away
        self.faults = faults or {}
        self.room = room
        self.headers: list[FrameHeader] = []
        self.values: list[bytes] = []
        self._waiting: list[tuple[int, FrameHeader, bytes, OnDelivery]] = []
        self._lock = Lock()

    @property
    def sequences(self) -> list[int]:
        return [header.sequence for header in self.headers]

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def send(
        self, topic: str, *, key: bytes, value: bytes, headers: Headers | None, on_delivery: OnDelivery | None
    ) -> None:
        assert topic == "frames" and on_delivery is not None
        if len(value) > 5_000:
            raise MessageTooLarge(f"message of {len(value)} bytes is over the limit")
        if len(self._waiting) >= self.room:
            raise BufferFull("the local queue is full")
        header = read_frame(headers, key)
        self._waiting.append((header.sequence, header, value, on_delivery))

    def poll(self, seconds: float) -> int:
        if self.away or not self._waiting:
            time.sleep(min(seconds, 0.001))
            return 0
        return self._deliver()

    def close(self, seconds: float) -> int:
        left = len(self._waiting)
        for *_, on_delivery in self._waiting:
            on_delivery(BrokerError("purged"), None)
        self._waiting.clear()
        return left

    def _deliver(self) -> int:
        waiting, self._waiting = self._waiting, []
        for number, header, value, on_delivery in waiting:
            if number in self.faults:
                on_delivery(self.faults[number], None)
                continue
            self.headers.append(header)
            self.values.append(value)
            on_delivery(None, MessageReference(topic="frames", partition=0, offset=len(self.values)))
        return len(waiting)


class Publishing:
    """A frame publisher in front of a fake Kafka."""

    def __init__(self, kafka: FakeKafka, **limits: object) -> None:
        self.ledger = Ledger("c")
        self.publisher = FramePublisher(
            "c",
            "frames",
            kafka,
            Encoder(jpeg_quality=90, max_width=None),
            self.ledger,
            PublishingLimits(**{"queue_frames": 100, "in_flight_frames": 100, **limits}),  # type: ignore[arg-type]
        )
        self.publisher.start()

    def offer(self, sequence: int, image: EncodedImage | Picture = PICTURE, captured_ns: int | None = None) -> None:
        self.ledger.captured()
        self.publisher.offer(CapturedFrame("e", sequence, captured_ns or time.time_ns(), image))

    def finish(self, seconds: float | None = 20) -> Counts:
        self.publisher.finish(seconds)
        assert self.publisher.join(20)
        counts = self.ledger.counts()
        assert counts.under_way == 0
        return counts


def test_no_frames_is_fine() -> None:
    """A camera that never gave a frame ends with empty books."""
    assert Publishing(FakeKafka()).finish() == Counts()


def test_frames_are_published_in_order() -> None:
    """Every frame arrives once with what its header must say."""
    kafka = FakeKafka()
    publishing = Publishing(kafka, expiry_seconds=7.0)
    now = time.time_ns()
    for sequence in range(5):
        publishing.offer(sequence, captured_ns=now + sequence)
    assert publishing.finish() == Counts(5, 5, {})
    assert kafka.sequences == [0, 1, 2, 3, 4]
    header = kafka.headers[3]
    assert (header.id, header.camera, header.epoch) == ("c/e/3", "c", "e")
    assert (header.width, header.height, header.content_type) == (16, 12, "image/jpeg")
    assert header.captured_ns == now + 3 and header.expires_ns == now + 3 + 7_000_000_000
    assert now <= header.published_ns <= time.time_ns()


def test_newest_frames_win_while_kafka_is_away(until: Until) -> None:
    """Of the frames of an outage the newest are published; the others are counted and told of once."""
    kafka = FakeKafka(away=True)
    with capture_logs() as logs:
        publishing = Publishing(kafka, queue_frames=3, in_flight_frames=1)
        publishing.offer(0)
        until(lambda: kafka.waiting == 1)
        for sequence in range(1, 10):
            publishing.offer(sequence)
        assert publishing.ledger.counts().under_way == 4
        kafka.away = False
        assert publishing.finish() == Counts(10, 4, {"queue_full": 6})
    assert kafka.sequences == [0, 7, 8, 9]
    told = [entry for entry in logs if entry["event"] == "frame dropped"]
    assert [(entry["reason"], entry["camera"]) for entry in told] == [("queue_full", "c")]


def test_lossless_waits_instead(until: Until) -> None:
    """A recording played as fast as possible waits for Kafka and loses nothing."""
    kafka = FakeKafka(away=True)
    publishing = Publishing(kafka, queue_frames=2, in_flight_frames=1, lossless=True, expiry_seconds=1e-9)
    feeder = Thread(target=lambda: [publishing.offer(n) for n in range(20)], daemon=True)
    feeder.start()
    until(lambda: publishing.ledger.counts().captured == 4)
    kafka.away = False
    feeder.join(20)
    assert publishing.finish(None) == Counts(20, 20, {})
    assert kafka.sequences == list(range(20))
    assert {header.expires_ns for header in kafka.headers} == {None}


def test_old_frames_expire_in_the_queue() -> None:
    """A frame that is too old when its turn comes is dropped, not sent."""
    kafka = FakeKafka()
    publishing = Publishing(kafka, expiry_seconds=30.0)
    publishing.offer(0, captured_ns=time.time_ns() - 31_000_000_000)
    publishing.offer(1)
    assert publishing.finish() == Counts(2, 1, {"expired": 1})
    assert kafka.sequences == [1]


def test_oversize_frame_is_refused_with_its_size() -> None:
    """A frame over the limit is dropped with the error in the log; the next goes through."""
    with capture_logs() as logs:
        publishing = Publishing(FakeKafka())
        publishing.offer(0, EncodedImage(bytes(6_000), "image/jpeg", 16, 12))
        publishing.offer(1)
        assert publishing.finish() == Counts(2, 1, {"too_large": 1})
    assert any("message of 6000 bytes is over the limit" in str(entry.get("detail")) for entry in logs)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BrokerUnavailable("no broker"), "broker_away"),
        (TopicMissing("no topic"), "topic_missing"),
        (MessageTooLarge("too large"), "too_large"),
        (BrokerError("refused"), "refused"),
    ],
)
def test_undelivered_frame_is_counted_with_its_reason(error: BrokerError, reason: str) -> None:
    """What Kafka reports as failed is dropped, for a reason by kind of error."""
    publishing = Publishing(FakeKafka(faults={1: error}))
    for sequence in range(3):
        publishing.offer(sequence)
    assert publishing.finish() == Counts(3, 2, {reason: 1})


def test_picture_that_cannot_be_encoded_is_counted() -> None:
    """The encoder's refusal costs one frame."""
    publishing = Publishing(FakeKafka())
    publishing.offer(0, Picture(16, 12, lambda: np.zeros((0, 0, 3), np.uint8)))
    publishing.offer(1)
    assert publishing.finish() == Counts(2, 1, {"encode_failed": 1})


def test_full_client_is_waited_for() -> None:
    """A client without room for the next frame delays it and does not lose it."""
    publishing = Publishing(FakeKafka(room=2))
    for sequence in range(10):
        publishing.offer(sequence)
    assert publishing.finish() == Counts(10, 10, {})


def test_stop_closes_the_books(until: Until) -> None:
    """Stopped while Kafka is away, what waits and what is unconfirmed is counted as stopped; later frames too."""
    kafka = FakeKafka(away=True)
    publishing = Publishing(kafka, in_flight_frames=2)
    for sequence in range(5):
        publishing.offer(sequence)
    until(lambda: kafka.waiting == 2)
    assert publishing.finish(0.05) == Counts(5, 0, {"stopped": 5})
    publishing.offer(5)
    assert publishing.ledger.counts() == Counts(6, 0, {"stopped": 6})


@settings(max_examples=25)
@given(
    faults=st.sets(st.integers(0, 29)),
    queue=st.integers(1, 5),
    in_flight=st.integers(1, 5),
    sizes=st.lists(st.sampled_from([10, 4_000, 9_000]), min_size=30, max_size=30),
)
def test_books_always_add_up(faults: set[int], queue: int, in_flight: int, sizes: list[int]) -> None:
    """Whatever fails, every frame is published or dropped for a reason, and the published ones are in order."""
    kafka = FakeKafka(faults={n: BrokerUnavailable("away") for n in faults})
    publishing = Publishing(kafka, queue_frames=queue, in_flight_frames=in_flight)
    for sequence, size in enumerate(sizes):
        publishing.offer(sequence, EncodedImage(bytes(size), "image/jpeg", 16, 12))
    counts = publishing.finish()
    assert counts.captured == 30 == counts.published + sum(counts.dropped.values())
    assert counts.published == len(kafka.sequences)
    assert kafka.sequences == sorted(kafka.sequences)
