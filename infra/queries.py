"""Standing queries: the registry that operators write to and the follower that workers stand on."""

from __future__ import annotations

from infra.follower import QueryFollower, read_cache, write_cache
from infra.registry import BrokenQuery, QueryRegistry, QuerySet, explain_query, parse_query

__all__ = [
    "BrokenQuery",
    "QueryFollower",
    "QueryRegistry",
    "QuerySet",
    "explain_query",
    "parse_query",
    "read_cache",
    "write_cache",
]
