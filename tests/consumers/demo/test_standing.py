"""The demo's standing queries in a stack that may hold a plant's own: a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from consumers.demo.plan import demo_queries
from consumers.demo.standing import register, withdraw
from infra.errors import StackError
from infra.queries import QueryRegistry, parse_query
from infra.settings import RedisSettings


@pytest.fixture
def registry(redis_settings: RedisSettings) -> Iterator[QueryRegistry]:
    with closing(QueryRegistry(redis_settings)) as opened:
        yield opened


def texts(registry: QueryRegistry) -> dict[str, str]:
    return {query.id: query.text for query in registry.list()}


def test_the_demos_queries_come_and_go(registry: QueryRegistry) -> None:
    """Those that a killed run has left behind are replaced."""
    queries = demo_queries()
    register(registry, queries[:2])
    register(registry, queries)
    assert texts(registry) == {query.id: query.text for query in queries}
    withdraw(registry, queries)
    withdraw(registry, queries)
    assert texts(registry) == {}


def test_a_query_of_somebody_else_is_neither_replaced_nor_removed(registry: QueryRegistry) -> None:
    """The error names it and its author; none of the demo's is added."""
    own = {"id": "missing-bolt", "text": "bolt missing at the hinge", "author": "anna"}
    at = "2026-01-31T12:00:00Z"
    registry.add(parse_query({**own, "cameras": ("line-7",), "raise_threshold": 0.6, "created": at, "changed": at}))
    with pytest.raises(StackError, match=r"missing-bolt \(by anna\); remove them with `simvg query rm ID`"):
        register(registry, demo_queries())
    withdraw(registry, demo_queries())
    assert texts(registry) == {"missing-bolt": "bolt missing at the hinge"}
