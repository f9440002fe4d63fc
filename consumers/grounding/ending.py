"""How a worker ends: one deadline for all that has to be waited for, so that the waits do not add up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Thread

REST_SECONDS = 1.0
"""For all that comes after the frames in flight are finished or given up: threads, the group, the registry."""


class Deadline:
    """``seconds`` from now. What is asked for later gets what is left."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._seconds = seconds

    @property
    def left(self) -> float:
        """Seconds, at least 0."""
        return max(self._seconds - self.passed, 0.0)

    @property
    def passed(self) -> float:
        """Seconds since it was set."""
        return self._clock() - self._began


def tell(stops: Iterable[Callable[[float], object]]) -> None:
    """Tells parts of the worker to end, and waits for none yet."""
    for stop in stops:
        stop(0.0)


def end(by: Deadline, threads: Iterable[Thread], stops: Iterable[Callable[[float], object]]) -> None:
    """Waits for all that was told to end. ``stops``: what ends a part of the worker and waits so many seconds."""
    for thread in threads:
        thread.join(by.left)
    for stop in stops:
        stop(by.left)
