"""The demo's standing queries in the registry of the stack that it runs on, which may hold a plant's own."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

from consumers.demo.plan import CLIP_CAMERA, STREAM_CAMERA, DemoQuery
from infra.contracts import Delay, StandingQuery
from infra.errors import QueryNotFound, StackError
from infra.queries import QueryRegistry, parse_query

AUTHOR = "demo"


def register(registry: QueryRegistry, queries: Sequence[DemoQuery]) -> None:
    """Adds the demo's queries, in place of those that an earlier run has left behind.

    Raises StackError, and changes nothing, where a query of somebody else has the id of one of them.
    """
    ids = {query.id for query in queries}
    there = [stored for stored in registry.list() if stored.id in ids]
    others = ", ".join(f"{stored.id} (by {stored.author})" for stored in there if stored.author != AUTHOR)
    if others:
        raise StackError(
            f"the stack at {registry.address} has standing queries that the demo would replace: {others}; remove them "
            "with `simvg query rm ID`, or give the demo a stack of its own by SIMVG_STATE_DIR, SIMVG_KAFKA_PORT, "
            "SIMVG_CONTROLLER_PORT and SIMVG_REDIS_PORT"
        )
    withdraw(registry, queries)
    for query in queries:
        registry.add(_standing(query))


def withdraw(registry: QueryRegistry, queries: Sequence[DemoQuery]) -> None:
    """Removes those of the demo's queries that are there; what somebody else has added under their ids stays."""
    for query in queries:
        with contextlib.suppress(QueryNotFound):
            if registry.get(query.id).author == AUTHOR:
                registry.remove(query.id)


def _standing(query: DemoQuery) -> StandingQuery:
    now = datetime.now(UTC)
    return parse_query(
        {
            "id": query.id,
            "text": query.text,
            "cameras": (CLIP_CAMERA, STREAM_CAMERA),
            "raise_threshold": query.threshold,
            "on_delay": Delay.parse(query.on_delay),
            "off_delay": Delay.parse(query.off_delay),
            "author": AUTHOR,
            "created": now,
            "changed": now,
        }
    )
