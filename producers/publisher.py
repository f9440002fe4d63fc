"""Frames from the capture to Kafka, through a bounded queue in which the newest win."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Protocol

import structlog

from infra.cloudevents import frame_headers
from infra.contracts import FrameHeader, MessageReference
from infra.errors import (
    BrokerError,
    BrokerUnavailable,
    BufferFull,
    CameraError,
    MessageTooLarge,
    SimVGLineError,
    TopicMissing,
)
from infra.kafka import Headers, OnDelivery
from producers import metrics
from producers.drops import Drops
from producers.encoding import Encoder
from producers.frame import CapturedFrame, EncodedImage
from producers.ledger import DropReason, Ledger

log = structlog.get_logger(__name__)

_POLL_SECONDS = 0.01
_IDLE_SECONDS = 0.2


class Outlet(Protocol):
    """The part of :class:`infra.kafka.Publisher` that is used; it says what is raised."""

    def send(
        self, topic: str, *, key: bytes, value: bytes, headers: Headers | None, on_delivery: OnDelivery | None
    ) -> None: ...
    def poll(self, seconds: float) -> int: ...
    def close(self, seconds: float) -> int: ...


@dataclass(frozen=True, kw_only=True)
class PublishingLimits:
    """``lossless``: a full queue makes the capture wait, and no frame expires; for recordings played fast."""

    queue_frames: int = 32
    in_flight_frames: int = 16
    expiry_seconds: float | None = 30.0
    lossless: bool = False


class FramePublisher:
    """Takes frames from the capture thread and publishes them, in order, in a thread of its own.

    While Kafka is away at most ``in_flight_frames`` are tied up in the Kafka client until they are delivered or time
    out; of the others the newest ``queue_frames`` are kept. Pictures are encoded only when it is their turn, so frames
    that are dropped cost nothing.
    """

    def __init__(
        self,
        camera: str,
        topic: str,
        outlet: Outlet,
        encoder: Encoder,
        ledger: Ledger,
        limits: PublishingLimits,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._camera = camera
        self._topic = topic
        self._outlet = outlet
        self._encoder = encoder
        self._ledger = ledger
        self._drop = Drops(camera, ledger)
        self._limits = limits
        self._wall_ns = wall_ns
        self._queue: deque[tuple[float, CapturedFrame]] = deque()
        self._changed = Condition()
        self._in_flight = 0
        self._closed = False
        self._deadline: float | None = None
        self.moved: Callable[[], None] = lambda: None
        """Called whenever the thread moves."""
        self.failure: Exception | None = None
        """What ended publishing before its time."""
        self._thread = Thread(target=self._run, name=f"publish-{camera}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def offer(self, frame: CapturedFrame) -> None:
        """Takes a frame that the ledger has as captured. When the queue is full the oldest frame in it is dropped, or,
        lossless, the caller waits."""
        with self._changed:
            if self._limits.lossless:
                self._changed.wait_for(lambda: self._closed or len(self._queue) < self._limits.queue_frames)
            if self._closed:
                self._drop("stopped", "the camera is stopping")
                return
            if len(self._queue) >= self._limits.queue_frames:
                self._queue.popleft()
                self._drop(
                    "queue_full",
                    f"Kafka does not take frames fast enough or is away; of those waiting the newest "
                    f"{self._limits.queue_frames} are kept",
                )
            self._queue.append((time.monotonic(), frame))
            self._changed.notify_all()

    def finish(self, seconds: float | None) -> None:
        """No further frames: publish those that wait, for at most ``seconds`` (None: until all are done), then drop the
        rest. May be called again with a shorter time. Returns when the books are closed or ``seconds`` are over."""
        with self._changed:
            self._closed = True
            self._deadline = None if seconds is None else time.monotonic() + seconds
            self._changed.notify_all()

    def join(self, seconds: float | None = None) -> bool:
        """Waits for the end of publishing after :meth:`finish`; False when it is not over after ``seconds``."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._over():
                self.moved()
                if self._in_flight >= self._limits.in_flight_frames:
                    self._outlet.poll(_POLL_SECONDS)
                    continue
                waiting = self._next(0.0 if self._in_flight else _IDLE_SECONDS)
                if waiting is not None:
                    self._publish(*waiting)
                self._outlet.poll(0.0 if waiting is not None else _POLL_SECONDS)
        except Exception as error:
            if not isinstance(error, SimVGLineError):
                log.exception("publishing failed", camera=self._camera)
            self.failure = error
        finally:
            self._settle()

    @property
    def done(self) -> bool:
        """Whether publishing has ended."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def _over(self) -> bool:
        with self._changed:
            late = self._deadline is not None and time.monotonic() > self._deadline
            return self._closed and (late or (not self._queue and not self._in_flight))

    def _next(self, seconds: float) -> tuple[float, CapturedFrame] | None:
        with self._changed:
            if not self._queue and not self._closed:
                self._changed.wait(seconds)
            if not self._queue:
                return None
            frame = self._queue.popleft()
            self._changed.notify_all()
            return frame

    def _publish(self, queued: float, frame: CapturedFrame) -> None:
        started = time.monotonic()
        self._stage("queue", started - queued)
        expires = self._expires(frame)
        if expires is not None and self._wall_ns() > expires:
            self._drop("expired", f"it waited over {self._limits.expiry_seconds:g} s for Kafka")
            return
        try:
            image = self._encoder.encode(frame.image)
        except CameraError as error:
            self._drop("encode_failed", str(error))
            return
        sent = time.monotonic()
        self._stage("encode", sent - started)
        self._send(frame, image, expires, sent)

    def _send(self, frame: CapturedFrame, image: EncodedImage, expires: int | None, sent: float) -> None:
        def delivered(error: Exception | None, where: MessageReference | None) -> None:
            self._in_flight -= 1
            if error is None:
                self._stage("publish", time.monotonic() - sent)
                self._ledger.published(len(image.data))
            else:
                self._drop(self._reason(error), str(error))

        header = FrameHeader(
            id=f"{self._camera}/{frame.epoch}/{frame.sequence}",
            camera=self._camera,
            sequence=frame.sequence,
            epoch=frame.epoch,
            captured_ns=frame.captured_ns,
            published_ns=self._wall_ns(),
            width=image.width,
            height=image.height,
            content_type=image.content_type,
            expires_ns=expires,
        )
        self._in_flight += 1
        try:
            while True:
                try:
                    self._outlet.send(
                        self._topic,
                        key=self._camera.encode(),
                        value=image.data,
                        headers=frame_headers(header),
                        on_delivery=delivered,
                    )
                    return
                except BufferFull:
                    # Few large frames can fill the client's memory before in_flight_frames is reached.
                    if self._in_flight == 1 or self._late():
                        raise
                    self._outlet.poll(_POLL_SECONDS)
        except BrokerError as error:
            self._in_flight -= 1
            self._drop(self._reason(error), str(error))

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _expires(self, frame: CapturedFrame) -> int | None:
        if self._limits.lossless or self._limits.expiry_seconds is None:
            return None
        return frame.captured_ns + int(self._limits.expiry_seconds * 1e9)

    def _reason(self, error: Exception) -> DropReason:
        if isinstance(error, MessageTooLarge):
            return "too_large"
        if isinstance(error, TopicMissing):
            return "topic_missing"
        if self._late():
            return "stopped"
        return "broker_away" if isinstance(error, (BrokerUnavailable, BufferFull)) else "refused"

    def _stage(self, stage: str, seconds: float) -> None:
        metrics.STAGE_SECONDS.labels(self._camera, stage).observe(max(seconds, 0.0))

    def _settle(self) -> None:
        """Everything that is left is dropped, so that the books add up whatever happened."""
        with self._changed:
            self._closed = True
            self._deadline = time.monotonic() if self._deadline is None else self._deadline
            left = len(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        if left:
            self._drop("stopped", "the camera was stopped before they could be sent", left)
        try:
            self._outlet.close(0.0)
        except BrokerError as error:
            self.failure = self.failure or error
        if self._in_flight:
            self._drop("stopped", "the camera was stopped before Kafka confirmed them", self._in_flight)
            self._in_flight = 0
