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


WORDLESS_NS = 30_000_000_000
"""A partition that gives nothing for so long although there is more counts as silent all the same. And a time of
writing that no message has come up to for so long is of a clock that nobody goes by any more."""


class Listening:
    """A clock per partition that goes only while it is read. Thread-safe: one thread reads, others ask.

    While a partition is paused its clock stands still, and soon while more lies unread than is taken off: what its
    cameras say comes later. As that is read the clock makes up for the time by the times at which it was written, and
    no faster: a partition with a backlog is heard as far as it has been read, however slowly that goes.
    """

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._listened_ns: Counter[int] = Counter()
        self._polled_ns: int | None = None
        self._missed_ns: Counter[int] = Counter()  # paused or behind, and not made up for
        self._gone_on_ns: Counter[int] = Counter()  # by what was read since the last poll, and not made use of
        self._unheard_ns: Counter[int] = Counter()  # without a word of the broker
        self._written_ns: dict[int, int] = {}  # the latest time at which a message was written that was read
        self._waited_ns: Counter[int] = Counter()  # since a message was later than those before it
        self._behind_ns: Counter[int] = Counter()  # read, with more to read all the time
        self._wordless_ns: Counter[int] = Counter()  # read without a message, since the last one or the last pause
        self._resumed: set[int] = set()  # of which something was read since their last pause

    def polled(self, read: Collection[int], *, paused: Collection[int] = (), unheard: Collection[int] = ()) -> None:
        """A poll is over: the time since the last one counts for the partitions ``read``, of which it could have given
        messages. ``paused``: not asked for, though their broker is there; ``unheard``: their broker says nothing."""
        now_ns = self._clock_ns()
        passed_ns = 0 if self._polled_ns is None else now_ns - self._polled_ns
        self._polled_ns = now_ns
        for partition in paused:
            self._resumed.discard(partition)
            self._wordless_ns.pop(partition, None)
            self._behind_ns[partition] = KEPT_NS  # until there is word that nothing was left unread
        for partition in read:
            self._unheard_ns.pop(partition, None)
        if passed_ns > KEPT_NS:
            return
        behind = {partition for partition in read if self._is_behind(partition)}
        with self._lock:
            self._listened_ns.update(dict.fromkeys(set(read) - behind, passed_ns))
        self._missed_ns.update(dict.fromkeys({*paused, *behind}, passed_ns))
        gone_on_ns, self._gone_on_ns = self._gone_on_ns, Counter()
        for partition in behind:
            self._make_up(partition, gone_on_ns[partition])
        self._waited_ns.update(dict.fromkeys({*paused, *read}, passed_ns))
        self._wordless_ns.update(dict.fromkeys(read, passed_ns))
        self._behind_ns.update(dict.fromkeys(self._behind_ns.keys() & set(read), passed_ns))
        self._unheard_ns.update(dict.fromkeys(unheard, passed_ns))
        for partition in unheard:
            # Nor was it perhaps to be heard while it was paused. For a moment nothing is known of one that is resumed.
            if self._unheard_ns[partition] > KEPT_NS:
                self._missed_ns.pop(partition, None)

    def _is_behind(self, partition: int) -> bool:
        """Not for a moment's sake: of a busy partition there is often more to read, and it comes at once."""
        return self._behind_ns[partition] >= KEPT_NS and self._wordless_ns[partition] < WORDLESS_NS

    def gave(self, partition: int, written_ns: int) -> None:
        """A message of the partition was read that was written then, by the clock of whoever dates messages."""
        before_ns = self._written_ns.get(partition, written_ns)
        self._unheard_ns.pop(partition, None)
        self._wordless_ns.pop(partition, None)
        self._resumed.add(partition)
        # An earlier one is out of order, or of a machine whose clock is behind another's.
        if written_ns >= before_ns or self._waited_ns[partition] > WORDLESS_NS:
            self._written_ns[partition] = written_ns
            self._waited_ns.pop(partition, None)
            self._make_up(partition, min(max(written_ns - before_ns, 0), KEPT_NS))

    def _make_up(self, partition: int, gone_on_ns: int) -> None:
        made_up_ns = min(gone_on_ns, self._missed_ns[partition])
        self._gone_on_ns[partition] += gone_on_ns - made_up_ns
        if made_up_ns:
            self._missed_ns[partition] -= made_up_ns
            with self._lock:
                self._listened_ns[partition] += made_up_ns

    def lags(self, partition: int) -> None:
        """By the broker's last word there is more to read."""
        self._behind_ns.setdefault(partition, 0)

    def caught_up(self, partition: int) -> None:
        """By the broker's last word there is no more to read: what has not been made up for will not be."""
        # Else that word is from before the pause.
        if partition in self._resumed or self._wordless_ns[partition] > KEPT_NS:
            self._missed_ns.pop(partition, None)
            self._behind_ns.pop(partition, None)

    def forget(self, partitions: Collection[int]) -> None:
        """They are another's to read; their clocks go on from here if they come back."""
        for partition in partitions:
            for known in (
                self._missed_ns, self._gone_on_ns, self._unheard_ns, self._written_ns, self._waited_ns,
                self._behind_ns, self._wordless_ns,
            ):  # fmt: skip
                known.pop(partition, None)
            self._resumed.discard(partition)

    def listened_ns(self) -> Mapping[int, int]:
        """Nanoseconds in all, by partition, as of now; 0 for one that was never read."""
        with self._lock:
            return self._listened_ns.copy()
