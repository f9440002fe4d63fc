"""One run of the demo: the stack, the cameras and the worker as a user would start them, and what they do."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from consumers.demo.board import Board, Topic
from consumers.demo.clip import join_clips
from consumers.demo.plan import CLIP_CAMERA, STREAM_CAMERA, DemoQuery
from consumers.demo.processes import Roles
from consumers.demo.scrape import Metrics, healthy, scrape
from consumers.demo.settings import DemoSettings
from consumers.demo.standing import register, withdraw
from consumers.demo.summary import Summary
from consumers.demo.truth import ClipTruth
from consumers.demo.view import CameraStatus, Step
from infra.consumer import Consumer, follow
from infra.errors import BadQuery, RegistryError, StackError
from infra.local_stack import LocalStack
from infra.process import free_port
from infra.queries import QueryRegistry
from infra.rtsp.server import RtspServer
from infra.settings import KafkaSettings, RedisSettings
from infra.topics import create_topics, topic_name

READY_SECONDS = 90.0
DRAIN_SECONDS = 5.0
SCRAPE_EVERY_S = 1.0


@dataclass
class Session:
    """State of a running demo. ``steps`` and ``cameras`` are read by the view while ``prepare`` fills them."""

    settings: DemoSettings
    queries: list[DemoQuery]
    truth: ClipTruth
    now: Callable[[], float] = time.time
    steps: list[Step] = field(default_factory=list)
    cameras: dict[str, CameraStatus] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    clip_started: float | None = None

    def __post_init__(self) -> None:
        self.stack = LocalStack.from_settings(self.settings)
        self.board = Board(CLIP_CAMERA, self.truth.fps)
        self.roles = Roles(self.settings.state_dir / "logs" / "demo")
        self._started_stack = False
        self._ports: dict[str, int] = {}
        self._metrics: dict[str, Metrics] = {}
        self._readers: list[threading.Thread] = []
        self._reader_error: BaseException | None = None
        self._stop = threading.Event()
        self._cancelled = threading.Event()
        self._rtsp: RtspServer | None = None
        self.steps = [
            Step(name)
            for name in ("Kafka and Redis", "topics", "standing queries", "worker and model", "cameras", "first frames")
        ]

    @contextlib.contextmanager
    def _step(self, index: int) -> Iterator[Step]:
        step = self.steps[index]
        step.state = "running"
        try:
            yield step
        except BaseException:
            step.state = "failed"
            raise
        step.state = "done"

    @property
    def kafka(self) -> KafkaSettings:
        return self.stack.kafka_settings

    def prepare(self) -> None:
        """Starts everything, in the order of the data's way from its end: nothing is sent before somebody listens."""
        with self._step(0) as step:
            self._started_stack = self.stack.up(lambda text: setattr(step, "note", text))
            step.note = f"kafka {self.kafka.bootstrap}, {self.stack.redis_url}"
        with self._step(1) as step:
            step.note = f"{sum(state.created for state in create_topics(self.kafka))} created"
        with self._step(2) as step:
            with self._registry() as registry:
                register(registry, self.queries)
            step.note = ", ".join(query.text for query in self.queries)
        with self._step(3) as step:
            self._listen()
            self.roles.environment = {
                "SIMVG_KAFKA__BOOTSTRAP": self.kafka.bootstrap,
                "SIMVG_REDIS__URL": self.stack.redis_url,
            }
            self._start("worker", ["work", "--model", str(self.settings.model)])
            self._await("worker", lambda: healthy(self._ports["worker"]))
            step.note = str(self.settings.model)
        with self._step(4) as step:
            self._start_cameras(step)
        with self._step(5):
            self._await("frames", lambda: all(camera in self.board.cameras for camera in self.cameras))
        self.clip_started = self.now()

    def _registry(self) -> contextlib.closing[QueryRegistry]:
        return contextlib.closing(QueryRegistry(RedisSettings(url=self.stack.redis_url)))

    def _listen(self) -> None:
        topics: tuple[Topic, ...] = ("detections", "alerts")
        for name in topics:
            consumer = follow(
                self.kafka,
                [topic_name(self.kafka.prefix, name)],
                client_id=f"simvg-demo-{name}",
                from_beginning=False,
            )
            thread = threading.Thread(target=self._read, args=(consumer, name), name=f"demo-{name}", daemon=True)
            thread.start()
            self._readers.append(thread)

    def _read(self, consumer: Consumer, topic: Topic) -> None:
        try:
            with consumer:
                while not self._stop.is_set():
                    message = consumer.poll(0.2)
                    if message is not None and message.value() is not None:
                        _, written_ms = message.timestamp()
                        self.board.take(topic, message.value() or b"", now=written_ms / 1000)
        except BaseException as error:
            self._reader_error = error

    def _start(self, name: str, arguments: list[str]) -> None:
        self._ports[name] = free_port()
        self.roles.start(name, [*arguments, "--metrics-port", str(self._ports[name])])

    def _start_cameras(self, step: Step) -> None:
        stream = self._stream_source(step)
        fps = f"{self.settings.fps:g}"
        clip = [str(self.settings.clip), *(["--loop"] if self.settings.looped else [])]
        self.cameras[CLIP_CAMERA] = CameraStatus(self.settings.clip.name)
        self.cameras[STREAM_CAMERA] = CameraStatus(stream)
        self._start(STREAM_CAMERA, ["camera", "--id", STREAM_CAMERA, stream, "--fps", fps])
        # the stream needs a moment to connect: the clip, which is scored, begins when both run
        self._await(STREAM_CAMERA, lambda: scrape(self._ports[STREAM_CAMERA]).total("simvg_frames_published_total") > 0)
        self._start(CLIP_CAMERA, ["camera", "--id", CLIP_CAMERA, *clip, "--fps", fps])

    def _stream_source(self, step: Step) -> str:
        passes = sorted(self.settings.clip.parent.glob("pass_*.mp4"))
        joined = join_clips(passes, self.settings.state_dir / "demo-stream.mp4")
        server = RtspServer(joined, path="line", log=self.settings.state_dir / "logs" / "demo" / "rtsp.log")
        try:
            server.start()
        except StackError as error:
            step.note = f"no RTSP server here, {STREAM_CAMERA} plays line: ({str(error).splitlines()[0]})"
            return "line:"
        self._rtsp = server
        step.note = f"{STREAM_CAMERA} reads {server.url}"
        return server.url

    def _await(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if self._cancelled.is_set():
                raise StackError(f"stopped while waiting for {what}")
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"no {what} after {READY_SECONDS:.0f} s; see the logs in {self.roles.logs}")
            time.sleep(0.2)

    def check(self) -> None:
        """Raises what went wrong in a reader thread, and StackError for a role that ended by itself."""
        if self._reader_error is not None:
            raise self._reader_error
        for role in self.roles.running:
            clip_is_over = role.name == CLIP_CAMERA and role.process.poll() == 0
            if role.process.poll() is not None and not clip_is_over:
                self.roles.check()

    def refresh(self) -> None:
        """Reads the metrics of all roles; a role that does not answer keeps its last values."""
        for name, port in self._ports.items():
            metrics = scrape(port)
            if metrics.samples:
                self._metrics[name] = metrics
        for camera, status in self.cameras.items():
            metrics = self._metrics.get(camera, Metrics())
            status.published = int(metrics.total("simvg_frames_published_total", camera=camera))
            status.dropped = _whole(metrics.by("reason", "simvg_frames_dropped_total", camera=camera))
            status.up = bool(metrics.total("simvg_camera_up", camera=camera))
        worker = self._metrics.get("worker", Metrics())
        self.skipped = _whole(worker.by("camera", "simvg_worker_frames_skipped_total"))

    def cancel(self) -> None:
        """Makes a ``prepare`` that runs in another thread give up at its next wait."""
        self._cancelled.set()

    @property
    def clip_is_over(self) -> bool:
        """Whether the clip's camera has come to the end of the file."""
        return any(role.name == CLIP_CAMERA and role.process.poll() is not None for role in self.roles.running)

    @property
    def time_is_over(self) -> bool:
        """Whether the run has lasted as long as asked, or the clip is played out in a run with an end."""
        if self.settings.seconds is None or self.clip_started is None:
            return False
        return self.clip_is_over or self.now() - self.clip_started >= self.settings.seconds

    def finish(self) -> Summary:
        """Stops the cameras, lets the worker score what is left, and sums up. Call once, before ``close``."""
        self.refresh()
        began = self.clip_started or self.now()
        seconds = self.now() - began
        self.roles.stop(CLIP_CAMERA, STREAM_CAMERA)
        deadline = time.monotonic() + DRAIN_SECONDS
        worker = self._ports["worker"]
        while time.monotonic() < deadline and scrape(worker).total("simvg_worker_frames_in_flight") > 0:
            time.sleep(0.2)
        time.sleep(0.5)  # the last messages are written and on their way to the readers
        self.refresh()
        metrics = self._metrics.get("worker", Metrics())
        dropped: dict[str, int] = {}
        for status in self.cameras.values():
            for reason, count in status.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
        return Summary(
            seconds=seconds,
            frames_in=int(metrics.total("simvg_worker_frames_fetched_total")),
            scored=int(metrics.total("simvg_worker_frames_scored_total")),
            skipped=_whole(metrics.by("reason", "simvg_worker_frames_skipped_total")),
            rejected=int(metrics.total("simvg_worker_frames_rejected_total")),
            dropped=dropped,
            alerts=len(self.board.alerts),
            unreadable=dict(self.board.unreadable),
            faults=dict(self.board.faults),
            latencies_s=list(self.board.latencies_s),
            played_frames=self.board.played_frames,
            clip_frames=len(self.truth.frames),
            scores={query.id: self.board.score(self.truth, query.id, query.target) for query in self.queries},
        )

    def close(self) -> None:
        """Stops everything that this run started and removes its queries; a stack that ran before stays up."""
        self.roles.stop()
        self._stop.set()
        for thread in self._readers:
            thread.join(5)
        if self._rtsp is not None:
            self._rtsp.stop()
        if self.steps[2].state != "waiting":
            with contextlib.suppress(RegistryError, BadQuery), self._registry() as registry:
                withdraw(registry, self.queries)
        if self._started_stack:
            self.stack.down()


def _whole(counts: dict[str, float]) -> dict[str, int]:
    return {name: int(count) for name, count in counts.items()}
