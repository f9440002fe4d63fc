"""Capture times: wall-clock nanoseconds that never run backward and take no jumps from small clock corrections."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

import structlog

log = structlog.get_logger(__name__)

STEP_NS = 5_000_000_000
"""A wall clock that is off by more than this was set, not corrected; its new time is taken at once."""
SLEW = 0.01
"""Smaller corrections are followed by at most 1 % of the time that has passed."""


class CaptureClock:
    """``now()`` in ns since the epoch, UTC: the monotonic clock, kept near the wall clock. Safe between threads."""

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._lock = Lock()
        self._last_monotonic = monotonic_ns()
        self._offset = wall_ns() - self._last_monotonic
        self._last = 0

    def now(self) -> int:
        """Strictly larger than every earlier result, except after the wall clock was set back by seconds or more."""
        with self._lock:
            monotonic = self._monotonic_ns()
            error = self._wall_ns() - monotonic - self._offset
            if abs(error) > STEP_NS:
                log.warning("the wall clock was set; capture times follow", seconds=round(error / 1e9, 3))
                self._offset += error
                self._last = 0
            else:
                limit = int((monotonic - self._last_monotonic) * SLEW)
                self._offset += max(-limit, min(limit, error))
            self._last_monotonic = monotonic
            self._last = max(self._last + 1, monotonic + self._offset)
            return self._last
