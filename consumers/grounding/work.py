"""What one frame, or one event from outside, gives to be written."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from infra.cloudevents import Headers, event_headers, rejected_headers
from infra.contracts import MessageReference
from infra.errors import BrokerError, MessageTooLarge
from infra.metrics import counter
from infra.topics import TopicName
from infra.transactions import Sent

logger = logging.getLogger(__name__)

WRITTEN: tuple[TopicName, ...] = ("detections", "alerts", "evidence", "alarm-state", "frames-rejected")
"""What a worker writes."""

_REDUCED = counter(
    "simvg_worker_messages_reduced_total",
    "messages cut down or left out because the broker refused them as they were",
    ("topic",),
    begin=WRITTEN,
)

SlotT = TypeVar("SlotT")

Slot = tuple[int, str, int]
"""A message's place: its work, which part of that, number; the same whenever the work is written again."""

Place = tuple[int, MessageReference]
"""Of a picture, and the partition of the frames that it is one of."""

KEPT = 10
"""Boxes, and entries of a timeline, that a message keeps when the broker refuses it for its size."""


class Abandoned(Exception):
    """The worker stops before a work was committed."""


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """One message; `id` is its CloudEvents id, equal for equal content on every worker. No value: a tombstone."""

    topic: TopicName
    key: bytes
    value: bytes | None
    headers: Headers

    @classmethod
    def json(cls, topic: TopicName, *, key: str, value: str, id: str, source: str) -> Outgoing:
        return cls(topic, key.encode(), value.encode(), event_headers(topic, id=id, source=source))

    @classmethod
    def image(cls, topic: TopicName, *, key: str, value: bytes, id: str, source: str, part: str) -> Outgoing:
        """A JPEG; the extension attribute ``part`` says what it shows."""
        headers = event_headers(topic, id=id, source=source, content_type="image/jpeg")
        return cls(topic, key.encode(), value, [*headers, ("ce_part", part.encode())])

    @classmethod
    def tombstone(cls, topic: TopicName, *, key: str, id: str, source: str) -> Outgoing:
        """Says of a compacted topic that the key's value is no more."""
        return cls(topic, key.encode(), None, event_headers(topic, id=id, source=source))

    @classmethod
    def rejected(
        cls,
        original: MessageReference,
        key: bytes | None,
        value: bytes,
        *,
        reason: str,
        error: Exception,
        kind: str | None,
        headers: Headers,
    ) -> Outgoing:
        """A message that is no usable frame, byte for byte, with what is wrong with it; ``kind``: its content type."""
        told = rejected_headers(
            original, reason=reason, error=error, source="/workers", content_type=kind, headers=headers
        )
        return cls("frames-rejected", key or b"", value, told)


Compose = Callable[[Mapping[str, MessageReference]], list[Outgoing]]
ComposeState = Callable[[Mapping[str, MessageReference]], Outgoing]


def _nothing() -> None:
    """Nobody waits for the commit."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Work:
    """Written as a whole in one transaction, or not at all.

    ``partition`` of the frames and the ``lease`` under which they were read; ``offset`` of the frame that it came of
    and that is done with it, with its ``fate``; None for an event from outside. ``messages`` gets, by alert id, where
    the pictures lie, and may be asked more than once; so do the ``states`` of alarms, by key. ``urgent``: someone waits
    for it. ``ended``: ids of alerts that are over with it. ``committed`` runs once it is visible.
    """

    partition: int
    lease: int
    offset: int | None
    messages: Compose
    states: Mapping[str, ComposeState] = field(default_factory=dict)
    fate: str = "scored"
    evidence: tuple[Outgoing, ...] = ()
    urgent: bool = False
    ended: tuple[str, ...] = ()
    size: int = 0
    committed: Callable[[], None] = _nothing


def to_reduce(refused: Mapping[SlotT, tuple[Outgoing, BrokerError]]) -> list[SlotT]:
    """Which of the messages that a broker refused are to blame.

    It refuses a batch for its size as a whole: of those of a topic that are called too large, the largest is meant.
    """
    blamed: dict[TopicName, SlotT] = {}
    others = []
    for slot, (message, error) in refused.items():
        if not isinstance(error, MessageTooLarge):
            others.append(slot)
        elif message.topic not in blamed or _size(message) > _size(refused[blamed[message.topic]][0]):
            blamed[message.topic] = slot
    return [*others, *blamed.values()]


def _size(message: Outgoing) -> int:
    return len(message.key) + len(message.value or b"")


def reduced(message: Outgoing) -> Outgoing | None:
    """A message that the broker refused, with less in it; None when nothing is left that could be taken away."""
    if message.value is None:
        return None
    if message.topic == "frames-rejected":
        return replace(message, value=b"") if message.value else None
    try:
        content = json.loads(message.value)
    except ValueError:
        return None
    value = json.dumps(_shortened(content), separators=(",", ":")).encode()
    return replace(message, value=value) if len(value) < len(message.value) else None


def cut_down(message: Outgoing, times: int) -> Outgoing | None:
    """A message that was refused so many times, :func:`reduced` as often."""
    left: Outgoing | None = message
    for _ in range(times):
        left = None if left is None else reduced(left)
    return left


def tell_reduced(message: Outgoing, error: BrokerError) -> None:
    """Counts and logs a message that the broker refused, which goes out with less in it, or not at all."""
    _REDUCED.labels(message.topic).inc()
    less = reduced(message)
    then = "left out" if less is None else f"cut down to {len(less.value or b'')} bytes"
    key, size = message.key.decode(errors="replace"), len(message.value or b"")
    logger.error("message is %s: %s", then, error, extra={"topic": message.topic, "key": key, "bytes": size})


def _shortened(content: Any) -> Any:
    if isinstance(content, dict):
        return {
            name: _ends(part) if name in ("boxes", "timeline") and isinstance(part, list) else _shortened(part)
            for name, part in content.items()
        }
    return [_shortened(part) for part in content] if isinstance(content, list) else content


def _ends(entries: list[Any]) -> list[Any]:
    """The first and the last: the best boxes; how an alert began and where it stands."""
    return entries if len(entries) <= KEPT else entries[: KEPT // 2] + entries[-KEPT // 2 :]


def last_states(works: list[Work]) -> dict[str, int]:
    """By the key of an alarm's state, the id of the work that has the last one: of a compacted topic a reader sees no
    other, and an alarm whose objects move changes with every frame."""
    return {key: id(work) for work in works for key in work.states}


def finishes(works: list[Work]) -> dict[int, dict[int, str]]:
    """Offsets of the frames that the works came of, and their fates, by partition."""
    found: dict[int, dict[int, str]] = {}
    for work in works:
        found.setdefault(work.partition, {}).update({} if work.offset is None else {work.offset: work.fate})
    return found


def pictured(work: Work, sent: Mapping[Slot, tuple[Outgoing, Sent]]) -> dict[str, Place]:
    """By alert, where the first of its pictures lies that came of this work; an alert raised again has another. Where
    the broker takes no frame so large, the crop beside it does not stand for it."""
    first: dict[str, int] = {}
    for number, message in enumerate(work.evidence):
        first.setdefault(message.key.decode(), number)
    found: dict[str, Place] = {}
    for alert, number in first.items():
        _, one = sent.get((id(work), "evidence", number), (None, None))
        if one is not None:
            assert one.place is not None, "flush() has waited for it"
            found[alert] = (work.partition, one.place)
    return found
