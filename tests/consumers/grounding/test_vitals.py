"""When a worker counts as live and as ready, step by step, with a real broker to ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from consumers.grounding.vitals import STANDBY_SECONDS, Vitals
from consumers.grounding.worker import Worker
from infra.health import Pulses
from infra.process import free_port
from infra.settings import KafkaSettings


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeWorker:
    """What is asked of a worker."""

    clock: Clock
    started: bool = True
    queries_known: bool = True
    backed_up: str | None = None
    partitions: set[int] = field(default_factory=lambda: {0})
    fault: str | None = None

    def __post_init__(self) -> None:
        self.pulses = Pulses({"poll loop": 10.0, "device": 10.0}, clock=self.clock)

    def health(self) -> str | None:
        return self.fault


def _vitals(clock: Clock, bootstrap: str | None = None) -> tuple[Vitals, FakeWorker]:
    vitals = Vitals(KafkaSettings(bootstrap=bootstrap or f"127.0.0.1:{free_port()}"), clock=clock)
    worker = FakeWorker(clock)
    vitals.attach(cast(Worker, worker))
    return vitals, worker


def _wrong(checks: dict[str, str | None]) -> set[str]:
    return {name for name, fault in checks.items() if fault is not None}


def test_worker_that_loads_its_model_lives_and_is_not_ready() -> None:
    """Loading takes as long as it takes; an orchestrator must not start it anew."""
    vitals = Vitals(KafkaSettings())
    assert _wrong(vitals.live()) == set()
    assert vitals.ready() == {"model": "is being loaded"}
    assert vitals.health() is not None


def test_worker_that_works_is_ready(kafka: KafkaSettings) -> None:
    """Model, broker, partitions and queries are there."""
    vitals, _ = _vitals(Clock(), kafka.bootstrap)
    assert _wrong(vitals.ready()) == set()
    assert _wrong(vitals.live()) == set()


def test_broker_away_makes_unready_and_not_dead() -> None:
    """A restart would not bring the broker back."""
    vitals, _ = _vitals(Clock())
    assert _wrong(vitals.ready()) == {"broker"}
    assert _wrong(vitals.live()) == set()


def test_stuck_thread_is_dead_unless_it_waits_for_kafka() -> None:
    """The device's thread that waits because no results can be delivered is excused; the poll loop never is."""
    clock = Clock()
    vitals, worker = _vitals(clock)
    worker.pulses.beat("poll loop")
    worker.pulses.beat("device")
    clock.now = 11.0
    assert _wrong(vitals.live()) == {"poll loop", "device"}
    worker.backed_up = "wait for Kafka for 6 s (Kafka was asked to commit the transaction 6 s ago: no answer yet)"
    assert _wrong(vitals.live()) == {"poll loop"}
    assert vitals.ready()["results"] == worker.backed_up


def test_failed_worker_is_dead() -> None:
    """What ended a thread ends the worker."""
    vitals, worker = _vitals(Clock())
    worker.fault = "worker failed: x"
    assert _wrong(vitals.live()) == {"worker"}


def test_member_without_partitions_stands_by_after_a_while() -> None:
    """First it waits for its share; when none comes, others hold everything, and it is ready to take over."""
    clock = Clock()
    vitals, worker = _vitals(clock)
    worker.partitions = set()
    assert vitals.ready()["partitions"] == "none assigned yet"
    clock.now = STANDBY_SECONDS
    assert vitals.ready()["partitions"] is None
    worker.started = False
    assert vitals.ready()["partitions"] == "the group is not joined yet"


def test_no_known_queries_are_said() -> None:
    """Without Redis and without a last known set it watches nothing."""
    vitals, worker = _vitals(Clock())
    worker.queries_known = False
    assert "Redis has not answered" in (vitals.ready()["queries"] or "")
