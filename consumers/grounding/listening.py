"""For how long each partition has really been read: a camera is blamed for no other silence."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection

KEPT_NS = 1_000_000_000
"""Polls follow each other within a tenth of a second. Between two that are further apart than this the thread was kept
from reading, as by the taking over of partitions."""


class Listening:
    """A clock per partition that goes only while it is read. Thread-safe: one thread reads, others ask."""

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._listened_ns: Counter[int] = Counter()
        self._polled_ns: int | None = None

    def polled(self, partitions: Collection[int]) -> None:
        """A poll that could have given messages of these partitions is over: the time since the last one counts."""
        now_ns = self._clock_ns()
        passed_ns = 0 if self._polled_ns is None else now_ns - self._polled_ns
        self._polled_ns = now_ns
        if passed_ns <= KEPT_NS:
            with self._lock:
                self._listened_ns.update(dict.fromkeys(partitions, passed_ns))

    def listened_ns(self, partition: int) -> int:
        """Nanoseconds in all."""
        with self._lock:
            return self._listened_ns[partition]
