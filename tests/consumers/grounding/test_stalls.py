"""Which partitions count as stalled, on a clock of the test's own; and a worker whose client stopped fetching."""

from __future__ import annotations

import threading
from collections.abc import Callable

import confluent_kafka
from confluent_kafka import TopicPartition
from prometheus_client import REGISTRY

from consumers.grounding.stalls import Stalls
from consumers.grounding.worker import Worker
from infra.consumer import Consumer
from infra.topics import topic_name
from tests.consumers.grounding.conftest import Line


def between_polls(worker: Worker, call: Callable[[confluent_kafka.Consumer], object]) -> None:
    """Has the worker's own thread call its Kafka client: from another one the call waits for a gap in the polling."""
    consumer, done = worker._fetcher._consumer, threading.Event()
    assert consumer is not None

    def poll(seconds: float) -> object:
        if not done.is_set():
            call(consumer._consumer)
            done.set()
        return Consumer.poll(consumer, seconds)

    consumer.poll = poll  # type: ignore[assignment,method-assign]
    assert done.wait(30)
    del consumer.poll


class Clock:
    """Time that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silent_partitions_are_suspected_once_each_time() -> None:
    """One that gives something is not; one that is paused meanwhile begins again."""
    clock = Clock()
    stalls = Stalls(5.0, clock=clock)
    assert stalls.suspects([]) == []
    assert stalls.suspects([0, 1, 2]) == []
    clock.now += 4.0
    stalls.gave(1)
    assert stalls.suspects([0, 1]) == []
    clock.now += 1.5
    assert stalls.suspects([0, 1, 2]) == [0]
    assert stalls.suspects([0, 1, 2]) == []
    clock.now += 5.0
    assert stalls.suspects([0, 1, 2]) == [0, 1, 2]


def test_suspect_is_stalled_when_it_was_behind_twice() -> None:
    """What comes just now, or came in between, is no stall; nor is a partition that has nothing more."""
    stalls = Stalls(5.0, clock=Clock())
    assert [stalls.stalled(0, behind=one) for one in (True, True, True, True)] == [False, True, False, True]
    assert [stalls.stalled(1, behind=one) for one in (True, False, True, True)] == [False, False, False, True]
    assert not stalls.stalled(2, behind=True)
    stalls.gave(2)
    assert not stalls.stalled(2, behind=True)
    assert stalls.suspects([0]) == []
    assert not stalls.stalled(2, behind=True), "forgotten when it went"


def test_worker_begins_a_partition_anew_that_gives_nothing(line: Line) -> None:
    """Its client holds the partition and does not fetch, without an error: seconds later the frames are scored."""
    before = REGISTRY.get_sample_value("simvg_worker_partitions_stalled_total") or 0.0
    line.add("red")
    worker = line.start()
    camera = line.camera()
    camera.play("rr")
    line.wait_for_frames(worker, 2)
    topic = topic_name(line.kafka.prefix, "frames")
    parts = [TopicPartition(topic, number) for number in worker.partitions]
    between_polls(worker, lambda client: client.pause(parts))  # the worker does not know
    camera.play("rr")
    line.wait_for_alerts("raised")
    line.wait_for_frames(worker, 4)
    assert (REGISTRY.get_sample_value("simvg_worker_partitions_stalled_total") or 0.0) == before + 1
    assert sorted(found.frame.sequence for found in line.detections()) == [0, 1, 2, 3]


def test_partition_that_was_paused_when_it_went_is_read_when_it_comes_back(line: Line) -> None:
    """A worker that could take nothing in loses partitions to another and gets them back: it reads them at once."""
    before = REGISTRY.get_sample_value("simvg_worker_partitions_stalled_total") or 0.0
    line.add("red")
    first = line.start()
    cameras = [line.camera(f"line-{number}") for number in range(8)]  # on both partitions of them
    topic = topic_name(line.kafka.prefix, "frames")
    held = set(first.partitions)
    between_polls(first, lambda client: client.pause([TopicPartition(topic, number) for number in held]))
    second = line.start()
    gone = set(second.partitions)
    assert gone < held
    line.stop(second)
    line.until(lambda: first.partitions == held)
    between_polls(first, lambda client: client.resume([TopicPartition(topic, number) for number in held - gone]))
    for camera in cameras:
        camera.play("rrr")
    line.until(lambda: {alert.camera for alert in line.alerts()} == {camera.id for camera in cameras}, 60)
    assert (REGISTRY.get_sample_value("simvg_worker_partitions_stalled_total") or 0.0) == before
