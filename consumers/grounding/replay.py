"""Frames of the past through the same code: decoding, model, alarms. What comes of it is a list of alerts, not sent.

A replay knows the frames of its span only. An alert that was open before it began is raised anew, with another onset
and so another id; what operators did meanwhile is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from confluent_kafka import Message

from consumers.grounding.book import AlarmBook
from consumers.grounding.cameras import CameraLimits
from consumers.grounding.decode import decode
from consumers.grounding.evidence import jpeg
from consumers.grounding.findings import Engine
from consumers.grounding.frames import Frame, Picture, Pixels
from consumers.grounding.judge import Judge
from consumers.grounding.pacing import LookPacer
from consumers.grounding.plan import Plan
from consumers.grounding.scoring import Question, Scorer
from consumers.grounding.vision import Sight, sample
from consumers.grounding.vision import look as look_at
from consumers.grounding.work import Work
from consumers.reading import read_span
from infra.cloudevents import headers_of, read_frame
from infra.contracts import Alert, FrameHeader, FrameReference, utc_from_ns
from infra.errors import BadFrameMessage, CameraError
from infra.settings import KafkaSettings
from infra.topics import topic_name

QUALITY = 90
BATCH = 4


@dataclass
class Tally:
    """What became of the frames of a replay."""

    frames: int = 0
    scored: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)

    def skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


class _Collection:
    """Takes works as the outbox does, and gives their alerts."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def put(self, work: Work) -> None:
        messages = work.messages({})
        self.alerts += [Alert.model_validate_json(m.value or b"") for m in messages if m.topic == "alerts"]


class Replay:
    """One run over frames in their order; each is scored, as under freshness `every`.

    Shadow queries are replayed as live ones: what they would have done is what a replay is asked for.
    """

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        *,
        limits: Callable[[str], CameraLimits] = lambda camera: CameraLimits(),
        max_pixels: int = 33_177_600,
        rate: float | None = None,
    ) -> None:
        """``rate``: frames per second and camera at most, as the worker's setting."""
        self._plan = plan
        self._limits, self._max_pixels = limits, max_pixels
        self._scorer = Scorer(engine)
        self._sink = _Collection()
        self._now_ns = 0
        self._judge = Judge(
            AlarmBook(),
            self._sink,
            model=engine.fingerprint,
            quality=QUALITY,
            limits=limits,
            clock_ns=lambda: self._now_ns,
        )
        self._pacer = LookPacer(rate)
        self._sights: dict[str, Sight] = {}
        self.tally = Tally()

    def run(self, frames: Iterable[Frame]) -> Iterator[Alert]:
        """The alerts, transition by transition, as the frames bring them."""
        batch: list[tuple[Picture, Question]] = []
        for frame in frames:
            self.tally.frames += 1
            question = self._question(frame)
            if question is not None:
                batch.append(question)
            if len(batch) >= BATCH:
                yield from self._score(batch)
                batch = []
        yield from self._score(batch)

    def _question(self, frame: Frame) -> tuple[Picture, Question] | None:
        header = frame.header
        asked = self._plan.looks(frame.camera)
        due = self._pacer.due(frame.camera, asked, header.captured_ns)
        looks = tuple(look for look in asked if look.query.id in due)
        if not looks:
            self.tally.skip("rate" if asked else "no_query")
            return None
        try:
            pixels = decode(frame.image, width=header.width, height=header.height, max_pixels=self._max_pixels)
        except BadFrameMessage as error:
            self.tally.reject(error.reason)
            return None
        picture = Picture(frame, pixels, sample(pixels), 0.0)
        limits = self._limits(header.camera)
        self._sights[header.camera], problem = look_at(
            self._sights.get(header.camera),
            picture.sample,
            captured_ns=header.captured_ns,
            published_ns=header.published_ns,
            limits=limits.vision,
        )
        return picture, Question(picture, looks, problem, limits.picture)

    def _score(self, batch: list[tuple[Picture, Question]]) -> Iterator[Alert]:
        if not batch:
            return
        answers = self._scorer.score([question for _, question in batch]).answers
        for (picture, question), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                self.tally.reject("model_failed")
                continue
            self._now_ns = picture.frame.header.captured_ns
            failure = self._judge.frame(picture, question.looks, answer, revision=self._plan.revision, stage_ms={})
            if failure is not None:
                self.tally.reject("judging_failed")
                continue
            self.tally.scored += 1
            yield from self._sink.alerts
            self._sink.alerts.clear()


def retained_frames(kafka: KafkaSettings, camera: str, *, start_ns: int, end_ns: int, tally: Tally) -> Iterator[Frame]:
    """The camera's frames captured from ``start_ns`` until before ``end_ns`` that Kafka still keeps, in order.

    Raises BrokerUnavailable, TopicMissing.
    """
    # Frames are published after they were captured, some of them by clocks that are a little behind.
    since_ms = max(0, start_ns // 1_000_000 - 5_000)
    topic = topic_name(kafka.prefix, "frames")
    for message in read_span(kafka, topic, since_ms=since_ms, client_id="simvg-replay"):
        if message.key() != camera.encode():
            continue
        try:
            frame = _frame(message)
        except BadFrameMessage as error:
            tally.frames += 1
            tally.reject(error.reason)
            continue
        if start_ns <= frame.header.captured_ns < end_ns:
            yield frame


def _frame(message: Message) -> Frame:
    key: object = message.key()
    header = read_frame(headers_of(message), key if isinstance(key, bytes) else None)
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None, "a consumed message has a place"
    place = FrameReference(
        topic=topic,
        partition=partition,
        offset=offset,
        sequence=header.sequence,
        captured_at=utc_from_ns(header.captured_ns),
    )
    return Frame(header, place, message.value() or b"", header.published_ns)


def video_frames(path: Path, camera: str, *, start_ns: int) -> Iterator[Frame]:
    """The frames of a video file as if ``camera`` had sent them from ``start_ns`` on, coded as JPEG as a camera does.

    Raises CameraError: the file cannot be opened, or holds no frame.
    """
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise CameraError(f"video {path} cannot be opened; give a file that OpenCV reads, such as .mp4 or .mkv")
        fps = video.get(cv2.CAP_PROP_FPS) or 10.0
        number = 0
        while True:
            read, pixels = video.read()
            if not read:
                break
            yield _video_frame(np.asarray(pixels, np.uint8), camera, number, start_ns + round(number * 1e9 / fps))
            number += 1
        if number == 0:
            raise CameraError(f"video {path} holds no frame that can be decoded")
    finally:
        video.release()


def _video_frame(pixels: Pixels, camera: str, number: int, captured_ns: int) -> Frame:
    header = FrameHeader(
        id=f"{camera}/replay/{number}",
        camera=camera,
        sequence=number,
        epoch="replay",
        captured_ns=captured_ns,
        published_ns=captured_ns,
        width=pixels.shape[1],
        height=pixels.shape[0],
    )
    place = FrameReference(
        topic="replay", partition=0, offset=number, sequence=number, captured_at=utc_from_ns(captured_ns)
    )
    return Frame(header, place, jpeg(pixels, QUALITY), captured_ns)
