"""A whole camera on a real broker."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import cv2
import numpy as np
import pytest
from confluent_kafka import Message

from infra.broker import LocalBroker
from infra.cloudevents import read_frame
from infra.contracts import FrameHeader
from infra.errors import BrokerError, CameraError, SettingsError, TopicMissing
from infra.kafka import Publisher, follow
from infra.process import free_port
from infra.rtsp.server import RtspServer
from infra.settings import KafkaSettings, TelemetrySettings
from infra.telemetry import configure_logging
from infra.topics import create_topics, topic_name
from producers.camera import Camera, run_camera
from producers.ledger import Counts
from producers.settings import CameraSettings

Clip = Callable[..., Path]
Until = Callable[..., None]
QUICK = {"reconnect_initial_seconds": 0.05, "reconnect_max_seconds": 0.2}


def camera_settings(kafka: KafkaSettings, source: object, **settings: object) -> CameraSettings:
    return CameraSettings.model_validate({"id": "cam", "source": str(source), "kafka": kafka, **QUICK, **settings})


def messages(kafka: KafkaSettings, count: int) -> list[Message]:
    """The first ``count`` messages on the topic of frames, then all that are there already."""
    found: list[Message] = []
    topic = topic_name(kafka.prefix, "frames")
    with follow(kafka, [topic], client_id="reader", from_beginning=True) as reader:
        for _ in range(200):
            if (message := reader.poll(0.05 if len(found) >= count else 1.0)) is not None:
                found.append(message)
            elif len(found) >= count:
                break
    return found


def header_of(message: Message) -> FrameHeader:
    return read_frame(message.headers(), message.key())  # type: ignore[arg-type]


class Running:
    """A camera in a thread of its own."""

    def __init__(self, settings: CameraSettings) -> None:
        self.camera = Camera(settings)
        self.stop = Event()
        self.result: list[Counts] = []
        self._thread = Thread(target=lambda: self.result.append(self.camera.run(self.stop)), daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> Counts:
        self.stop.set()
        self._thread.join(30)
        assert self.result, "the camera did not end"
        return self.result[0]


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, as an operator would read it."""
    stream = io.StringIO()
    configure_logging(TelemetrySettings(log_level="DEBUG", log_format="json"), role="test", stream=stream)
    yield stream
    configure_logging(TelemetrySettings(), role="test")


def test_folder_reaches_kafka_byte_for_byte(kafka: KafkaSettings, tmp_path: Path, jpegs: list[bytes]) -> None:
    """Each image is one message, its bytes untouched, with a readable header."""
    for number, data in enumerate(jpegs):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    counts = run_camera(camera_settings(kafka, tmp_path, as_fast_as_possible=True, epoch="run-1"), Event())
    assert counts == Counts(5, 5, {})
    found = messages(kafka, 5)
    assert [message.value() for message in found] == jpegs
    headers = [header_of(message) for message in found]
    assert [header.id for header in headers] == [f"cam/run-1/{n}" for n in range(5)]
    assert {(header.width, header.height, header.expires_ns) for header in headers} == {(160, 120, None)}


def test_video_is_published_whole(kafka: KafkaSettings, clip: Clip) -> None:
    """As fast as possible, every frame of a video arrives as a JPEG, and the sequence is its index in the file."""
    settings = camera_settings(kafka, clip(30), as_fast_as_possible=True, queue_frames=2, in_flight_frames=2)
    assert run_camera(settings, Event()) == Counts(30, 30, {})
    found = messages(kafka, 30)
    assert [header_of(message).sequence for message in found] == list(range(30))
    value = found[0].value()
    assert value is not None
    assert cv2.imdecode(np.frombuffer(value, np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)


def test_loop_at_own_rate_stops_on_request(kafka: KafkaSettings, clip: Clip, until: Until) -> None:
    """A looped file goes on until it is stopped; rounds are epochs, frames expire, and a stop loses nothing."""
    settings = camera_settings(kafka, clip(6, rate=30), loop=True, epoch="run", max_width=80, expiry_seconds=12.5)
    with Running(settings) as running:
        until(lambda: running.camera.counts().published >= 15)
        counts = running.end()
    assert counts.published == counts.captured - sum(counts.dropped.values())
    headers = [header_of(message) for message in messages(kafka, counts.published)]
    assert len(headers) == counts.published
    assert [(h.epoch, h.sequence) for h in headers[:14]] == [
        ("run" if n < 6 else f"run.{n // 6}", n % 6) for n in range(14)
    ]
    assert {(header.width, header.height) for header in headers} == {(80, 60)}
    assert all(header.expires_ns == header.captured_ns + 12_500_000_000 for header in headers)
    assert all(abs(header.published_ns - header.captured_ns) < 60e9 for header in headers)


def test_oversize_frames_are_refused(
    kafka: KafkaSettings, tmp_path: Path, jpegs: list[bytes], logged: io.StringIO
) -> None:
    """A frame over the limit is counted, the log says what helps, and the others pass."""
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    (tmp_path / "0.jpg").write_bytes(cv2.imencode(".jpg", noise)[1].tobytes())
    (tmp_path / "1.jpg").write_bytes(jpegs[0])
    settings = camera_settings(kafka, tmp_path, as_fast_as_possible=True, max_message_bytes=20_000)
    assert run_camera(settings, Event()) == Counts(2, 1, {"too_large": 1})
    assert "over the limit of 20000; lower the JPEG quality or the frame size" in logged.getvalue()


def test_missing_topic_is_told_at_once(
    kafka_without_topics: KafkaSettings, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker without the topic ends the camera with the command that creates it."""
    monkeypatch.setattr("producers.camera._BROKER_SECONDS", 60.0)  # one that answers late on a busy machine is at hand
    with pytest.raises(TopicMissing, match="create it with `simvg topics create`"):
        run_camera(camera_settings(kafka_without_topics, clip(5), loop=True, flush_seconds=0.1), Event())


def test_unreadable_recording_fails(kafka: KafkaSettings, tmp_path: Path) -> None:
    """A file that is no video ends the command with an error, and is not tried for ever."""
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(CameraError, match="cannot open"):
        run_camera(camera_settings(kafka, path), Event())


def test_unknown_source_fails_before_anything_is_opened() -> None:
    """A mistyped source is told without a broker."""
    with pytest.raises(SettingsError, match=r"source 'clip\.mp5' cannot be used"):
        Camera(camera_settings(KafkaSettings(bootstrap="127.0.0.1:1"), "clip.mp5"))


def test_broker_away_at_the_start(stopped_broker: LocalBroker, clip: Clip, until: Until) -> None:
    """A camera that starts before Kafka keeps its newest frames and publishes once Kafka is there."""
    kafka = stopped_broker.settings
    settings = camera_settings(kafka, clip(10, rate=20), loop=True, queue_frames=4, in_flight_frames=2)
    with Running(settings) as running:
        until(lambda: running.camera.counts().dropped.get("queue_full", 0) >= 30)
        assert running.camera.counts().published == 0
        stopped_broker.start()
        create_topics(kafka)
        until(lambda: running.camera.counts().published >= 20, 60)
        counts = running.end()
    assert counts.under_way == 0
    assert counts.captured == counts.published + sum(counts.dropped.values())
    assert len(messages(kafka, counts.published)) >= counts.published


def test_recording_without_loss_waits_for_the_broker(
    stopped_broker: LocalBroker, clip: Clip, logged: io.StringIO, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Played as fast as possible, a file started before Kafka arrives whole, however long that takes to start."""
    monkeypatch.setitem(Publisher.__init__.__kwdefaults__, "topic_grace_s", 0.5)  # is over before any topic is there
    kafka = stopped_broker.settings
    settings = camera_settings(kafka, clip(12), as_fast_as_possible=True, queue_frames=3, in_flight_frames=2)
    with Running(settings) as running:
        until(lambda: "frames wait for Kafka" in logged.getvalue())
        until(lambda: running.camera.counts().captured == 6)  # no more fit in
        stopped_broker.start()
        create_topics(kafka)
        until(lambda: bool(running.result), 60)
    assert running.result == [Counts(12, 12, {})]
    assert [header_of(message).sequence for message in messages(kafka, 12)] == list(range(12))


def test_broker_away_in_mid_run(broker: LocalBroker, clip: Clip, until: Until) -> None:
    """Kafka loses power and comes back: the newest frames of the outage win, and the books add up."""
    kafka = broker.settings
    create_topics(kafka)
    settings = camera_settings(
        kafka, clip(30, rate=20), loop=True, queue_frames=4, in_flight_frames=2, delivery_seconds=2
    )
    with Running(settings) as running:
        until(lambda: running.camera.counts().published >= 10)
        broker.stop(kill=True)
        until(lambda: running.camera.counts().dropped.get("queue_full", 0) >= 10)
        broker.start()
        before = running.camera.counts().published
        until(lambda: running.camera.counts().published >= before + 20, 60)
        counts = running.end()
    assert counts.under_way == 0
    assert counts.captured == counts.published + sum(counts.dropped.values())
    keys = [(header.epoch, header.sequence) for header in map(header_of, messages(kafka, counts.published))]
    assert len(keys) == len(set(keys)) >= counts.published


def test_password_reaches_nobody(kafka: KafkaSettings, logged: io.StringIO, until: Until) -> None:
    """A camera with a login, lost and found: no user name or password in logs, headers, metrics or settings shown."""
    server = RtspServer(user="operator7", password="Tr0ub4dor")
    server.start()
    settings = camera_settings(
        kafka,
        server.url.replace("rtsp://", "rtsp://operator7:Tr0ub4dor@"),
        telemetry=TelemetrySettings(metrics_port=free_port()),
    )
    stop = Event()
    thread = Thread(target=run_camera, args=(settings, stop), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{settings.telemetry.metrics_port}"

    def page(path: str) -> str:
        try:
            with urllib.request.urlopen(address + path, timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())
        except OSError:
            return ""

    until(lambda: 'simvg_camera_up{camera="cam"} 1.0' in page("/metrics"))
    until(lambda: page("/healthz") == "ok\n")
    found = messages(kafka, 3)
    server.stop()
    until(
        lambda: 'simvg_camera_state{camera="cam",state="lost"} 1.0' in page("/metrics") or "cannot" in page("/healthz")
    )
    until(lambda: "trying again" in logged.getvalue())
    shown = page("/metrics") + page("/healthz") + repr(settings) + str(settings.model_dump())
    stop.set()
    thread.join(30)
    everything = shown + logged.getvalue() + str([(message.key(), message.headers()) for message in found])
    assert "rtsp://***@127.0.0.1" in everything
    assert "Tr0ub4dor" not in everything and "operator7" not in everything


@pytest.mark.parametrize("lossless", [False, True])
def test_bad_certificate_ends_the_camera(clip: Clip, tmp_path: Path, lossless: bool) -> None:
    """Without a client for Kafka no frame can ever go out: the camera says so and ends."""
    (tmp_path / "ca.pem").write_text("nonsense\n", encoding="utf-8")
    kafka = KafkaSettings(bootstrap="127.0.0.1:1", security_protocol="SSL", ssl_ca=tmp_path / "ca.pem")
    settings = camera_settings(kafka, clip(5), loop=not lossless, as_fast_as_possible=lossless)
    with pytest.raises(BrokerError, match="check SIMVG_KAFKA__SSL_CA"):
        Camera(settings).run(Event())
