"""Whether a worker lives and whether it is ready; see :mod:`infra.health`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from consumers.grounding.worker import DELIVERIES, THREADS, Worker
from infra.health import BrokerProbe
from infra.metrics import gauge
from infra.settings import KafkaSettings

STANDBY_SECONDS = 15.0
"""A member of the group that holds no partition after this time is taken to stand by: others hold them all."""

_THREAD_UP = gauge(
    "simvg_worker_thread_up",
    "1 while a thread of the worker runs and moves, or waits for Kafka, else 0; see /livez",
    ("thread",),
)


class Vitals:
    """Answers for a worker from before its model is loaded until its process ends."""

    def __init__(self, kafka: KafkaSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._probe = BrokerProbe(kafka)
        self._worker: Worker | None = None
        self._member_since: float | None = None

    def attach(self, worker: Worker) -> None:
        """The worker, once its model is loaded."""
        self._worker = worker

        def up(thread: str) -> float:
            return float(worker.threads()[thread] is None)

        for name in (*THREADS, DELIVERIES):
            _THREAD_UP.labels(name).set_function(partial(up, name))

    def health(self) -> str | None:
        """What is wrong, in words, or None."""
        if self._worker is None:
            return "the model is being loaded"
        threads = (f"thread {name} {fault}" for name, fault in self._worker.threads().items() if fault is not None)
        return self._worker.health() or next(threads, None)

    def live(self) -> dict[str, str | None]:
        """Every thread of the worker runs and moves, but for what waits for something outside."""
        worker = self._worker
        if worker is None:
            return {}  # loading a model takes as long as it takes
        failed = {"worker": worker.health() if worker.started else None}
        return failed | worker.threads()

    def ready(self) -> dict[str, str | None]:
        """Model, broker, partitions (or standing by), queries, that results are taken off its hands and operators are
        heard, and its threads."""
        worker = self._worker
        if worker is None:
            return {"model": "is being loaded"}
        broker = self._probe.fault()
        return {
            "model": None,
            "worker": worker.health(),
            "broker": broker,
            "partitions": self._partitions(worker),
            "queries": None if worker.queries_known else "no set of queries is known: Redis has not answered yet",
            "results": worker.backed_up,
            "operators": worker.acknowledging,
            **worker.threads(),
        }

    def _partitions(self, worker: Worker) -> str | None:
        if not worker.started:
            return "the group is not joined yet"
        if self._member_since is None:
            self._member_since = self._clock()
        if worker.partitions or self._clock() - self._member_since >= STANDBY_SECONDS:
            return None
        return "none assigned yet"
