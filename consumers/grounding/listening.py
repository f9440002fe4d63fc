"""For how long each partition has really been read: a camera is blamed for no other silence."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping

KEPT_NS = 1_000_000_000
"""Polls follow each other within a tenth of a second. Between two that are further apart than this the thread was kept
from reading, as by the taking over of partitions. Nor says a longer gap between two messages that anyone could write
in it: the broker may have been away."""


class Listening:
    """A clock per partition that goes only while it is read. Thread-safe: one thread reads, others ask.

    While a partition is paused its clock stands still: what its cameras say lies unread. As that is read later, the
    clock makes up for the pause by the times at which it was written, and no faster: a partition that is paused most of
    the time is heard as far as it has been read.
    """

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._listened_ns: Counter[int] = Counter()
        self._polled_ns: int | None = None
        self._missed_ns: Counter[int] = Counter()  # paused, and not made up for
        self._unheard_ns: Counter[int] = Counter()  # without a word of the broker
        self._written_ns: dict[int, int] = {}  # the latest time at which a message was written that was read
        self._resumed: set[int] = set()  # of which something was read since their last pause

    def polled(self, read: Collection[int], *, paused: Collection[int] = (), unheard: Collection[int] = ()) -> None:
        """A poll is over: the time since the last one counts for the partitions ``read``, of which it could have given
        messages. ``paused``: not asked for, though their broker is there; ``unheard``: their broker says nothing."""
        now_ns = self._clock_ns()
        passed_ns = 0 if self._polled_ns is None else now_ns - self._polled_ns
        self._polled_ns = now_ns
        self._resumed.difference_update(paused)
        for partition in read:
            self._unheard_ns.pop(partition, None)
        if passed_ns > KEPT_NS:
            return
        with self._lock:
            self._listened_ns.update(dict.fromkeys(read, passed_ns))
        self._missed_ns.update(dict.fromkeys(paused, passed_ns))
        self._unheard_ns.update(dict.fromkeys(unheard, passed_ns))
        for partition in unheard:
            # Nor was it perhaps to be heard while it was paused. For a moment nothing is known of one that is resumed.
            if self._unheard_ns[partition] > KEPT_NS:
                self._missed_ns.pop(partition, None)

    def gave(self, partition: int, written_ns: int) -> None:
        """A message of the partition was read that was written then, by the clock of whoever dates messages."""
        before_ns = self._written_ns.get(partition, written_ns)
        self._written_ns[partition] = max(before_ns, written_ns)
        self._unheard_ns.pop(partition, None)
        self._resumed.add(partition)
        made_up_ns = min(max(written_ns - before_ns, 0), KEPT_NS, self._missed_ns[partition])
        if made_up_ns:
            self._missed_ns[partition] -= made_up_ns
            with self._lock:
                self._listened_ns[partition] += made_up_ns

    def caught_up(self, partition: int) -> None:
        """By the broker's last word there is no more to read: what has not been made up for will not be."""
        if partition in self._resumed:  # else that word is from before the pause
            self._missed_ns.pop(partition, None)

    def forget(self, partitions: Collection[int]) -> None:
        """They are another's to read; their clocks go on from here if they come back."""
        for partition in partitions:
            for known in (self._missed_ns, self._unheard_ns, self._written_ns):
                known.pop(partition, None)
            self._resumed.discard(partition)

    def listened_ns(self) -> Mapping[int, int]:
        """Nanoseconds in all, by partition, as of now; 0 for one that was never read."""
        with self._lock:
            return self._listened_ns.copy()
