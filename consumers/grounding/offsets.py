"""Which offset of a partition may be committed: everything before it is finished. Pure."""

from __future__ import annotations

from collections import deque


class OffsetTracker:
    """Frames of one partition in flight, in the order of their offsets.

    Frames finish in any order (one is skipped while an earlier one waits for its delivery); the committable offset
    moves only over a gapless row of finished ones.
    """

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self._abandoned: set[int] = set()
        self._next: int | None = None

    def start(self, offset: int) -> bool:
        """A message was fetched. False when it is not beyond the last one: it was delivered twice."""
        if (self._open and offset <= self._open[-1]) or (
            not self._open and self._next is not None and offset < self._next
        ):
            return False
        self._open.append(offset)
        return True

    def finish(self, offset: int) -> None:
        """All that came of the message is safe. Finishing one that is not open changes nothing."""
        if offset in self._abandoned or not self._open or not self._open[0] <= offset <= self._open[-1]:
            return
        self._finished.add(offset)
        while self._open and self._open[0] in self._finished:
            first = self._open.popleft()
            self._finished.discard(first)
            self._next = first + 1

    def abandon(self, offset: int) -> None:
        """Nobody works on the message here any more, and it is not done: nothing behind it may be committed."""
        if offset in self._open and offset not in self._finished:
            self._abandoned.add(offset)

    @property
    def in_flight(self) -> int:
        """Messages started and neither finished nor abandoned."""
        return len(self._open) - len(self._finished) - len(self._abandoned)

    @property
    def committable(self) -> int | None:
        """Offset to commit (the next one to read), None before the first message is finished."""
        return self._next
