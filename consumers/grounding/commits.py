"""Offsets of all assigned partitions: what is open, what is done. Thread-safe; talks to no broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping

from consumers.grounding.offsets import Mark, OffsetTracker


class CommitBook:
    """One tracker per assigned partition.

    Each assignment of a partition is a *lease* with a number of its own. What was begun under an earlier lease counts
    for nothing: its frames are the business of whoever has the partition now, even if that is this worker again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._trackers: dict[int, OffsetTracker] = {}
        self._leases: dict[int, int] = {}
        self._committed: dict[int, Mark | None] = {}
        self._last_lease = 0

    def assign(self, marks: Mapping[int, Mark | None]) -> None:
        """Begins to track partitions where their last owner stopped; None: nothing was ever committed."""
        with self._changed:
            for partition, mark in marks.items():
                self._last_lease += 1
                self._leases[partition] = self._last_lease
                self._trackers[partition] = OffsetTracker(mark)
                self._committed[partition] = mark

    def revoke(self, partitions: Iterable[int]) -> None:
        """Stops to track partitions."""
        with self._changed:
            for partition in partitions:
                for book in (self._trackers, self._leases, self._committed):
                    book.pop(partition, None)
            self._changed.notify_all()

    @property
    def partitions(self) -> set[int]:
        """The assigned partitions."""
        with self._changed:
            return set(self._trackers)

    def lease(self, partition: int) -> int:
        """Number of the partition's present assignment, 0 when it is not ours."""
        with self._changed:
            return self._leases.get(partition, 0)

    def start(self, partition: int, offset: int) -> bool:
        """A message was read; False if it should not be worked on (read twice, done before, or not ours)."""
        with self._changed:
            tracker = self._trackers.get(partition)
            return tracker is not None and tracker.start(offset)

    def finish(self, partition: int, offset: int, fate: str, *, lease: int) -> None:
        """Nothing is to come of the message, read under ``lease``; ``fate`` says why."""
        with self._changed:
            if self._leases.get(partition) == lease:
                self._trackers[partition].finish(offset, fate)
                self._changed.notify_all()

    def abandon(self, partition: int, offset: int, *, lease: int) -> None:
        """The message, read under ``lease``, is left to whoever reads the partition next."""
        with self._changed:
            if self._leases.get(partition) == lease:
                self._trackers[partition].abandon(offset)
                self._changed.notify_all()

    def marks(self, finishing: Mapping[int, Mapping[int, str]]) -> dict[int, Mark]:
        """What to commit together with the messages ``finishing`` (by partition: offset → fate; may be empty).

        Of these partitions always, so that the broker checks whether they are still ours; of others where something
        is new.
        """
        with self._changed:
            found = {}
            for partition, tracker in self._trackers.items():
                mark = tracker.mark(finishing.get(partition))
                if mark is not None and (partition in finishing or mark != self._committed[partition]):
                    found[partition] = mark
            return found

    def committed(self, finished: Mapping[int, Mapping[int, str]], marks: Mapping[int, Mark]) -> None:
        """The broker has committed ``marks``, and with them everything that came of the messages ``finished``."""
        with self._changed:
            for partition, fates in finished.items():
                tracker = self._trackers.get(partition)
                if tracker is not None:
                    for offset, fate in fates.items():
                        tracker.finish(offset, fate)
            self._committed.update({p: mark for p, mark in marks.items() if p in self._trackers})
            self._changed.notify_all()

    def wide(self, window: int) -> set[int]:
        """Partitions with an open message so far behind the last one that no more should be fetched."""
        with self._changed:
            return {partition for partition, tracker in self._trackers.items() if tracker.span > window}

    def wait_idle(self, partitions: Collection[int], seconds: float) -> bool:
        """Waits until of these partitions nothing is in flight and all is committed; False after ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while any(not self._idle(partition) for partition in partitions if partition in self._trackers):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _idle(self, partition: int) -> bool:
        tracker = self._trackers[partition]
        return not tracker.in_flight and tracker.mark() == self._committed[partition]
