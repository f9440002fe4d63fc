"""The parts of a fault run: servers that can be killed, workers that are processes, and what came out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaException, TopicPartition

from consumers.actions import publish_action
from consumers.demo.scrape import scrape
from consumers.grounding.cameras import CameraLimits
from consumers.grounding.offsets import Mark
from consumers.grounding.settings import WorkerSettings
from consumers.reading import read_to_end
from infra.contracts import Alert, Delay, Detections, MessageReference, StandingQuery
from infra.errors import BrokerError
from infra.hanging import HangingWatch
from infra.kafka import Publisher, last_offsets
from infra.kafka_client import client_config
from infra.process import free_port
from infra.queries import QueryRegistry
from infra.settings import KafkaSettings, RedisSettings, TelemetrySettings
from infra.topics import TopicName, topic_name
from tests.faults.script import QUERIES, Deed, Shot, moment_ns

REPOSITORY = Path(__file__).resolve().parents[2]
SESSION_S = 3.0
TRANSACTION_S = 4.0
WRITTEN: tuple[TopicName, ...] = ("alerts", "evidence", "detections", "alarm-state")


@dataclass
class WorkerProcess:
    """The worker program with the colour engine, under a supervisor's eye: this one."""

    name: str
    child: subprocess.Popen[bytes]
    log: Path
    log_from: int
    port: int

    def knows(self, actions: int) -> bool:
        """Whether it has read so many of the operators' actions."""
        return scrape(self.port).total("simvg_worker_operator_actions_kept") >= actions

    @property
    def working(self) -> bool:
        """Whether it has been given partitions since it was started."""
        return self.running and b"partitions assigned" in self.log.read_bytes()[self.log_from :]

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def send(self, number: int) -> None:
        self.child.send_signal(number)

    def end(self, number: int, seconds: float = 20.0) -> int:
        """Sends a signal and waits for the end; the exit status."""
        if self.running:
            self.child.send_signal(number)
        return self.child.wait(seconds)


@dataclass
class Plant:
    """One plant on a broker and a Redis that may go away at any time. ``base_ns``: when its script begins."""

    kafka: KafkaSettings
    redis: RedisSettings
    folder: Path
    base_ns: int
    workers: dict[str, WorkerProcess] = field(default_factory=dict)
    published: list[Shot] = field(default_factory=list)
    done: list[Deed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._publisher = Publisher(self.kafka, client_id=f"cameras-{self.kafka.prefix}")

    def add_queries(self) -> None:
        registry, now = QueryRegistry(self.redis), datetime.now(UTC)
        frames = {"on_delay": Delay(value=3), "off_delay": Delay(value=2)}
        seconds = {"on_delay": Delay.parse("0.12s"), "off_delay": Delay.parse("0.1s")}
        how: dict[str, dict[str, Any]] = {
            "red": frames,
            "green": frames,
            "red-latched": seconds | {"latch": True},
            "green-wanted": seconds | {"expect": "present", "realarm_interval": 1.0},
        }
        for id in QUERIES:
            about = {"id": id, "text": id.partition("-")[0], "raise_threshold": 0.8, "created": now, "changed": now}
            registry.add(StandingQuery.model_validate(about | how[id]))
        registry.close()

    def start(self, name: str) -> WorkerProcess:
        """Starts a worker under this name, which keeps its last known queries of earlier lives."""
        port = free_port()
        settings = WorkerSettings(
            telemetry=TelemetrySettings(metrics_port=port),
            kafka=self.kafka,
            redis=self.redis,
            worker_id=name,
            group=self.kafka.prefix,
            cache_dir=self.folder / name,
            freshness="every",
            # Still pictures and pauses are the script's, not faults of a camera, and operators go by its clock: what
            # they do waits for the frame of its time, however long a fault keeps that away.
            camera_limits=(CameraLimits(frozen_s=None, blind_s=3_600),),
            commit_interval_s=0.1,
            session_timeout_s=SESSION_S,
            transaction_timeout_s=TRANSACTION_S,
            drain_s=5.0,
        )
        text = settings.model_dump_json().replace(self.redis.shown_url, self.redis.url)
        command = [sys.executable, "-m", "tests.consumers.grounding.colour_worker", text]
        path = self.folder / f"{name}.log"
        with path.open("ab") as log:
            before = path.stat().st_size
            child = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True)
        self.workers[name] = WorkerProcess(name, child, path, before, port)
        return self.workers[name]

    def publish(self, shots: Iterable[Shot], pace_s: float = 0.0, between: Callable[[], None] | None = None) -> None:
        """Sends frames as cameras do and returns when Kafka has them all; ``between`` runs after each."""
        lost: list[BrokerError] = []
        for shot in shots:
            message = shot.message(self.kafka, moment_ns(self.base_ns, shot.order))
            self._publisher.send(**message, on_delivery=lambda error, _: lost.append(error) if error else None)  # type: ignore[arg-type]
            self._publisher.poll(pace_s)
            self.published.append(shot)
            if between is not None:
                between()
        while self._publisher.flush(1.0):
            if lost:
                break
        assert not lost, f"frames were not published: {lost[:3]}"

    def do(self, deeds: Iterable[Deed]) -> None:
        """Sends what operators are going to do; returns when every worker knows of it, so that none is late."""
        for deed in deeds:
            publish_action(self.kafka, deed.action(self.base_ns))
            self.done.append(deed)
        running = [worker for worker in self.workers.values() if worker.running]
        wait(lambda: all(w.knows(len(self.done)) for w in running if w.running), 60, "workers know what operators do")

    def read(self, topic: TopicName) -> list[tuple[MessageReference, bytes, bytes]]:
        """All committed messages of a topic: place, key, value."""
        name = topic_name(self.kafka.prefix, topic)
        found = []
        for message in read_to_end(self.kafka, name, client_id="fault-reader", settled=True):
            partition, offset = message.partition(), message.offset()
            assert partition is not None and offset is not None
            place = MessageReference(topic=name, partition=partition, offset=offset)
            found.append((place, _bytes(message.key()), _bytes(message.value())))
        return found

    def alerts(self) -> list[Alert]:
        """All transitions; those of one alert in the order of its partition."""
        return [Alert.model_validate_json(value) for _, _, value in self.read("alerts")]

    def detections(self) -> Counter[tuple[str, int, int]]:
        """How often each frame has results: camera, partition and offset."""
        found = [Detections.model_validate_json(value) for _, _, value in self.read("detections")]
        return Counter((d.camera, d.frame.partition, d.frame.offset) for d in found)

    def marks(self) -> dict[int, Mark]:
        """What the group has committed, by partition; of those with anything in them."""
        frames = topic_name(self.kafka.prefix, "frames")
        config = client_config(self.kafka, client_id="fault-offsets") | {"group.id": self.kafka.prefix}
        reader = KafkaConsumer(config | {"enable.auto.commit": False})
        try:
            ends = last_offsets(self.kafka, frames, client_id="fault-offsets")
            parts = reader.committed([TopicPartition(frames, number) for number in ends], timeout=10)
            return {part.partition: Mark.read(part.offset, part.metadata) for part in parts if part.offset >= 0}
        finally:
            reader.close()

    def caught_up(self) -> bool:
        """Whether the group has committed every frame that was published."""
        frames = topic_name(self.kafka.prefix, "frames")
        marks = self.marks()
        ends = last_offsets(self.kafka, frames, client_id="fault-offsets")
        return all(end == 0 or (number in marks and marks[number].offset == end) for number, end in ends.items())

    def watch(self) -> Callable[[], bool]:
        """What tells within milliseconds whether any transaction is open."""
        names = [topic_name(self.kafka.prefix, topic) for topic in WRITTEN]
        watch = HangingWatch(self.kafka, client_id="fault-watch", topics=names)
        return lambda: watch.look(time.monotonic())

    def left_open(self) -> int:
        """Messages of transactions that are open now and still are after several commits' time."""
        names = [topic_name(self.kafka.prefix, topic) for topic in WRITTEN]
        ends = {name: last_offsets(self.kafka, name, client_id="fault-offsets") for name in names}
        time.sleep(0.3)
        reader = KafkaConsumer(client_config(self.kafka, client_id="fault-offsets") | {"group.id": "none"})
        try:
            return sum(
                max(0, end - reader.get_watermark_offsets(TopicPartition(name, number), timeout=10)[1])
                for name, partitions in ends.items()
                for number, end in partitions.items()
            )
        finally:
            reader.close()

    def close(self) -> None:
        for worker in self.workers.values():
            if worker.running:
                os.kill(worker.child.pid, signal.SIGCONT)
                worker.end(signal.SIGKILL)
        self._publisher.close(1.0)


def wait(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds until the condition holds; a broker that is away for a moment is waited for. Raises TimeoutError."""
    began, last = time.monotonic(), ""
    while True:
        try:
            if condition():
                return time.monotonic() - began
            last = ""
        except (BrokerError, KafkaException) as error:
            last = f" ({error})"
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"after {seconds:.0f} s still not: {what}{last}")
        time.sleep(0.5)


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
