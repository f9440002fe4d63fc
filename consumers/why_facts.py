"""What the line has written down of a camera around a moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from consumers.moments import shown
from infra.contracts import (
    CAMERA_BLIND,
    Alert,
    Detections,
    MessageReference,
    QueryResult,
    SkippedFrames,
    StandingQuery,
    State,
)


@dataclass(frozen=True, slots=True)
class Scored:
    """A frame and what was found on it for the query; no result: the query was not asked of it. ``place``: where it
    lay on `frames`."""

    sequence: int
    captured_at: datetime
    result: QueryResult | None
    place: MessageReference


@dataclass(frozen=True, slots=True)
class Published:
    """A message still on `frames`. One that tells neither its number nor its camera's numbering (`epoch`) is no frame,
    and ``at`` is when it was published; else it is when the frame was captured."""

    place: MessageReference
    at: datetime
    sequence: int | None = None
    epoch: str | None = None

    def __str__(self) -> str:
        if self.sequence is None:
            return f"a message of the camera, published at {shown(self.at, ms=True)}"
        return f"frame {self.sequence}, captured at {shown(self.at, ms=True)}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was rejected: when, why, and where it lay on `frames` (None where that is not told)."""

    at: datetime | None
    why: str
    place: MessageReference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a camera around a moment. ``query``: the one that was asked about as it is now, None where there
    is none now. ``alert``: the one that the question is about, if it is about one. ``refused``: by running worker,
    why its model cannot take the query. ``unasked``: why the registry could not be asked for the query, if so."""

    camera: str
    at: datetime
    asked: str
    query: StandingQuery | None
    alert: Alert | None = None
    scored: Sequence[Scored] = ()
    skipped: Sequence[SkippedFrames] = ()
    rejected: Sequence[Refused] = ()
    published: Sequence[Published] = ()
    alerts: Sequence[Alert] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    unasked: str | None = None


def scored_of(messages: Sequence[Detections], query_id: str | None) -> list[Scored]:
    """The frames of some detections, by capture time, with their result for one query, or for the camera itself."""
    found = []
    for one in messages:
        if query_id == CAMERA_BLIND:
            result = _sight(one)
        else:
            result = next((result for result in one.results if result.query_id == query_id), None)
        frame = one.frame
        place = MessageReference(topic=frame.topic, partition=frame.partition, offset=frame.offset)
        found.append(Scored(frame.sequence, frame.captured_at, result, place))
    return sorted(found, key=lambda one: one.captured_at)


def _sight(message: Detections) -> QueryResult | None:
    """Whether anything at all could be judged on a frame: what the alarm `camera-blind` goes by."""
    if not message.results:
        return None
    blind = all(result.state is State.UNKNOWN for result in message.results)
    return QueryResult(
        query_id=CAMERA_BLIND,
        revision=1,
        state=State.UNKNOWN if blind else State.ABSENT,
        score=None if blind else 0.0,
        reason=message.results[0].reason if blind else None,
    )
