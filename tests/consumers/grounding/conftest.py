"""A line for tests: cameras that publish, a registry with queries, workers that run, and what came out of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from consumers.grounding.settings import WorkerSettings
from consumers.grounding.startup import transactional_publisher
from consumers.grounding.worker import Worker
from consumers.reading import read_to_end
from infra.cloudevents import frame_headers
from infra.contracts import Alert, Delay, Detections, FrameHeader, MessageReference, StandingQuery
from infra.kafka import Publisher
from infra.queries import QueryRegistry
from infra.settings import KafkaSettings, RedisSettings
from infra.topics import TopicName, topic_name
from infra.transactions import Sent, TransactionalPublisher
from tests.consumers.grounding.colour import COLOURS, ColourEngine

WIDTH, HEIGHT = 160, 120
Square = tuple[int, int, int, int]
SQUARE: Square = (40, 30, 60, 50)


@contextmanager
def going_on(step: Callable[[], object], seconds: float) -> Iterator[None]:
    """A step again and again, at this pace whatever it takes, and whatever the test does meanwhile."""
    stop = threading.Event()

    def go_on() -> None:
        next_at = time.monotonic()
        while not stop.wait(max(0.0, next_at - time.monotonic())):
            step()
            next_at += seconds

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def picture(*marks: tuple[str, Square]) -> bytes:
    """A grey JPEG with squares (x0, y0, x1, y1 in pixels) of the given colours."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for colour, (x0, y0, x1, y1) in marks:
        pixels[y0:y1, x0:x1] = COLOURS[colour]
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


@dataclass
class TestCamera:
    """Publishes frames as a camera does."""

    __test__ = False

    kafka: KafkaSettings
    publisher: Publisher
    id: str = "line-1"
    epoch: str = "e1"
    sequence: int = 0

    def send(self, *colours: str, image: bytes | None = None, **changes: object) -> int:
        """One frame with a square of each colour; its sequence number."""
        now = time.time_ns()
        facts: dict[str, object] = {
            "id": f"{self.id}/{self.epoch}/{self.sequence}",
            "camera": self.id,
            "sequence": self.sequence,
            "epoch": self.epoch,
            "captured_ns": now,
            "published_ns": now,
            "width": WIDTH,
            "height": HEIGHT,
        }
        header = FrameHeader.model_validate(facts | changes)
        value = picture(*((colour, SQUARE) for colour in colours)) if image is None else image
        self.raw(value, frame_headers(header))
        self.sequence += 1
        return self.sequence - 1

    def play(self, script: str) -> None:
        """One frame per letter: r, g, b a coloured square, anything else a plain frame."""
        names = {"r": "red", "g": "green", "b": "blue"}
        for letter in script:
            self.send(*([names[letter]] if letter in names else []))

    def raw(self, value: bytes, headers: list[tuple[str, bytes]], key: bytes | None = None) -> MessageReference:
        """Any message on the frames topic; returns when the broker has it."""
        places: list[MessageReference] = []
        errors: list[Exception] = []

        def delivered(error: Exception | None, place: MessageReference | None) -> None:
            if error is not None:
                errors.append(error)
            elif place is not None:
                places.append(place)

        self.publisher.send(
            topic_name(self.kafka.prefix, "frames"),
            key=self.id.encode() if key is None else key,
            value=value,
            headers=headers,
            on_delivery=delivered,
        )
        while not places:
            self.publisher.poll(0.1)
            assert not errors, errors
        return places[0]


@dataclass
class Line:
    """One plant: its Kafka, its Redis, its workers."""

    kafka: KafkaSettings
    redis: RedisSettings
    folder: Path
    until: Callable[..., None]
    changes: dict[str, object] = field(default_factory=dict)
    _running: list[tuple[Worker, threading.Event, threading.Thread]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    _publishers: list[Publisher] = field(default_factory=list)

    def camera(self, id: str = "line-1", epoch: str = "e1") -> TestCamera:
        publisher = Publisher(self.kafka, client_id=f"camera-{id}")
        self._publishers.append(publisher)
        return TestCamera(self.kafka, publisher, id, epoch)

    @property
    def registry(self) -> QueryRegistry:
        return QueryRegistry(self.redis)

    def add(self, text: str, id: str | None = None, **changes: object) -> StandingQuery:
        """A standing query with on-delay 3 and off-delay 2 frames."""
        now = datetime.now(UTC)
        facts: dict[str, object] = {"on_delay": Delay(value=3), "off_delay": Delay(value=2), "raise_threshold": 0.8}
        return self.registry.add(StandingQuery(id=id or text, text=text, created=now, changed=now, **(facts | changes)))

    def settings(self, **changes: object) -> WorkerSettings:
        facts: dict[str, object] = {
            "kafka": self.kafka,
            "redis": self.redis,
            "cache_dir": self.folder / "cache",
            "worker_id": f"w{len(self._running)}",
            "commit_interval_s": 0.1,
            "transaction_timeout_s": 5.0,
            "freshness": "every",
            "drain_s": 5.0,
            # Test cameras show still pictures and say nothing for long: neither is what most tests are about.
            "camera_limits": [{"frozen_s": None, "blind_s": None}],
        }
        return WorkerSettings.model_validate(facts | self.changes | changes)

    def leave_open(self, settings: WorkerSettings) -> TransactionalPublisher:
        """What a worker with these settings wrote with when it was killed, half a state in its open transaction."""
        killed = transactional_publisher(settings, threading.Event())
        killed.begin()
        topic = topic_name(self.kafka.prefix, "alarm-state")
        killed.send(Sent(), topic, key=b"line-1/red", value=b"half a state")
        killed.flush()
        return killed

    def start(self, engine: ColourEngine | None = None, *, wait: bool = True, **changes: object) -> Worker:
        """A worker in a thread of its own; returns when it holds partitions, unless told not to wait."""
        worker = Worker(self.settings(**changes), engine or ColourEngine())
        stop = threading.Event()

        def work() -> None:
            try:
                worker.run(stop)
            except BaseException as error:
                self.failures.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._running.append((worker, stop, thread))
        if wait:
            self.until(lambda: worker.partitions or self.failures)
            assert not self.failures, self.failures
        return worker

    def stop(self, worker: Worker) -> None:
        """Stops a worker as a person would, and waits for it."""
        for running, stop, thread in self._running:
            if running is worker:
                stop.set()
                thread.join(30)
                assert not thread.is_alive()
        assert not self.failures, self.failures

    def close(self) -> None:
        for _, stop, _ in self._running:
            stop.set()
        for _, _, thread in self._running:
            thread.join(30)
        for publisher in self._publishers:
            publisher.close(1.0)

    def messages(self, topic: TopicName) -> list[tuple[MessageReference, bytes | None, bytes, Mapping[str, bytes]]]:
        """All messages of a topic by now: place, key, value, headers."""
        name = topic_name(self.kafka.prefix, topic)
        found = []
        for message in read_to_end(self.kafka, name, client_id="test-reader"):
            partition, offset = message.partition(), message.offset()
            assert partition is not None and offset is not None
            place = MessageReference(topic=name, partition=partition, offset=offset)
            headers = dict(message.headers() or [])
            found.append((place, message.key(), message.value() or b"", headers))
        return found

    def alerts(self, camera: str | None = None) -> list[Alert]:
        """All alert transitions by now, in the order of their times."""
        found = [Alert.model_validate_json(value) for _, _, value, _ in self.messages("alerts")]
        return [alert for alert in found if camera in (None, alert.camera)]

    def detections(self) -> list[Detections]:
        """All detections by now."""
        return [Detections.model_validate_json(value) for _, _, value, _ in self.messages("detections")]

    def wait_for_alerts(self, *states: str, camera: str | None = None) -> list[Alert]:
        """Waits until the alerts' states, in order, are these."""
        self.until(lambda: [str(a.state) for a in self.alerts(camera)] == list(states))
        return self.alerts(camera)

    def wait_for_frames(self, worker: Worker, count: int) -> None:
        """Waits until a worker has dealt with so many frames, and checks that the sums match."""
        self.until(lambda: worker.totals.fetched >= count and worker.totals.in_flight == 0)
        assert worker.totals.balanced


@pytest.fixture
def line(
    kafka: KafkaSettings, redis_settings: RedisSettings, tmp_path: Path, until: Callable[..., None]
) -> Iterator[Line]:
    """A line on the run's broker and Redis, under names of its own."""
    plant = Line(kafka, redis_settings, tmp_path, until)
    yield plant
    plant.close()
