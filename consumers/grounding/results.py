"""What a frame's message on `detections` says of one query."""

from __future__ import annotations

from functools import lru_cache

from consumers.grounding.findings import Finding
from infra.contracts import QueryResult, StandingQuery, State

GATED = 8192
"""Queries of which it is remembered what is told of them when a gate keeps them out."""


def result_of(query: StandingQuery, found: Finding) -> QueryResult:
    """The finding as it is told: the score between 0 and 1, to four places."""
    if not found.asked and found.score is not None:  # as of most of a thousand: to check them all takes milliseconds
        return _gated(query.id, query.revision, found.score)
    return QueryResult(
        query_id=query.id,
        revision=query.revision,
        state=found.state,
        score=None if found.score is None else _rounded(found.score),
        boxes=found.boxes,
        reason=found.reason,
    )


def _rounded(score: float) -> float:
    return round(min(max(score, 0.0), 1.0), 4)


@lru_cache(GATED)
def _gated(query_id: str, revision: int, score: float) -> QueryResult:
    """What a gate says that keeps a text out; of a query always the same."""
    return QueryResult(query_id=query_id, revision=revision, state=State.ABSENT, score=_rounded(score))
