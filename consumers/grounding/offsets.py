"""Which frames of a partition are done, as its committed offset and metadata say it. Pure.

Kafka keeps one offset per partition: everything before it is done. Frames of several cameras finish out of order, so
those that are done beyond it stand in the commit's metadata (:class:`Mark`); whoever reads the partition next leaves
them out. Without that they would be judged twice, or wait for each other. What became of all of them stands there too:
the sums are exact, because they are committed with what they count.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

WINDOW = 16_000
"""Frames between the first open one and the last one fetched, at most: what the metadata (4096 bytes) has room for."""


FATES = re.compile(r"([a-z_]{1,40})=(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything before ``offset`` is done, and of what follows the offsets ``ahead``.

    ``fates``: how many of the partition's frames met which end (`scored`, `skipped_REASON`, `rejected_REASON`) since
    the group began, sorted by name.
    """

    offset: int
    ahead: frozenset[int] = frozenset()
    fates: tuple[tuple[str, int], ...] = ()

    def metadata(self, transaction: str) -> str:
        """``ahead`` and ``fates`` as text, after the name of the transaction that commits them."""
        packed = "-"
        if self.ahead:
            bits = 0
            for offset in self.ahead:
                bits |= 1 << (offset - self.offset)
            squeezed = zlib.compress(bits.to_bytes(bits.bit_length() // 8 + 1, "little"))
            packed = base64.b64encode(squeezed).decode()
        return " ".join((transaction, packed, *(f"{name}={count}" for name, count in self.fates)))

    @classmethod
    def read(cls, offset: int, metadata: str | None) -> Mark:
        """From what was committed. Raises ValueError when it was not written by :meth:`metadata`."""
        if not metadata:
            return cls(offset)
        _, text, *counts = metadata.split(" ") if " " in metadata else (metadata, "?")
        ahead = frozenset[int]() if text == "-" else _unpacked(offset, text)
        fates = [FATES.fullmatch(count) for count in counts]
        if None in fates:
            raise ValueError(f"commit metadata {metadata[:80]!r} counts what is not known here")
        return cls(offset, ahead, tuple((fate[1], int(fate[2])) for fate in fates if fate is not None))


def _unpacked(offset: int, text: str) -> frozenset[int]:
    try:
        packed = base64.b64decode(text, validate=True)
        inflate = zlib.decompressobj()
        unpacked = inflate.decompress(packed, WINDOW)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"commit metadata {text[:40]!r} cannot be read: {error}") from error
    if inflate.unconsumed_tail or not inflate.eof:
        raise ValueError(f"commit metadata {text[:40]!r} is longer or shorter than any that is written here")
    bits = int.from_bytes(unpacked, "little")
    return frozenset(offset + n for n in range(bits.bit_length()) if bits >> n & 1)


class OffsetTracker:
    """Frames of one partition in flight, in the order of their offsets; begins where the last owner's mark stands."""

    def __init__(self, mark: Mark | None = None) -> None:
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self._abandoned: set[int] = set()
        self._next = mark.offset if mark is not None else None
        self._ahead = set(mark.ahead) if mark is not None else set()  # done by another, not fetched here yet
        self._fates = Counter(dict(mark.fates)) if mark is not None else Counter()

    def start(self, offset: int) -> bool:
        """A message was fetched. False when it is not to be worked on: delivered twice, or done before."""
        last = self._open[-1] + 1 if self._open else self._next
        if last is not None and offset < last:
            return False
        self._open.append(offset)
        if offset in self._ahead:
            self._ahead.discard(offset)
            self._finish(offset)
            return False
        return True

    def finish(self, offset: int, fate: str) -> None:
        """All that came of the message is committed. Finishing one that is not open changes nothing."""
        if self._is_open(offset):
            self._fates[fate] += 1
            self._finish(offset)

    def _is_open(self, offset: int) -> bool:
        return offset in self._open and offset not in self._finished and offset not in self._abandoned

    def _finish(self, offset: int) -> None:
        self._finished.add(offset)
        while self._open and self._open[0] in self._finished:
            first = self._open.popleft()
            self._finished.discard(first)
            self._next = first + 1

    def abandon(self, offset: int) -> None:
        """Nobody works on the message here any more, and it is not done: whoever reads on does it."""
        if offset in self._open and offset not in self._finished:
            self._abandoned.add(offset)

    def mark(self, finishing: Mapping[int, str] | None = None) -> Mark | None:
        """What is done once ``finishing`` (offset → fate) are too.

        None before anything was fetched of a partition without a commit.
        """
        ending = {offset: fate for offset, fate in (finishing or {}).items() if self._is_open(offset)}
        done = self._finished | set(ending)
        fates = self._fates + Counter(ending.values())
        first = next((offset for offset in self._open if offset not in done), None)
        if first is None:
            first = self._open[-1] + 1 if self._open else self._next
        if first is None:
            return None
        ahead = frozenset(offset for offset in done | self._ahead if offset >= first)
        return Mark(first, ahead, tuple(sorted(fates.items())))

    @property
    def in_flight(self) -> int:
        """Messages started and neither finished nor abandoned."""
        return len(self._open) - len(self._finished) - len(self._abandoned)

    @property
    def span(self) -> int:
        """Offsets from the first open message to the last one fetched."""
        return self._open[-1] - self._open[0] + 1 if self._open else 0
