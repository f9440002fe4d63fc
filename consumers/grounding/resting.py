"""Alarms at rest: of most alarms, a frame changes nothing but their place in the stream."""

from __future__ import annotations

from consumers.grounding.alarm import AlarmState, Sighting, idles, taken_in_before
from consumers.grounding.alarm_state import moved_on
from consumers.grounding.book import Place
from infra.contracts import StandingQuery


def present(state: AlarmState | None, place: Place | None) -> AlarmState | None:
    """A state as it was noted (`AlarmBook.noted`), at the place that its alarm has come to since."""
    return state if state is None or place is None else moved_on(state, *place)


class Resting:
    """Tells the alarms of one camera that a frame leaves at rest."""

    def __init__(self) -> None:
        self._new: dict[int, bool] = {}  # by the identity of the last frame, which alarms at rest have in common

    def holds(self, query: StandingQuery, state: AlarmState | None, place: Place | None, seen: Sighting) -> bool:
        """Whether the alarm, of which this is noted, has nothing more to do with the sighting than to move on."""
        if state is None or not idles(query, state, seen):
            return False
        last = id(state.frame if place is None else place.frame)
        if last not in self._new:
            self._new[last] = not taken_in_before(state if place is None else moved_on(state, *place), seen)
        return self._new[last]
