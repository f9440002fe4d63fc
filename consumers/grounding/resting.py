"""Alarms at rest: of most alarms, a frame changes nothing but their place in the stream."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from consumers.grounding.alarm import AlarmState, Place, Sighting, idles, taken_in_before
from consumers.grounding.alarm_state import moved_on
from consumers.grounding.findings import Finding
from infra.contracts import FrameReference, QueryResult, StandingQuery, State


class _Rest(NamedTuple):
    """Why an alarm was at rest, and what was told of its query."""

    query: StandingQuery
    state: AlarmState
    found: Finding
    result: QueryResult


class Resting:
    """Tells the alarms of one camera that a frame leaves at rest.

    A gate gives the same finding again and again: an alarm that was at rest with it is so with the next frame, as long
    as query, state and finding are the very same objects, none of which ever changes.
    """

    def __init__(self, before: Resting | None, frame: FrameReference, epoch: str, captured_ns: int) -> None:
        """``before``: of the camera's last frame."""
        self._seen = Sighting(frame, epoch, captured_ns, State.UNKNOWN, None)
        self._before = {} if before is None or before._seen.epoch != epoch else before._now
        self._now: dict[str, _Rest] = {}
        self._idle: list[str] = []
        self._new: dict[int, bool] = {}  # by the identity of the last frame, which alarms at rest have in common

    @property
    def queries(self) -> Collection[str]:
        """Those whose alarms are at rest, of all that were asked about."""
        return self._idle

    def still(
        self, query: StandingQuery, state: AlarmState | None, place: Place | None, found: Finding
    ) -> QueryResult | None:
        """What was told of the query with the last frame, if the alarm, noted so (`AlarmBook.noted`), rests as it did
        then; else None."""
        rest = self._before.get(query.id)
        if rest is None or rest.found is not found or rest.state is not state or rest.query is not query:
            return None
        if not self._is_new(state, place):
            return None
        self._now[query.id] = rest
        self._idle.append(query.id)
        return rest.result

    def holds(
        self,
        query: StandingQuery,
        state: AlarmState | None,
        place: Place | None,
        seen: Sighting,
        found: Finding,
        result: QueryResult,
    ) -> bool:
        """Whether the alarm, noted so, has nothing more to do with the sighting than to move on; ``result`` is what is
        told of the finding."""
        if state is None or not idles(query, state, seen) or not self._is_new(state, place):
            return False
        if not found.asked:
            self._now[query.id] = _Rest(query, state, found, result)
        self._idle.append(query.id)
        return True

    def _is_new(self, state: AlarmState, place: Place | None) -> bool:
        last = id(state.frame if place is None else place.frame)
        if last not in self._new:
            self._new[last] = not taken_in_before(moved_on(state, place), self._seen)
        return self._new[last]
