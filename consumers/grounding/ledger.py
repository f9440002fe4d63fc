"""What became of every frame.

At any moment, of all cameras and of each: fetched = scored + skipped (by reason) + rejected (by reason) + in flight.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from infra.metrics import counter, gauge

SkipReason = Literal["behind", "expired", "rate", "overload", "no_query", "handed_over", "stopped"]
"""Why a frame was not scored. ``behind``: a newer one of its camera came first (freshness `latest`); ``expired``: past
its expiry; ``rate``: no query was due; ``overload``: those that were due are looked at less often, for there is no time
for all; ``no_query``: no query watches the camera; ``handed_over`` and ``stopped``: its offset was not committed and
whoever reads the partition next gets it again."""

_FETCHED = counter("simvg_worker_frames_fetched_total", "frames read from Kafka", ("camera",))
_SCORED = counter("simvg_worker_frames_scored_total", "frames that the model looked at", ("camera",))
_SKIPPED = counter("simvg_worker_frames_skipped_total", "frames that were not scored, and why", ("camera", "reason"))
_REJECTED = counter(
    "simvg_worker_frames_rejected_total", "messages put on frames-rejected, and why", ("camera", "reason")
)
_IN_FLIGHT = gauge("simvg_worker_frames_in_flight", "frames read whose fate is open", ("camera",))


@dataclass(frozen=True)
class Totals:
    """The counts at one moment."""

    fetched: int = 0
    scored: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every frame is accounted for."""
        return self.fetched == self.scored + sum(self.skipped.values()) + sum(self.rejected.values()) + self.in_flight


class Ledger:
    """Counts frames by their Kafka place, so that none is counted twice or forgotten. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fetched: Counter[str] = Counter()
        self._scored: Counter[str] = Counter()
        self._skipped: Counter[tuple[str, str]] = Counter()
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._open: Counter[tuple[int, int]] = Counter()  # a place is read again after a hand-over to and fro
        self._in_flight: Counter[str] = Counter()

    def fetched(self, camera: str, place: tuple[int, int]) -> None:
        """A message was read; ``place`` is its partition and offset, ``camera`` may be ``unknown``."""
        with self._lock:
            self._open[place] += 1
            self._in_flight[camera] += 1
            self._fetched[camera] += 1
        _FETCHED.labels(camera).inc()
        _IN_FLIGHT.labels(camera).inc()

    def scored(self, camera: str, place: tuple[int, int]) -> None:
        """The model looked at the frame and its results are on their way."""
        with self._ending(camera, place):
            self._scored[camera] += 1
        _SCORED.labels(camera).inc()

    def skipped(self, camera: str, place: tuple[int, int], reason: SkipReason) -> None:
        """The frame is not scored."""
        with self._ending(camera, place):
            self._skipped[camera, reason] += 1
        _SKIPPED.labels(camera, reason).inc()

    def rejected(self, camera: str, place: tuple[int, int], reason: str) -> None:
        """The message is no frame, or its image cannot be read."""
        with self._ending(camera, place):
            self._rejected[camera, reason] += 1
        _REJECTED.labels(camera, reason).inc()

    def by_camera(self, reason: SkipReason) -> dict[str, tuple[int, int]]:
        """Of each camera, how many frames were fetched and how many of them skipped for this reason."""
        with self._lock:
            return {camera: (count, self._skipped[camera, reason]) for camera, count in self._fetched.items()}

    def cameras_in_flight(self) -> set[str]:
        """Cameras of which frames were read and are not done with."""
        with self._lock:
            return {camera for camera, count in self._in_flight.items() if count > 0}

    def totals(self, camera: str | None = None) -> Totals:
        """The counts of one camera, or of all."""
        with self._lock:
            mine = (lambda name: True) if camera is None else (lambda name: name == camera)
            skipped: Counter[str] = Counter()
            rejected: Counter[str] = Counter()
            for (name, reason), count in self._skipped.items():
                skipped[reason] += count if mine(name) else 0
            for (name, reason), count in self._rejected.items():
                rejected[reason] += count if mine(name) else 0
            return Totals(
                sum(count for name, count in self._fetched.items() if mine(name)),
                sum(count for name, count in self._scored.items() if mine(name)),
                dict(+skipped),
                dict(+rejected),
                sum(count for name, count in self._in_flight.items() if mine(name)),
            )

    @contextmanager
    def _ending(self, camera: str, place: tuple[int, int]) -> Iterator[None]:
        with self._lock:
            assert self._open[place] > 0, f"frame at {place} ends twice"
            self._open[place] -= 1
            self._in_flight[camera] -= 1
            if not self._open[place]:
                del self._open[place]
            yield
        _IN_FLIGHT.labels(camera).dec()
