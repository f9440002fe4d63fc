"""What the demo has seen so far: one object that the reader threads fill and the live table draws. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ValidationError

from consumers.demo.score import QueryScore, RaisedAlert, merged, score_query
from consumers.demo.truth import ClipTruth, Target
from infra.contracts import CAMERA_BLIND, Alert, AlertState, Detections, FrameReference, QueryResult

RATE_WINDOW_S = 5.0
PLAYING_TOLERANCE_S = 2.0
Topic = Literal["detections", "alerts"]
STAGES = ("transport", "decode", "queue", "ground")


@dataclass(slots=True)
class CameraBoard:
    """One camera as seen through `detections`."""

    scored: int = 0
    arrivals: deque[float] = field(default_factory=deque)
    results: dict[str, QueryResult] = field(default_factory=dict)

    def rate(self, now: float) -> float:
        """Frames scored per second over the last seconds."""
        while self.arrivals and self.arrivals[0] < now - RATE_WINDOW_S:
            self.arrivals.popleft()
        return len(self.arrivals) / RATE_WINDOW_S


@dataclass(slots=True)
class Playing:
    """One playing of the clip: a looped file numbers its frames from 0 again each time it is played."""

    began: float
    last_sequence: int = -1
    raised: dict[str, list[RaisedAlert]] = field(default_factory=dict)


class Playings:
    """Tells the playings of a clip apart: within one, capture time minus place in the clip stays the same."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self.all: list[Playing] = []

    def of(self, frame: FrameReference) -> Playing:
        """The playing that a frame belongs to; a new one where it fits none."""
        began = frame.captured_at.timestamp() - frame.sequence / self._fps
        for playing in reversed(self.all):
            if abs(playing.began - began) < PLAYING_TOLERANCE_S:
                return playing
        self.all.append(Playing(began))
        return self.all[-1]


@dataclass(slots=True)
class AlertRow:
    """The last transition of one alert, for the table."""

    alert: Alert
    latency_s: float


class Board:
    """Counts and last values; times are seconds since the epoch and passed in."""

    def __init__(self, clip_camera: str, clip_fps: float) -> None:
        self._clip_camera = clip_camera
        self.playings = Playings(clip_fps)
        self.cameras: dict[str, CameraBoard] = {}
        self.alerts: dict[str, AlertRow] = {}
        self.latencies_s: list[float] = []
        self.detection_latencies_s: list[float] = []
        self.stage_ms: dict[str, deque[float]] = {}
        self.transitions: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        self.faults: dict[str, str] = {}

    def take(self, topic: Topic, value: bytes, *, now: float) -> None:
        """Takes the value of one message; ``now`` is when it was written.

        What is none of the topic's is counted in ``unreadable``, and the first one's fault kept in ``faults``.
        """
        try:
            message = (Detections if topic == "detections" else Alert).model_validate_json(value)
        except ValidationError as error:
            self.unreadable[topic] += 1
            fault = error.errors()[0]
            self.faults.setdefault(topic, f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}")
            return
        if isinstance(message, Alert):
            self.on_alert(message, now=now)
        else:
            self.on_detections(message, now=now)

    def on_detections(self, detections: Detections, *, now: float) -> None:
        """Takes one value of `detections`; ``now`` is when its message was written."""
        camera = self.cameras.setdefault(detections.camera, CameraBoard())
        camera.scored += 1
        camera.arrivals.append(now)
        if detections.camera == self._clip_camera:
            playing = self.playings.of(detections.frame)
            playing.last_sequence = max(playing.last_sequence, detections.frame.sequence)
        camera.results.update({result.query_id: result for result in detections.results})
        self.detection_latencies_s.append(now - detections.frame.captured_at.timestamp())
        for stage, ms in detections.stage_ms.items():
            self.stage_ms.setdefault(stage, deque(maxlen=200)).append(ms)

    def on_alert(self, alert: Alert, *, now: float) -> None:
        """Takes one value of `alerts`; ``now`` is when its message was written."""
        self.transitions[alert.state] += 1
        latency = now - alert.frame.captured_at.timestamp()
        if alert.state is AlertState.RAISED and alert.id not in self.alerts:
            if alert.query.id != CAMERA_BLIND:  # that a camera is silent is not seen on a frame
                self.latencies_s.append(latency)
            if alert.camera == self._clip_camera:
                raised = self.playings.of(alert.frame).raised.setdefault(alert.query.id, [])
                raised.append(RaisedAlert(alert.id, alert.onset.sequence, alert.frame.sequence, alert.boxes))
        first = self.alerts.get(alert.id)
        self.alerts[alert.id] = AlertRow(alert, first.latency_s if first else latency)

    def score(self, truth: ClipTruth, query: str, target: Target) -> QueryScore:
        """One query against the truth, over every playing of the clip so far."""
        return merged(
            score_query(truth, target, playing.raised.get(query, []), played=playing.last_sequence + 1)
            for playing in self.playings.all
        )

    @property
    def played_frames(self) -> int:
        """Frames of the clip that have passed, over all playings."""
        return sum(playing.last_sequence + 1 for playing in self.playings.all)

    def median_stages(self) -> Mapping[str, float]:
        """Median of the last 200 frames per stage, in milliseconds, in the order of the data's way."""
        order = {name: i for i, name in enumerate(STAGES)}
        names = sorted(self.stage_ms, key=lambda n: (order.get(n, len(order)), n))
        return {name: sorted(self.stage_ms[name])[len(self.stage_ms[name]) // 2] for name in names}
