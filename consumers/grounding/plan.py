"""A query set made ready for frames: who looks where, at which camera. Immutable but for a cache; no I/O."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from consumers.grounding.alarm import AlarmState
from consumers.grounding.findings import Engine
from consumers.grounding.views import WHOLE, shows_pieces, views_of
from infra.contracts import CAMERA_BLIND, Box, StandingQuery
from infra.queries import QuerySet


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A query, the views of a frame that it needs, and what is asked of each of them, from which score on: its text,
    or the parts of it that several views, or those around a polygon, are asked for. `most` boxes answer it, None: any
    number. Made once for a plan and camera: equal to itself alone."""

    query: StandingQuery
    views: tuple[Box, ...]
    asked: Mapping[str, float]
    most: int | None = None

    @property
    def in_parts(self) -> bool:
        """Whether anything else is asked than the text."""
        return self.query.text not in self.asked


@lru_cache(maxsize=1024)
def views_asked(looks: tuple[Look, ...]) -> Mapping[Box, Mapping[str, float]]:
    """What looks ask of the views of a frame: by view its texts, sorted, each with the lowest score that matters."""
    asked: dict[Box, dict[str, float]] = {}
    for look in looks:
        for view in look.views:
            words = asked.setdefault(view, {})
            words |= {text: min(words.get(text, 1.0), floor) for text, floor in look.asked.items()}
    return {view: dict(sorted(words.items())) for view, words in asked.items()}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of every camera's frames, at one revision of the registry.

    `refused` holds, by query id, why the model cannot take a query; the others go on without it. `parts` holds, by
    query id, what the views of one are asked in place of its text (`Engine.parts`), `most` how many boxes answer one
    that says so, and `readings` what the model takes one to say that it is asked in parts.
    """

    revision: int
    queries: Mapping[str, StandingQuery]
    refused: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    readings: Mapping[str, str] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)
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
            found = self._looks[camera] = tuple(map(self._look, watching))
        return found

    def whole(self, camera: str, due: Container[str]) -> bool:
        """Whether the queries that are due look at this camera's frames as a whole."""
        return all(look.views == (WHOLE,) for look in self.looks(camera) if look.query.id in due)

    def _look(self, query: StandingQuery) -> Look:
        return Look(query, views_of(query), _asked(query, self.parts), self.most.get(query.id))

    def removed(self, query_id: str) -> bool:
        """Whether there is no such query any more, not even a paused one; of every camera's own alarm never."""
        return query_id != CAMERA_BLIND and query_id not in self.queries

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


def _asked(query: StandingQuery, parts: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    return parts.get(query.id) or {query.text: query.clears_below}


def make_plan(queries: QuerySet, engine: Engine) -> Plan:
    """Compiles the texts of a query set, which may take a while, and plans with those that the model takes."""
    enabled = [query for query in queries.queries if query.enabled]
    parts = {query.id: engine.parts(query.text, query.clears_below) for query in enabled if shows_pieces(query)}
    asked = {query.id: _asked(query, parts) for query in enabled}
    no = engine.compile(sorted({text for texts in asked.values() for text in texts}))
    refused = {id: no[text] for id, texts in asked.items() for text in texts if text in no}
    told = {query.id: engine.reading(query.text) for query in enabled if query.id not in refused}
    readings = {id: said for id, said in told.items() if said is not None}
    limits = {query.id: engine.at_most(query.text) for query in enabled}
    most = {id: number for id, number in limits.items() if number is not None}
    return Plan(queries.revision, {query.id: query for query in queries.queries}, refused, parts, readings, most)
