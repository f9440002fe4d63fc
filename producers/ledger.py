"""The books of one camera: every captured frame ends as published or as dropped for a reason, or is under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

from producers import metrics

DropReason = Literal[
    "corrupt",  # the source had it and nobody can decode it
    "rate",  # over the frames per second that were asked for
    "queue_full",  # Kafka is away or slow: newer frames took its place
    "expired",  # too old by the time it could be sent
    "encode_failed",  # the encoder refused the picture
    "too_large",  # over max_message_bytes
    "broker_away",  # sent and not confirmed in time
    "topic_missing",
    "refused",  # Kafka refused it for another reason
    "stopped",  # the camera was stopped before it could be sent
]


@dataclass(frozen=True, slots=True)
class Counts:
    """A moment's state of the books. ``captured == published + sum(dropped.values()) + under_way``, always."""

    captured: int = 0
    published: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def under_way(self) -> int:
        """Frames captured that wait to be sent or confirmed."""
        return self.captured - self.published - sum(self.dropped.values())


class Ledger:
    """Counts frames; safe between threads. The same numbers appear in the metrics."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._lock = Lock()
        self._captured = 0
        self._published = 0
        self._dropped: dict[str, int] = {}
        for count in (metrics.CAPTURED, metrics.PUBLISHED, metrics.PUBLISHED_BYTES):
            count.labels(camera)  # from 0, so that a camera that publishes nothing is seen as such

    def captured(self) -> None:
        with self._lock:
            self._captured += 1
            metrics.CAPTURED.labels(self._camera).inc()
            self._show()

    def published(self, size: int) -> None:
        """``size``: bytes of the image."""
        with self._lock:
            self._published += 1
            metrics.PUBLISHED.labels(self._camera).inc()
            metrics.PUBLISHED_BYTES.labels(self._camera).inc(size)
            self._show()

    def dropped(self, reason: DropReason, frames: int = 1) -> int:
        """Returns how many frames were dropped for this reason so far."""
        with self._lock:
            total = self._dropped[reason] = self._dropped.get(reason, 0) + frames
            metrics.DROPPED.labels(self._camera, reason).inc(frames)
            self._show()
        return total

    def counts(self) -> Counts:
        with self._lock:
            return self._counts()

    def _counts(self) -> Counts:
        return Counts(self._captured, self._published, dict(self._dropped))

    def _show(self) -> None:
        """Under the lock: what another thread booked since would be overwritten with an older number."""
        metrics.QUEUED.labels(self._camera).set(self._counts().under_way)
