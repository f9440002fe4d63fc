"""Whether a camera process lives and whether it is ready; see :mod:`infra.health`."""

from __future__ import annotations

import time
from collections.abc import Callable

from infra.health import BrokerProbe, Pulses
from producers.capture import CameraState, Capture
from producers.ledger import Ledger
from producers.publisher import FramePublisher
from producers.settings import CameraSettings

_SLACK_SECONDS = 30.0


class Vitals:
    """Answers for a camera from its two threads and its books."""

    def __init__(
        self,
        settings: CameraSettings,
        capture: Capture,
        publisher: FramePublisher,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capture = capture
        self._publisher = publisher
        self._ledger = ledger
        self._clock = clock
        self._lossless = settings.as_fast_as_possible
        self._probe = BrokerProbe(settings.kafka)
        # Opening, waiting for a silent camera and pausing before a new try are all rightly without a move.
        waits = settings.open_seconds + settings.stall_seconds + settings.reconnect_max_seconds
        apart = 1.0 / settings.fps if settings.fps is not None else 0.0
        self.pulses = Pulses(
            {"capture": waits + apart + _SLACK_SECONDS, "publishing": settings.delivery_seconds + _SLACK_SECONDS},
            clock=clock,
        )
        self._published = 0
        self._published_at: float | None = None
        self._patience = apart * 2 + _SLACK_SECONDS

    def live(self) -> dict[str, str | None]:
        """Both threads move. A recording that has ended, or that waits for Kafka so as to lose nothing, is excused."""
        waits = self._capture.state is CameraState.ENDED or self._lossless
        done = self._publisher.done
        over = {"capture", "publishing"} if done else {"capture"}  # with its capture, the camera ends
        checks = self.pulses.checks(excused={"capture": waits, "publishing": done}, over=over)
        if self._publisher.failure is not None:
            checks["publishing"] = f"failed: {self._publisher.failure}"
        return checks

    def ready(self) -> dict[str, str | None]:
        """The camera gives frames, a broker answers, and frames are confirmed by it."""
        return {"camera": self.camera(), "broker": self._probe.fault(), "publishing": self._confirmed()}

    def camera(self) -> str | None:
        """What is wrong with the camera, in words without credentials; None when frames come or the recording has
        ended."""
        state = self._capture.state
        if state in (CameraState.STREAMING, CameraState.ENDED):
            return None
        return self._capture.fault or f"{state.value}: no frame has come yet"

    def _confirmed(self) -> str | None:
        """Frames were confirmed a while ago at most; looked at whenever somebody asks."""
        if self._publisher.failure is not None:
            return f"failed: {self._publisher.failure}"
        counts, now = self._ledger.counts(), self._clock()
        if counts.published > self._published or self._published_at is None:
            self._published, self._published_at = counts.published, now
        if self._capture.state is CameraState.ENDED:
            return None
        if counts.published == 0:
            return "no frame is confirmed yet"
        silent = now - self._published_at
        return f"no frame was confirmed for {silent:.0f} s" if silent > self._patience else None
