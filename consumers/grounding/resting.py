"""Alarms at rest: of most alarms, a frame changes nothing but their place in the stream."""

from __future__ import annotations

from consumers.grounding.alarm import AlarmState, Place, Sighting, idles, taken_in_before
from consumers.grounding.alarm_state import moved_on
from infra.contracts import StandingQuery


class Resting:
    """Tells the alarms of one camera that a frame leaves at rest."""

    def __init__(self) -> None:
        self._new: dict[int, bool] = {}  # by the identity of the last frame, which alarms at rest have in common

    def holds(self, query: StandingQuery, state: AlarmState | None, place: Place | None, seen: Sighting) -> bool:
        """Whether the alarm, noted so (`AlarmBook.noted`), has nothing more to do with the sighting than to move on."""
        if state is None or not idles(query, state, seen):
            return False
        last = id(state.frame if place is None else place.frame)
        if last not in self._new:
            self._new[last] = not taken_in_before(moved_on(state, place), seen)
        return self._new[last]
