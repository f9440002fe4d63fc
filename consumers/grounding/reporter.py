"""What a worker tells the registry of itself: that it runs, which queries, which its model refuses, and its load."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from consumers.grounding.findings import Memory
from consumers.grounding.plan import Plan
from infra.errors import RegistryError
from infra.metrics import gauge
from infra.queries import QueryRegistry
from infra.reports import Load, WorkerReport

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.1

_PREPARED = gauge("simvg_worker_texts_prepared", "texts that the model holds ready; those of the last sets included")
_BYTES = gauge(
    "simvg_worker_text_bytes",
    "memory of the texts that the model holds ready; selections: of what single views are asked of them",
    ("part",),
)


class Reporter:
    """Reports in time, so that the registry does not forget this worker, and at once when the queries change."""

    def __init__(
        self,
        registry: QueryRegistry,
        worker_id: str,
        ttl_s: float,
        *,
        plan: Callable[[], Plan],
        load: Callable[[], Load | None],
        memory: Callable[[], Memory],
    ) -> None:
        """``ttl_s``: seconds after which the registry forgets a worker that says nothing."""
        self._registry = registry
        self._worker_id = worker_id
        self._ttl_s = ttl_s
        self._plan = plan
        self._load = load
        self._memory = memory

    def watch(self, running: threading.Event, moved: Callable[[], object]) -> None:
        """Reports again and again while ``running``; ``moved`` is called in every turn. Redis being away is the
        follower's to log."""
        while running.is_set():
            moved()
            plan, memory = self._plan(), self._memory()
            _PREPARED.set(memory.texts)
            _BYTES.labels("texts").set(memory.text_bytes)
            _BYTES.labels("selections").set(memory.selected_bytes)
            try:
                report = WorkerReport.of(plan.revision, self._load(), plan.refused, plan.readings)
                self._registry.report_worker(self._worker_id, report, self._ttl_s)
            except RegistryError as error:
                logger.debug("worker could not report: %s", error)
            until = time.monotonic() + self._ttl_s / 3
            while running.is_set() and self._plan() is plan and time.monotonic() < until:
                moved()
                time.sleep(IDLE_SECONDS)
