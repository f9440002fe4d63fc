"""What travels between the rooms: the types of every Kafka value and of the standing query in Redis.

Boxes are xyxy, normalised to the full frame (0..1, origin top left, x right, y down).
Times are RFC 3339 UTC in values and nanoseconds since the epoch in frame headers.
The JSON Schemas in ``infra/schemas/`` are generated from these types (``simvg schemas``); :mod:`infra.cloudevents`
puts them into Kafka messages.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from infra.schedule import Schedule
from infra.values import Box as Box
from infra.values import Contract as Contract
from infra.values import Delay as Delay
from infra.values import Identifier as Identifier
from infra.values import Polygon as Polygon
from infra.values import Rate as Rate
from infra.values import Time as Time
from infra.values import region_in_frame
from infra.values import utc_from_ns as utc_from_ns

MAX_QUERY_CHARACTERS = 200
"""Longest text of a standing query; a line query is a short phrase, and the models read 20 to 24 tokens."""

CAMERA_PATTERN = re.compile(r"[A-Za-z0-9*?\[\]!._-]{1,64}")
CLOSED_BRACKETS = re.compile(r"(?:[^\[\]]|\[!?+\]?+[^\]]*\])*")
"""Where a bracket of a glob has no partner, it stands for itself, which no camera's id contains."""


class FrameReference(Contract):
    """Where a frame lies in Kafka and when it was captured."""

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    sequence: int = Field(ge=0, description="number of the frame at its camera; a file source numbers from 0")
    captured_at: Time


class MessageReference(Contract):
    """Where a message lies in Kafka."""

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class FrameHeader(Contract):
    """What the headers of a message on `frames` say of the image in its value."""

    id: str = Field(max_length=200, description="CloudEvents id, unique per camera: `{camera}/{epoch}/{sequence}`")
    camera: Identifier
    sequence: int = Field(ge=0)
    epoch: str = Field(
        max_length=100,
        description="identity of the camera process's numbering; changes when a sequence restarts at 0",
    )
    captured_ns: int = Field(gt=0, description="capture time by the source's clock, ns since the epoch, UTC")
    published_ns: int = Field(gt=0, description="hand-over to Kafka by the publisher's clock, ns since the epoch, UTC")
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    content_type: Literal["image/jpeg", "image/png"] = "image/jpeg"
    expires_ns: int | None = Field(default=None, gt=0, description="the frame must not be scored after this time")


class State(StrEnum):
    """What a query is on one frame."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class QueryResult(Contract):
    """One standing query on one frame."""

    query_id: Identifier
    revision: int = Field(ge=1)
    state: State
    score: float | None = Field(ge=0, le=1, description="calibrated probability; null when unknown")
    boxes: tuple[Box, ...] = ()
    reason: str | None = Field(default=None, description="why the state is unknown")


class SkippedFrames(Contract):
    """Frames of one camera, from sequence `first` to `last`, that were not scored, all for one reason."""

    reason: str
    epoch: str
    first: int = Field(ge=0)
    last: int = Field(ge=0)


class Detections(Contract):
    """Value of `detections`: everything found on one frame."""

    camera: Identifier
    frame: FrameReference
    model: str = Field(description="fingerprint of the model's weights and configuration")
    query_set_revision: int = Field(ge=0)
    results: tuple[QueryResult, ...]
    stage_ms: dict[str, float] = Field(description="milliseconds per stage: transport, decode, queue, ground, ...")
    skipped: tuple[SkippedFrames, ...] = Field(
        default=(), description="frames of this camera that were not scored, told once, and why"
    )


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Action(StrEnum):
    NONE = "none"
    NOTIFY = "notify"
    STOP = "stop"


class AlertState(StrEnum):
    """States of one alert, from onset to close (ISA-18.2)."""

    RAISED = "raised"
    ACKNOWLEDGED = "acknowledged"
    CLEARED = "cleared"
    CLOSED = "closed"


class Transition(Contract):
    """One entry of an alert's timeline."""

    state: AlertState
    at: Time
    by: str | None = None
    note: str | None = Field(default=None, description="what else happened, e.g. raised again or shelved")
    count: int = Field(default=1, ge=1, description="how often in a row; `at` is the last time")


class AlertQuery(Contract):
    """The query that an alert is about, as it was when the alert was raised."""

    id: Identifier
    text: str
    revision: int = Field(ge=1)


class Alert(Contract):
    """Value of `alerts`: one transition of one alert, with the timeline so far."""

    id: str
    camera: Identifier
    query: AlertQuery
    state: AlertState
    severity: Severity
    action: Action
    score: float = Field(ge=0, le=1)
    boxes: tuple[Box, ...]
    onset: FrameReference
    frame: FrameReference
    onset_at: Time
    raised_at: Time
    cleared_at: Time | None = None
    evidence: MessageReference | None = None
    reason: str
    timeline: tuple[Transition, ...]
    suppressed: Literal["shelved"] | None = Field(
        default=None, description="taken out of annunciation by an operator: shown, never acted on (`action` is none)"
    )
    shelved_until: Time | None = Field(default=None, description="when the shelving ends at the latest")

    @property
    def number(self) -> int:
        """Number of this transition among the alert's, from 1."""
        return sum(entry.count for entry in self.timeline)


def alert_id(camera: str, query_id: str, revision: int, epoch: str, onset_sequence: int, ordinal: int = 0) -> str:
    """Deterministic id of the alert whose first frame is ``onset_sequence``: equal on every worker and every replay.

    ``epoch`` tells two numberings of the same camera apart (a file source that is started again counts from 0),
    ``ordinal`` the alerts of two objects that come into view on one frame.
    """
    parts = (camera, query_id, str(revision), epoch, str(onset_sequence), *([str(ordinal)] if ordinal else []))
    text = "\x1f".join(parts)
    return "a-" + hashlib.sha256(text.encode()).hexdigest()[:20]


CAMERA_BLIND: Identifier = "camera-blind"
"""Id of the built-in query whose alarm says that a camera sees nothing: no frames, or none that can be judged."""
CAMERA_SILENT = "no frame for"
"""How the reason of such an alert begins that no frame has raised."""
UNSHELVED = "unshelved"
"""Note of a transition that no frame and no person brought about: a shelving was over."""


class StandingQuery(Contract):
    """What an operator wants watched, for as long as it stands. Written only through the registry."""

    id: Identifier
    text: str = Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)
    cameras: tuple[str, ...] = Field(default=("*",), min_length=1, description="camera ids or globs")
    region: Polygon | Box | None = Field(
        default=None, description="part of the frame to watch: xyxy box or polygon of 3 or more points, normalised"
    )
    tiles: tuple[int, int] = Field(default=(1, 1), description="columns, rows cut over the region, for small objects")
    expect: Literal["absent", "present"] = Field(default="absent", description="absent: alarm if seen; present: if not")
    raise_threshold: float = Field(default=0.5, gt=0, lt=1)
    clear_threshold: float | None = Field(default=None, gt=0, lt=1, description="default: raise threshold − 0.1")
    on_delay: Delay = Delay(value=3)
    off_delay: Delay = Delay(value=5)
    episodes: Literal["object", "query"] = Field(
        default="object",
        description="object: one alert per object that comes into view; query: one as long as any is seen",
    )
    object_size: float = Field(
        default=0.35,
        gt=0,
        le=1,
        description="share of the frame's width or height that one object spans; boxes on it are one alert",
    )
    latch: bool = Field(default=False, description="a cleared alert stays open until it is acknowledged")
    realarm_interval: float | None = Field(
        default=None,
        ge=1,
        description="seconds after which a still true alert is raised again; default: never",
    )
    schedule: Schedule | None = Field(default=None, description="hours of duty; default: always")
    severity: Severity = Severity.HIGH
    action: Action = Action.NOTIFY
    mode: Literal["live", "shadow"] = Field(
        default="live", description="shadow: alarms are judged and counted, no alert is published"
    )
    rate: Rate | None = Field(default=None, description="frames per second to score at most; default: all")
    enabled: bool = True
    forced: str | None = Field(
        default=None, description="the numbers, when it was taken in though a worker had no time for it"
    )
    revision: int = Field(default=1, ge=1)
    author: str = "unknown"
    created: Time
    changed: Time

    @field_validator("text")
    @classmethod
    def _text_says_something(cls, value: str) -> str:
        text = " ".join(value.split())
        if not any(c.isalnum() for c in text):
            raise ValueError(f"query text {value!r} has no word in it; write what to look for, e.g. 'missing bolt'")
        return text

    @field_validator("cameras")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not CAMERA_PATTERN.fullmatch(pattern):
                raise ValueError(f"camera pattern {pattern!r} is neither a camera id nor a glob such as 'line-*'")
            if not CLOSED_BRACKETS.fullmatch(pattern):
                raise ValueError(
                    f"camera pattern {pattern!r} has a bracket without its partner and matches no camera; write a set "
                    "as in 'line-[12]'"
                )
        return value

    @field_validator("region")
    @classmethod
    def _shows_something(cls, value: Polygon | Box | None) -> Polygon | Box | None:
        return value if value is None else region_in_frame(value)

    @field_validator("tiles")
    @classmethod
    def _few_tiles(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not all(1 <= n <= 8 for n in value):
            raise ValueError(f"tiles {value}: columns and rows are 1 to 8 each")
        return value

    @model_validator(mode="after")
    def _hysteresis(self) -> StandingQuery:
        if self.clear_threshold is not None and self.clear_threshold > self.raise_threshold:
            raise ValueError(
                f"clear threshold {self.clear_threshold} is above the raise threshold {self.raise_threshold}: "
                "an alarm would clear before it is raised; set it at or below"
            )
        return self

    @property
    def clears_below(self) -> float:
        """Score under which the condition counts as gone."""
        return self.clear_threshold if self.clear_threshold is not None else max(self.raise_threshold - 0.1, 0.01)

    def watches(self, camera: str) -> bool:
        """Whether this query stands for the camera."""
        return self.enabled and any(fnmatch.fnmatchcase(camera, pattern) for pattern in self.cameras)


class ActionKind(StrEnum):
    """What an operator can do to an alert or a query's alarm."""

    ACKNOWLEDGE = "acknowledge"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    VERDICT = "verdict"
    COMMENT = "comment"
    FORGET = "forget"


MAX_SHELF = timedelta(hours=24)
"""Nothing is shelved for longer: a query that is not wanted any more is paused, by name and in the registry."""


class OperatorAction(Contract):
    """Value of `operator-actions`: what one person did, when. Its key is the alert id, or else the query id."""

    id: str = Field(min_length=1, max_length=100, description="unique; an action that comes twice counts once")
    kind: ActionKind
    at: Time
    by: str = Field(min_length=1, max_length=100, description="who")
    alert_id: str | None = Field(default=None, min_length=1, max_length=100)
    query_id: Identifier | None = None
    camera: Identifier | None = Field(default=None, description="with a query: at this camera only; default: at all")
    until: Time | None = Field(
        default=None,
        description="end of the shelving; none: one-shot, until the alert (or the next) has cleared",
    )
    verdict: Literal["true", "false", "unsure"] | None = None
    boxes: tuple[Box, ...] | None = Field(default=None, description="with a verdict: where the objects really are")
    comment: str | None = Field(default=None, max_length=2000)

    @property
    def target(self) -> str:
        """Key of the message: the alert id, or else the query id."""
        target = self.alert_id or self.query_id
        assert target is not None, "checked when the action was made"
        return target

    @model_validator(mode="after")
    def _makes_sense(self) -> OperatorAction:
        if (self.alert_id is None) == (self.query_id is None):
            raise ValueError("an action is about one alert (alert_id) or one query (query_id); give exactly one")
        if self.camera is not None and self.query_id is None:
            raise ValueError("camera goes with query_id; an alert has its camera already")
        if self.until is not None and self.kind is not ActionKind.SHELVE:
            raise ValueError(f"until goes with shelve, not with {self.kind}")
        if self.until is not None and not self.at < self.until <= self.at + MAX_SHELF:
            raise ValueError(
                f"shelving until {self.until.isoformat()} does not end within 24 hours after {self.at.isoformat()}; "
                "pause the query to stop it for longer"
            )
        if (self.verdict is not None) != (self.kind is ActionKind.VERDICT):
            raise ValueError("verdict true, false or unsure goes with kind verdict, and only with it")
        if self.boxes is not None and self.kind is not ActionKind.VERDICT:
            raise ValueError(f"boxes go with a verdict, not with {self.kind}")
        if self.kind is ActionKind.VERDICT and self.alert_id is None:
            raise ValueError("a verdict is about an alert; give alert_id")
        if self.kind is ActionKind.COMMENT and not self.comment:
            raise ValueError("a comment has no words; write what to keep with the alert")
        if self.kind is ActionKind.FORGET and (self.query_id != CAMERA_BLIND or self.camera is None):
            raise ValueError(f"what is forgotten is one camera; give query_id {CAMERA_BLIND!r} and the camera")
        return self


EVENT_TYPES: dict[str, str] = {
    "frames": "line.simvg.frame.v1",
    "detections": "line.simvg.detections.v1",
    "alerts": "line.simvg.alert.v1",
    "evidence": "line.simvg.evidence.v1",
    "operator-actions": "line.simvg.operator-action.v1",
    "alarm-state": "line.simvg.alarm-state.v1",
    "frames-rejected": "line.simvg.frame-rejected.v1",
    "alerts-replay": "line.simvg.alert.v1",
}
"""CloudEvents type of the messages of each topic (topic names without the plant's prefix)."""

SCHEMAS: dict[str, type[Contract]] = {
    "frame-header": FrameHeader,
    "detections": Detections,
    "alert": Alert,
    "operator-action": OperatorAction,
    "standing-query": StandingQuery,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of every published type, by file stem in ``infra/schemas/``."""
    return {name: kind.model_json_schema(mode="serialization") for name, kind in SCHEMAS.items()}
