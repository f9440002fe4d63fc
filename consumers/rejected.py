"""Reading `frames-rejected`: messages that were no usable frames, as they came, with what was wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from confluent_kafka import Message

from consumers.reading import read_to_end
from infra.cloudevents import Headers, headers_of, original_headers
from infra.contracts import MessageReference
from infra.errors import BadFrameMessage, BadRejectedMessage, BufferFull
from infra.kafka import Publisher
from infra.settings import KafkaSettings
from infra.topics import topic_name

ROOM_SECONDS = 0.1
CONFIRMED_SECONDS = 130.0
"""A little longer than the client waits for the broker: by then every message is confirmed or has failed."""

_SUFFIXES = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG\r\n\x1a\n", ".png"))
_PLACE = re.compile(r"(\d+)[:/](\d+)")


@dataclass(frozen=True, slots=True)
class Rejected:
    """One rejected message. `place` is on `frames-rejected`, `original` on `frames` (None where it is not told)."""

    place: MessageReference
    rejected: datetime | None
    key: bytes
    reason: str
    error: str
    original: MessageReference | None
    headers: Headers = field(repr=False)
    value: bytes = field(repr=False)

    @property
    def camera(self) -> str:
        """The camera by the message's key, which may be anything."""
        return self.key.decode(errors="replace") or "unknown"

    @property
    def rejected_at(self) -> str:
        """When, in UTC, for people."""
        return "unknown" if self.rejected is None else f"{self.rejected.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    @property
    def suffix(self) -> str:
        """File suffix by the first bytes; ``.bin`` for what is neither JPEG nor PNG."""
        return next((suffix for start, suffix in _SUFFIXES if self.value.startswith(start)), ".bin")

    @property
    def file_name(self) -> str:
        """``line-1-0-412.jpg``: camera, partition and offset on `frames-rejected`."""
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", self.camera)[:60]
        return f"{safe}-{self.place.partition}-{self.place.offset}{self.suffix}"


def parse_place(text: str) -> tuple[int, int]:
    """``"0:412"`` → (partition, offset). Raises BadRejectedMessage."""
    match = _PLACE.fullmatch(text.strip())
    if match is None:
        raise BadRejectedMessage(f"{text!r} is no place; write PARTITION:OFFSET, as `simvg rejected list` shows it")
    return int(match[1]), int(match[2])


def read_rejected(kafka: KafkaSettings, *, client_id: str = "simvg-rejected") -> Iterator[Rejected]:
    """All that are kept, in order per partition. Raises BrokerUnavailable, TopicMissing."""
    for message in read_to_end(kafka, topic_name(kafka.prefix, "frames-rejected"), client_id=client_id):
        yield _read(message)


def find_rejected(kafka: KafkaSettings, place: str) -> Rejected:
    """The one at PARTITION:OFFSET. Raises BadRejectedMessage where nothing is kept."""
    wanted = parse_place(place)
    for one in read_rejected(kafka):
        if (one.place.partition, one.place.offset) == wanted:
            return one
    raise BadRejectedMessage(f"no rejected message is kept at {place}; `simvg rejected list` shows those that are")


def send_again(kafka: KafkaSettings, chosen: list[Rejected]) -> list[tuple[Rejected, str | None]]:
    """Puts messages on `frames` as they first came; beside each None, or why it was not sent.

    Workers take a frame sent again as new: a good one is scored, a bad one is rejected anew, an expired one is counted
    as expired. Alarms ignore it, since their camera's later frames have been taken in. Of a camera under freshness
    `latest` the newest that waits is scored, and the others are counted as behind.

    Waits while the client's queue is full, and until the broker has what was sent, or has not confirmed it in time.
    """
    topic = topic_name(kafka.prefix, "frames")
    failures: dict[int, str] = {}
    with Publisher(kafka, client_id="simvg-rejected") as publisher:
        for number, one in enumerate(chosen):
            headers = original_headers(one.headers)
            if not headers:
                failures[number] = "the headers that it came with were not kept"
                continue
            if not one.value:
                failures[number] = "its bytes were not kept"
                continue

            def delivered(error: Exception | None, _: object, number: int = number) -> None:
                if error is not None:
                    failures[number] = str(error)

            while True:
                try:
                    publisher.send(topic, key=one.key, value=one.value, headers=headers, on_delivery=delivered)
                    break
                except BufferFull:  # for as long as the broker takes, but no longer than a message may wait for it
                    publisher.poll(ROOM_SECONDS)
            publisher.poll(0)
        publisher.flush(CONFIRMED_SECONDS)
    return [(one, failures.get(number)) for number, one in enumerate(chosen)]


def _read(message: Message) -> Rejected:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None, "a consumed message has a place"
    try:
        headers = headers_of(message)
    except BadFrameMessage:  # nothing of ours: it is shown with what can be read
        headers = []
    told = {name: value.decode(errors="replace") for name, value in headers if name.startswith("ce_")}
    key: object = message.key() or b""
    return Rejected(
        place=MessageReference(topic=topic, partition=partition, offset=offset),
        rejected=_moment(told.get("ce_time", "")),
        key=key if isinstance(key, bytes) else str(key).encode(),
        reason=told.get("ce_reason", "unknown"),
        error=f"{told.get('ce_errorclass', 'unknown')}: {told.get('ce_errormessage', 'nothing was said')}",
        original=_original(told),
        headers=headers,
        value=message.value() or b"",
    )


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _original(told: dict[str, str]) -> MessageReference | None:
    try:
        return MessageReference(
            topic=told["ce_originaltopic"],
            partition=int(told["ce_originalpartition"]),
            offset=int(told["ce_originaloffset"]),
        )
    except (KeyError, ValueError):
        return None
