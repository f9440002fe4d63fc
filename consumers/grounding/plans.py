"""The plan in use, and newer ones that wait until a batch has ended."""

from __future__ import annotations

import logging
from collections import deque

from consumers.grounding.findings import Engine
from consumers.grounding.plan import Plan, make_plan
from infra.metrics import gauge
from infra.queries import QuerySet

logger = logging.getLogger(__name__)

_ACTIVE = gauge("simvg_worker_queries_active", "standing queries that this worker asks")
_REFUSED = gauge("simvg_worker_queries_refused", "standing queries that the model cannot take")


class Plans:
    """Made by one thread, taken over by another; :attr:`now` may be read by any."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[Plan] = deque()
        self.now = Plan(0, {})

    def offer(self, queries: QuerySet) -> None:
        """Prepares the engine for a query set and has it wait for its turn."""
        plan = make_plan(queries, self._engine)
        for query_id, reason in plan.refused.items():
            facts = {"query": query_id, "text": plan.queries[query_id].text}
            logger.error("query cannot be asked: %s", reason, extra=facts)
        self._waiting.append(plan)

    def swap(self) -> Plan | None:
        """The newest plan, in use from now on; None while there is no newer one."""
        newest = None
        while self._waiting:
            newest = self.now = self._waiting.popleft()
        if newest is not None:
            _ACTIVE.set(len(newest.active))
            _REFUSED.set(len(newest.refused))
            logger.info("queries active", extra={"revision": newest.revision, "queries": len(newest.active)})
        return newest
