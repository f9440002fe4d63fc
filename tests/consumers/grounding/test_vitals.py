"""When a worker counts as live and as ready, step by step and with threads that end, with a real broker to ask."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from prometheus_client import REGISTRY

from consumers.grounding.actions import ActionBook, ActionReader
from consumers.grounding.vitals import STANDBY_SECONDS, Vitals
from consumers.grounding.worker import DELIVERIES, THREADS, Worker
from infra.health import Pulses
from infra.process import free_port
from infra.settings import KafkaSettings
from tests.consumers.grounding.conftest import Line


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
    acknowledging: str | None = None
    partitions: set[int] = field(default_factory=lambda: {0})
    fault: str | None = None

    def __post_init__(self) -> None:
        self.pulses = Pulses({"poll loop": 10.0, "device": 10.0}, clock=self.clock)

    def health(self) -> str | None:
        return self.fault

    def threads(self) -> dict[str, str | None]:
        checks = self.pulses.checks({"device": self.backed_up is not None})
        return dict.fromkeys((*THREADS, DELIVERIES)) | checks


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is how the threads end here
def test_thread_that_ended_is_told(line: Line) -> None:
    """Of a real worker, one thread after the other ends without a word: live, ready and health name each. When the
    worker is told to stop, its threads may end."""
    line.add("red")
    worker = line.start()
    vitals = Vitals(line.kafka)
    vitals.attach(worker)
    line.until(lambda: vitals.ready()["partitions"] is None and _moved(worker) == set(THREADS))
    assert _wrong(vitals.live()) == _wrong(vitals.ready()) == set()
    assert vitals.health() is None
    assert REGISTRY.get_sample_value("simvg_registry_available") == 1.0
    ended: set[str] = set()
    threads = {"query follower": "query-follower", "operator actions": "operator-actions", "device": "grounder"}
    for name in (DELIVERIES, *THREADS[1:]):  # the first is the caller's: with that, the process ends
        _end(threads.get(name, name), line.until)
        ended.add(name)
        assert _wrong(vitals.live()) == _wrong(vitals.ready()) == ended
        assert "has ended" in (vitals.live()[name] or "")
        assert {name for name in (*THREADS, DELIVERIES) if _up(name) != 1.0} == ended
    assert "has ended" in (vitals.health() or "")
    assert REGISTRY.get_sample_value("simvg_registry_available") == 0.0, "nobody asks Redis any more"
    line.stop(worker)
    assert _wrong(vitals.live()) == set()


def _moved(worker: Worker) -> set[str]:
    return {name for name in THREADS if worker.pulses.moved(name)}


def _up(thread: str) -> float | None:
    return REGISTRY.get_sample_value("simvg_worker_thread_up", {"thread": thread})


def _end(name: str, until: Callable[..., None]) -> None:
    """Ends a running thread from outside, as no fault that it knows of could."""
    (thread,) = (one for one in threading.enumerate() if one.name == name)
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    until(lambda: not thread.is_alive())


def test_operators_who_are_not_heard_make_unready(kafka_without_topics: KafkaSettings, line: Line) -> None:
    """Without its topic of actions a worker watches and is not ready: acknowledging would do nothing."""
    vitals, worker = _vitals(Clock(), line.kafka.bootstrap)
    reader = ActionReader(kafka_without_topics, ActionBook(), client_id="deaf")
    reader.start()
    line.until(lambda: reader.trouble)
    worker.acknowledging = reader.trouble
    reader.stop()
    assert _wrong(vitals.ready()) == {"operators"}
    assert "operators' actions cannot be read" in (vitals.ready()["operators"] or "")


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
