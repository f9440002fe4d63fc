"""A query set made ready for frames: who looks where, at which camera. Immutable but for a cache; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from consumers.grounding.alarm import AlarmState
from consumers.grounding.findings import Engine
from consumers.grounding.views import views_of
from infra.contracts import CAMERA_BLIND, Box, StandingQuery
from infra.queries import QuerySet


@dataclass(frozen=True, slots=True)
class Look:
    """A query and the views of a frame that it needs."""

    query: StandingQuery
    views: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of every camera's frames, at one revision of the registry.

    `refused` holds, by query id, why the model cannot take a query; the others go on without it.
    """

    revision: int
    queries: Mapping[str, StandingQuery]
    refused: Mapping[str, str] = field(default_factory=dict)
    _looks: dict[str, tuple[Look, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def known(self) -> bool:
        """Whether this is anyone's will: before the first contact with the registry it is empty, at revision 0."""
        return self.revision > 0 or bool(self.queries)

    @property
    def active(self) -> list[StandingQuery]:
        """Queries that are asked, at some camera."""
        return [query for query in self.queries.values() if query.enabled and query.id not in self.refused]

    def looks(self, camera: str) -> tuple[Look, ...]:
        """What is asked of this camera's frames, ordered by query id."""
        found = self._looks.get(camera)
        if found is None:
            watching = sorted((query for query in self.active if query.watches(camera)), key=lambda query: query.id)
            found = self._looks[camera] = tuple(Look(query, views_of(query)) for query in watching)
        return found

    def why_over(self, state: AlarmState) -> str | None:
        """Why an alarm must end by this plan, in words, or None while it may go on."""
        if state.query_id == CAMERA_BLIND:
            return None if self.looks(state.camera) else "no query watches the camera any more"
        query = self.queries.get(state.query_id)
        if query is None:
            return "the query was removed"
        if not query.enabled:
            return "the query was paused"
        if query.id in self.refused:
            return f"the model cannot take the query: {self.refused[query.id]}"
        if not query.watches(state.camera):
            return "the query does not watch this camera any more"
        if query.revision != state.revision:
            return f"the query was edited (revision {state.revision} to {query.revision})"
        return None


def make_plan(queries: QuerySet, engine: Engine) -> Plan:
    """Compiles the texts of a query set, which may take a while, and plans with those that the model takes."""
    enabled = [query for query in queries.queries if query.enabled]
    refused_texts = engine.compile(sorted({query.text for query in enabled}))
    refused = {query.id: refused_texts[query.text] for query in enabled if query.text in refused_texts}
    return Plan(queries.revision, {query.id: query for query in queries.queries}, refused)
