"""Partitions that give nothing although there is more to read: found, so that their reading is begun anew. Pure.

After a change of brokers or owners a client may hold a partition and never fetch from it, without an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

STALL_SECONDS = 5.0
"""A partition that has given nothing for so long is looked at: once, and again after each such time."""


class Stalls:
    """When each partition last gave something, or was last looked at."""

    def __init__(self, after_s: float = STALL_SECONDS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._after_s = after_s
        self._clock = clock
        self._since: dict[int, float] = {}
        self._behind: set[int] = set()

    def gave(self, partition: int) -> None:
        """A message of the partition was read."""
        self._since[partition] = self._clock()
        self._behind.discard(partition)

    def stalled(self, partition: int, *, behind: bool) -> bool:
        """A suspect was looked at; ``behind``: there is more to read. It is stalled when that was so the last time too,
        and nothing came in between: a first message may be on its way just now."""
        before = partition in self._behind
        self._behind -= {partition}
        if behind and not before:
            self._behind.add(partition)
        return behind and before

    def suspects(self, partitions: Collection[int]) -> list[int]:
        """Which of the partitions that should give something have not for too long; others are forgotten."""
        now = self._clock()
        self._since = {number: self._since.get(number, now) for number in partitions}
        self._behind &= self._since.keys()
        found = sorted(number for number, since in self._since.items() if now - since >= self._after_s)
        self._since |= dict.fromkeys(found, now)
        return found
