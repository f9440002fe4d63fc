"""One camera process: its parts put together, started and stopped in order."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import structlog

from infra.errors import BrokerUnavailable, SimVGLineError
from infra.kafka import Publisher, wait_for_broker
from infra.telemetry import start_metrics
from infra.topics import require_topics, topic_name
from producers.capture import CameraState, Capture, Reconnect
from producers.clock import CaptureClock
from producers.encoding import Encoder
from producers.folder import ImageFolder
from producers.ledger import Counts, Ledger
from producers.numbering import Numbering
from producers.publisher import FramePublisher, PublishingLimits
from producers.rate import RateLimit
from producers.settings import CameraSettings
from producers.sources import open_source
from producers.vitals import Vitals

log = structlog.get_logger(__name__)

_NEVER_SECONDS = 7 * 24 * 3600.0
_TOPIC_SECONDS = 30.0
_LONGEST_GRACE_SECONDS = 2000.0  # librdkafka 2.16 reckons it in microseconds of 32 bits: from 2148 on it is none
_LOOK_SECONDS = 0.1
_BROKER_SECONDS = 1.0
_GRACE_SECONDS = 0.5
_SETTLE_SECONDS = 5.0


class Camera:
    """Reads a source and publishes its frames. Building one connects to nothing.

    Raises SettingsError for a source that is none of the known forms.
    """

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        clock = CaptureClock()
        source = open_source(
            settings.source.get_secret_value(),
            clock=clock,
            fps=settings.fps,
            loop=settings.loop,
            as_fast_as_possible=settings.as_fast_as_possible,
            rtsp_transport=settings.rtsp_transport,
            open_seconds=settings.open_seconds,
            stall_seconds=settings.stall_seconds,
            capture_size=settings.capture_size,
        )
        lossless = settings.as_fast_as_possible
        self._lossless = lossless
        self._ledger = Ledger(settings.id)
        self._publisher = FramePublisher(
            settings.id,
            topic_name(settings.kafka.prefix, "frames"),
            Publisher(
                settings.kafka,
                client_id=f"simvg-camera-{settings.id}",
                max_message_bytes=settings.max_message_bytes,
                delivery_timeout_s=_NEVER_SECONDS if lossless else settings.delivery_seconds,
                topic_grace_s=_LONGEST_GRACE_SECONDS if lossless else _TOPIC_SECONDS,
            ),
            Encoder(jpeg_quality=settings.jpeg_quality, max_width=settings.max_width),
            self._ledger,
            PublishingLimits(
                queue_frames=settings.queue_frames,
                in_flight_frames=settings.in_flight_frames,
                expiry_seconds=settings.expiry_seconds,
                lossless=lossless,
            ),
        )
        # A folder is played at the rate; everything else is thinned out to it.
        limit = settings.fps if not isinstance(source, ImageFolder) else None
        self._capture = Capture(
            settings.id,
            source,
            self._publisher.offer,
            self._ledger,
            clock=clock,
            numbering=Numbering(settings.epoch),
            rate=RateLimit(limit) if limit is not None else None,
            reconnect=Reconnect(
                initial_seconds=settings.reconnect_initial_seconds, max_seconds=settings.reconnect_max_seconds
            ),
        )
        self._failure: Exception | None = None
        self.vitals = Vitals(settings, self._capture, self._publisher, self._ledger)
        self._capture.moved = lambda: self.vitals.pulses.beat("capture")
        self._publisher.moved = lambda: self.vitals.pulses.beat("publishing")

    @property
    def state(self) -> CameraState:
        return self._capture.state

    def counts(self) -> Counts:
        """The books so far; may be asked for from any thread."""
        return self._ledger.counts()

    def run(self, stop: Event) -> Counts:
        """Captures and publishes until the recording has ended or ``stop`` is set; then frames under way get
        ``flush_seconds``. Returns the books, in which nothing is under way any more.

        Raises:
            CameraError: a recording that cannot be read.
            TopicMissing: the broker has no topic for frames.
        """
        halt = Event()  # stops the capture: set with ``stop``, and when something fails
        capture = Thread(target=self._guard, args=(self._capture.run, halt), name="capture", daemon=True)
        self._publisher.start()
        capture.start()
        Thread(target=self._guard, args=(self._check_topics, halt), name="topics", daemon=True).start()
        while capture.is_alive() and not self._ends(stop):
            stop.wait(_LOOK_SECONDS)
        halt.set()
        capture.join(_GRACE_SECONDS if not self._lossless else 0.0)  # one that waits for a silent camera is left behind
        self._publish_the_rest(stop)
        self._failure = self._failure or self._publisher.failure
        if self._failure is not None:
            raise self._failure
        return self.counts()

    def _ends(self, stop: Event) -> bool:
        self._failure = self._failure or self._publisher.failure
        return stop.is_set() or self._failure is not None

    def _publish_the_rest(self, stop: Event) -> None:
        seconds = self._settings.flush_seconds
        if self._lossless and not self._ends(stop):
            self._publisher.finish(None)  # a recording played without loss waits for Kafka until it is told to stop
            while not self._publisher.join(_LOOK_SECONDS):
                if self._ends(stop):
                    break
        self._publisher.finish(seconds)
        if not self._publisher.join(seconds + _SETTLE_SECONDS):
            log.error("publishing did not end in time", camera=self._settings.id)

    def _guard(self, work: Callable[[Event], None], halt: Event) -> None:
        """Runs a thread's work; its failure ends the camera and comes out of ``run``."""
        try:
            work(halt)
        except Exception as error:
            if not isinstance(error, SimVGLineError):
                log.exception("camera failed", camera=self._settings.id)
            self._failure = self._failure or error

    def _check_topics(self, halt: Event) -> None:
        """With a broker at hand, a missing topic is a mistake and ends the camera. One that comes up later may get its
        topics later still: frames that find none are dropped for that reason until it is there."""
        try:
            wait_for_broker(self._settings.kafka, _BROKER_SECONDS)
            require_topics(self._settings.kafka, ["frames"])
        except BrokerUnavailable as error:
            log.warning("frames wait for Kafka", camera=self._settings.id, error=str(error))


def run_camera(settings: CameraSettings, stop: Event) -> Counts:
    """Serves metrics where asked for, and runs the camera; see :meth:`Camera.run` for what it returns and raises."""
    camera = Camera(settings)
    if settings.telemetry.metrics_port is None:
        return camera.run(stop)
    with start_metrics(
        settings.telemetry.metrics_port,
        host=settings.telemetry.metrics_host,
        health=camera.vitals.camera,
        live=camera.vitals.live,
        ready=camera.vitals.ready,
    ) as server:
        log.info("metrics", camera=settings.id, port=server.port)
        return camera.run(stop)
