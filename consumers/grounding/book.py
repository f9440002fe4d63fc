"""All alarms of one worker: the states of the cameras whose partitions it holds. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

from consumers.grounding.alarm import AlarmState, Place
from consumers.grounding.alarm_state import at_rest, differs, moved_on, outlasts
from consumers.grounding.plan import Plan
from infra.contracts import CAMERA_BLIND, Alert


class AlarmBook:
    """States by camera and query id.

    An alarm at rest moves on with every frame, and nothing else of it changes. Then its place alone is noted: a
    thousand states made anew would take a good part of the time that the model takes for the frame.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[tuple[str, str], AlarmState] = {}
        self._places: dict[tuple[str, str], Place] = {}  # of those that have moved on since

    def state(self, camera: str, query_id: str) -> AlarmState | None:
        """The alarm's state, None if it has never been looked at."""
        with self._lock:
            key = camera, query_id
            return self._now(key) if key in self._states else None

    def noted(self, camera: str, query_ids: Iterable[str]) -> list[tuple[AlarmState | None, Place | None]]:
        """Of several of a camera's alarms the state, as it was kept, and the place, if it has moved on since."""
        with self._lock:
            keys = [(camera, query_id) for query_id in query_ids]
            return [(self._states.get(key), self._places.get(key)) for key in keys]

    def keep(self, *states: AlarmState) -> None:
        """Replaces the states of alarms."""
        with self._lock:
            self._keep(states)

    def move_on(self, camera: str, query_ids: Iterable[str], place: Place) -> None:
        """Alarms of a camera, each with a state, have taken in a frame that changed nothing else of them."""
        with self._lock:
            self._places.update(dict.fromkeys([(camera, query_id) for query_id in query_ids], place))

    def forget(self, state: AlarmState) -> None:
        """Drops an alarm whose query is gone."""
        with self._lock:
            self._states.pop((state.camera, state.query_id), None)
            self._places.pop((state.camera, state.query_id), None)

    def adopt(self, states: Iterable[AlarmState], partitions: Collection[int]) -> int:
        """Takes over the states of newly assigned partitions, as the last worker left them. Returns how many."""
        with self._lock:
            mine = [state for state in states if state.frame.partition in partitions]
            self._keep(mine)
            return len(mine)

    def drop(self, partitions: Collection[int]) -> None:
        """Forgets the states of partitions that were taken away; the changelog has them."""
        with self._lock:
            gone = [key for key in self._states if self._now(key).frame.partition in partitions]
            for key in gone:
                del self._states[key]
                self._places.pop(key, None)

    def open_alerts(self) -> list[Alert]:
        """All open alerts of live alarms."""
        with self._lock:
            standing = [state for state in self._states.values() if state.episodes and state.mode == "live"]
        return [alert for state in standing for alert in state.alerts]

    def of_query(self, query_id: str) -> list[AlarmState]:
        """States of this query's alarms at all cameras."""
        with self._lock:
            return [self._now(key) for key in self._states if key[1] == query_id]

    def of_cameras(self, cameras: Collection[str]) -> list[AlarmState]:
        """States of all alarms at these cameras."""
        with self._lock:
            return [self._now(key) for key in self._states if key[0] in cameras]

    def over(self, plan: Plan) -> list[tuple[AlarmState, str]]:
        """Alarms that must end by this plan and have not, each with the reason.

        What is kept of one that has ended, for a query that may come back, is not told again.
        """
        with self._lock:
            found = ((state, plan.why_over(state)) for state in map(self._now, self._states))
            return [
                (state, reason)
                for state, reason in found
                if reason is not None and (plan.removed(state.query_id) or not _has_ended(state))
            ]

    def partitions(self) -> dict[str, int]:
        """Cameras with any alarm here, each with its partition of the frames: that of its own alarm, if it has one, for
        no other takes in every frame."""
        found: dict[str, int] = {}
        with self._lock:
            for key, state in self._states.items():
                if key[0] not in found or key[1] == CAMERA_BLIND:
                    found[key[0]] = (self._places.get(key) or state).frame.partition
        return found

    def __len__(self) -> int:
        with self._lock:
            return len(self._states)

    def _now(self, key: tuple[str, str]) -> AlarmState:
        return moved_on(self._states[key], self._places.get(key))

    def _keep(self, states: Iterable[AlarmState]) -> None:
        for state in states:
            key = state.camera, state.query_id
            self._states[key] = state
            self._places.pop(key, None)


def _has_ended(state: AlarmState) -> bool:
    return outlasts(state) and not differs(state, at_rest(state))
