"""Offsets of all assigned partitions: what is open, what is safe to commit. Thread-safe; talks to no broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable

from consumers.grounding.offsets import OffsetTracker


class CommitBook:
    """One tracker per assigned partition.

    A frame that finishes after its partition was taken away changes nothing: its offset is the next owner's business.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._trackers: dict[int, OffsetTracker] = {}
        self._committed: dict[int, int] = {}

    def assign(self, partitions: Iterable[int]) -> None:
        """Begins to track partitions."""
        with self._changed:
            for partition in partitions:
                self._trackers[partition] = OffsetTracker()
                self._committed.pop(partition, None)

    def revoke(self, partitions: Iterable[int]) -> None:
        """Stops to track partitions."""
        with self._changed:
            for partition in partitions:
                self._trackers.pop(partition, None)
                self._committed.pop(partition, None)
            self._changed.notify_all()

    @property
    def partitions(self) -> set[int]:
        """The assigned partitions."""
        with self._changed:
            return set(self._trackers)

    def start(self, partition: int, offset: int) -> bool:
        """A message was read; False if it should not be worked on (read twice, or not ours)."""
        with self._changed:
            tracker = self._trackers.get(partition)
            return tracker is not None and tracker.start(offset)

    def finish(self, partition: int, offset: int) -> None:
        """Everything that came of the message is confirmed by the broker."""
        with self._changed:
            tracker = self._trackers.get(partition)
            if tracker is not None:
                tracker.finish(offset)
                self._changed.notify_all()

    def abandon(self, partition: int, offset: int) -> None:
        """The message is left to whoever reads the partition next."""
        with self._changed:
            tracker = self._trackers.get(partition)
            if tracker is not None:
                tracker.abandon(offset)
                self._changed.notify_all()

    def due(self, partitions: Collection[int] | None = None) -> dict[int, int]:
        """Next offset to commit, of partitions where it has moved since :meth:`committed`."""
        with self._changed:
            return {
                partition: tracker.committable
                for partition, tracker in self._trackers.items()
                if (partitions is None or partition in partitions)
                and tracker.committable is not None
                and tracker.committable != self._committed.get(partition)
            }

    def committed(self, offsets: dict[int, int]) -> None:
        """These offsets were handed to the broker."""
        with self._changed:
            self._committed.update(offsets)

    def wait_idle(self, partitions: Collection[int], seconds: float) -> bool:
        """Waits until nothing of these partitions is in flight; False when some still is after ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while any(t.in_flight for p, t in self._trackers.items() if p in partitions):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True
