"""All alarms of one worker: the states of the cameras whose partitions it holds. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

from consumers.grounding.alarm import AlarmState
from consumers.grounding.plan import Plan
from infra.contracts import Alert


class AlarmBook:
    """States by camera and query id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[tuple[str, str], AlarmState] = {}

    def state(self, camera: str, query_id: str) -> AlarmState | None:
        """The alarm's state, None if it has never been looked at."""
        with self._lock:
            return self._states.get((camera, query_id))

    def states(self, camera: str, query_ids: Iterable[str]) -> list[AlarmState | None]:
        """As `state`, of several of a camera's alarms."""
        with self._lock:
            return [self._states.get((camera, query_id)) for query_id in query_ids]

    def keep(self, *states: AlarmState) -> None:
        """Replaces the states of alarms."""
        with self._lock:
            self._states.update({(state.camera, state.query_id): state for state in states})

    def forget(self, state: AlarmState) -> None:
        """Drops an alarm whose query is gone."""
        with self._lock:
            self._states.pop((state.camera, state.query_id), None)

    def adopt(self, states: Iterable[AlarmState], partitions: Collection[int]) -> int:
        """Takes over the states of newly assigned partitions, as the last worker left them. Returns how many."""
        with self._lock:
            mine = [state for state in states if state.frame.partition in partitions]
            self._states.update({(state.camera, state.query_id): state for state in mine})
            return len(mine)

    def drop(self, partitions: Collection[int]) -> None:
        """Forgets the states of partitions that were taken away; the changelog has them."""
        with self._lock:
            self._states = {k: s for k, s in self._states.items() if s.frame.partition not in partitions}

    def open_alerts(self) -> list[Alert]:
        """All open alerts of live alarms."""
        with self._lock:
            standing = [state for state in self._states.values() if state.episodes and state.mode == "live"]
        return [alert for state in standing for alert in state.alerts]

    def of_query(self, query_id: str) -> list[AlarmState]:
        """States of this query's alarms at all cameras."""
        with self._lock:
            return [state for (_, query), state in self._states.items() if query == query_id]

    def cameras(self) -> set[str]:
        """Cameras with any alarm here."""
        with self._lock:
            return {camera for camera, _ in self._states}

    def of_cameras(self, cameras: Collection[str]) -> list[AlarmState]:
        """States of all alarms at these cameras."""
        with self._lock:
            return [state for (camera, _), state in self._states.items() if camera in cameras]

    def over(self, plan: Plan) -> list[tuple[AlarmState, str]]:
        """Alarms that must end by this plan, each with the reason."""
        with self._lock:
            found = ((state, plan.why_over(state)) for state in self._states.values())
            return [(state, reason) for state, reason in found if reason is not None]

    def __len__(self) -> int:
        with self._lock:
            return len(self._states)
