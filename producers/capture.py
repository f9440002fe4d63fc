"""Reading one source for as long as the camera runs: reconnecting, numbering, thinning out, counting."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from threading import Event

import structlog
from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_when_event_set,
    wait_exponential,
)
from tenacity.nap import sleep_using_event

from infra.errors import CameraError
from producers import metrics
from producers.clock import CaptureClock
from producers.drops import Drops
from producers.frame import CapturedFrame, Shot
from producers.ledger import Ledger
from producers.numbering import Numbering
from producers.rate import RateLimit
from producers.source import Source

log = structlog.get_logger(__name__)


class CameraState(StrEnum):
    """What a camera process is doing."""

    CONNECTING = "connecting"
    STREAMING = "streaming"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Reconnect:
    """Pauses between tries to open a live source: exponential from ``initial_seconds`` up to ``max_seconds``, each cut
    by a random part of up to a half, so that many cameras behind one switch do not knock in step."""

    initial_seconds: float = 0.5
    max_seconds: float = 30.0

    def pause(self, attempt: RetryCallState) -> float:
        """Seconds before the next try."""
        full = wait_exponential(multiplier=self.initial_seconds, max=self.max_seconds)(attempt)
        return full * random.uniform(0.5, 1.0)


class Capture:
    """Reads a source and hands its frames on. ``run`` is the body of the capture thread."""

    def __init__(
        self,
        camera: str,
        source: Source,
        sink: Callable[[CapturedFrame], None],
        ledger: Ledger,
        *,
        clock: CaptureClock,
        numbering: Numbering,
        rate: RateLimit | None = None,
        reconnect: Reconnect | None = None,
    ) -> None:
        """``moved``, an attribute, is called whenever the thread moves."""
        self.moved: Callable[[], None] = lambda: None
        self._camera = camera
        self._source = source
        self._sink = sink
        self._ledger = ledger
        self._drop = Drops(camera, ledger)
        self._clock = clock
        self._numbering = numbering
        self._rate = rate
        self._reconnect = reconnect or Reconnect()
        self._seen = False
        self.fault: str | None = None
        for count in (metrics.RECONNECTS, metrics.OPEN_FAILURES):
            count.labels(camera)  # from 0, so that the first is seen as one more
        self._enter(CameraState.CONNECTING)

    @property
    def state(self) -> CameraState:
        return self._state

    def run(self, stop: Event) -> None:
        """Until the recording ends or ``stop`` is set. A live source is opened again whenever it is lost.

        Raises CameraError when a recording cannot be read.
        """
        log.info("camera starts", camera=self._camera, source=self._source.shown)
        try:
            if self._source.live:
                self._read_for_ever(stop)
            else:
                self._read(self._source.shots(stop))
        except CameraError as error:
            self.fault = str(error)
            self._enter(CameraState.LOST)
            raise
        self._enter(CameraState.ENDED)
        log.info("camera ends", camera=self._camera, source=self._source.shown)

    def _read_for_ever(self, stop: Event) -> None:
        while not stop.is_set():
            try:
                shots = self._connect(stop)
            except RetryError:
                return  # stop was set between two tries
            try:
                self._read(shots)
                fault = "the stream ended"
            except CameraError as error:
                fault = str(error)
            if stop.is_set():
                return
            self.fault = fault
            self._enter(CameraState.LOST)
            log.warning("camera lost; connecting again", camera=self._camera, source=self._source.shown, error=fault)
            # A camera that always goes after one frame counts as connected each time and would be hammered.
            stop.wait(self._reconnect.initial_seconds)

    def _connect(self, stop: Event) -> Iterator[Shot]:
        """The source's shots once the first is there, however many tries it takes."""

        def failed(attempt: RetryCallState) -> None:
            assert attempt.outcome is not None and attempt.next_action is not None
            self.moved()
            self.fault = str(attempt.outcome.exception())
            metrics.OPEN_FAILURES.labels(self._camera).inc()
            log.warning(
                "camera cannot be opened; trying again",
                camera=self._camera,
                source=self._source.shown,
                error=self.fault,
                attempt=attempt.attempt_number,
                in_seconds=round(attempt.next_action.sleep, 2),
            )

        tries = Retrying(
            retry=retry_if_exception_type(CameraError),
            wait=self._reconnect.pause,
            stop=stop_when_event_set(stop),
            sleep=sleep_using_event(stop),
            before_sleep=failed,
        )
        return tries(self._open, stop)

    def _open(self, stop: Event) -> Iterator[Shot]:
        shots = self._source.shots(stop)
        first = next(shots, None)
        if first is None:
            if stop.is_set():
                return iter(())
            raise CameraError(f"cannot read {self._source.shown}: the stream ended before its first frame")

        def all_of_them() -> Iterator[Shot]:
            yield first
            yield from shots

        return all_of_them()

    def _read(self, shots: Iterator[Shot]) -> None:
        for shot in shots:
            self._take(shot)

    def _take(self, shot: Shot) -> None:
        self.moved()
        epoch, sequence = self._numbering.number(shot)
        self._ledger.captured()
        if shot.image is None:
            self._drop("corrupt", f"frame {sequence} of {self._source.shown} cannot be decoded")
            return
        if self._state is not CameraState.STREAMING:
            self._stream()
        if self._rate is not None and not self._rate.keeps(shot.captured_ns):
            self._drop("rate", "over the frames per second asked for")
            return
        took = max(self._clock.now() - shot.captured_ns, 0) / 1e9
        metrics.STAGE_SECONDS.labels(self._camera, "capture").observe(took)
        self._sink(CapturedFrame(epoch, sequence, shot.captured_ns, shot.image))

    def _stream(self) -> None:
        if self._seen:
            metrics.RECONNECTS.labels(self._camera).inc()
        what = "camera is back" if self._seen else "camera gives frames"
        log.info(what, camera=self._camera, source=self._source.shown)
        self._seen = True
        self.fault = None
        self._enter(CameraState.STREAMING)

    def _enter(self, state: CameraState) -> None:
        self._state = state
        metrics.CAMERA_UP.labels(self._camera).set(state is CameraState.STREAMING)
        for each in CameraState:
            metrics.CAMERA_STATE.labels(self._camera, each.value).set(each is state)
