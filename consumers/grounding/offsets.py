"""Which frames of a partition are done, as its committed offset and metadata say it. Pure.

Kafka keeps one offset per partition: everything before it is done. Frames of several cameras finish out of order, so
those that are done beyond it stand in the commit's metadata (:class:`Mark`); whoever reads the partition next leaves
them out. Without that they would be judged twice, or wait for each other.
"""

from __future__ import annotations

import base64
import zlib
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

WINDOW = 16_000
"""Frames between the first open one and the last one fetched, at most: what the metadata (4096 bytes) has room for."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything before ``offset`` is done, and of what follows the offsets ``ahead``."""

    offset: int
    ahead: frozenset[int] = frozenset()

    def metadata(self, transaction: str) -> str:
        """``ahead`` as text, after the name of the transaction that commits it."""
        if not self.ahead:
            return transaction
        bits = 0
        for offset in self.ahead:
            bits |= 1 << (offset - self.offset)
        packed = zlib.compress(bits.to_bytes(bits.bit_length() // 8 + 1, "little"))
        return f"{transaction} {base64.b64encode(packed).decode()}"

    @classmethod
    def read(cls, offset: int, metadata: str | None) -> Mark:
        """From what was committed. Raises ValueError when it was not written by :meth:`metadata`."""
        _, _, text = (metadata or "").partition(" ")
        if not text:
            return cls(offset)
        try:
            packed = base64.b64decode(text, validate=True)
            inflate = zlib.decompressobj()
            unpacked = inflate.decompress(packed, WINDOW)
        except (ValueError, zlib.error) as error:
            raise ValueError(f"commit metadata {text[:40]!r} cannot be read: {error}") from error
        if inflate.unconsumed_tail or not inflate.eof:
            raise ValueError(f"commit metadata {text[:40]!r} is longer or shorter than any that is written here")
        bits = int.from_bytes(unpacked, "little")
        return cls(offset, frozenset(offset + n for n in range(bits.bit_length()) if bits >> n & 1))


class OffsetTracker:
    """Frames of one partition in flight, in the order of their offsets; begins where the last owner's mark stands."""

    def __init__(self, mark: Mark | None = None) -> None:
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self._abandoned: set[int] = set()
        self._next = mark.offset if mark is not None else None
        self._ahead = set(mark.ahead) if mark is not None else set()  # done by another, not fetched here yet

    def start(self, offset: int) -> bool:
        """A message was fetched. False when it is not to be worked on: delivered twice, or done before."""
        last = self._open[-1] + 1 if self._open else self._next
        if last is not None and offset < last:
            return False
        self._open.append(offset)
        if offset in self._ahead:
            self._ahead.discard(offset)
            self.finish(offset)
            return False
        return True

    def finish(self, offset: int) -> None:
        """All that came of the message is committed. Finishing one that is not open changes nothing."""
        if offset in self._abandoned or not self._open or not self._open[0] <= offset <= self._open[-1]:
            return
        self._finished.add(offset)
        while self._open and self._open[0] in self._finished:
            first = self._open.popleft()
            self._finished.discard(first)
            self._next = first + 1

    def abandon(self, offset: int) -> None:
        """Nobody works on the message here any more, and it is not done: whoever reads on does it."""
        if offset in self._open and offset not in self._finished:
            self._abandoned.add(offset)

    def mark(self, finishing: Collection[int] = ()) -> Mark | None:
        """What is done once ``finishing`` are too; None before anything was fetched of a partition without a commit."""
        done = self._finished | {offset for offset in finishing if offset not in self._abandoned}
        first = next((offset for offset in self._open if offset not in done), None)
        if first is None:
            first = self._open[-1] + 1 if self._open else self._next
        if first is None:
            return None
        return Mark(first, frozenset(offset for offset in done | self._ahead if offset >= first))

    @property
    def in_flight(self) -> int:
        """Messages started and neither finished nor abandoned."""
        return len(self._open) - len(self._finished) - len(self._abandoned)

    @property
    def span(self) -> int:
        """Offsets from the first open message to the last one fetched."""
        return self._open[-1] - self._open[0] + 1 if self._open else 0
