"""CloudEvents on Kafka, binary content mode: what stands in the headers of every message.

The binding itself (header names, attribute rules, time format) is the ``cloudevents`` package's; here are our types'
attributes. Extension names may hold only lower-case letters and digits, hence ``capturedns``.
"""

from __future__ import annotations

import operator
import re
import time as clock
from datetime import UTC, datetime
from typing import Any, Protocol, get_args

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import ValidationError

from infra.contracts import EVENT_TYPES, FrameHeader, MessageReference, utc_from_ns
from infra.errors import BadFrameMessage
from infra.topics import TopicName
from infra.values import LAST_TIME

Headers = list[tuple[str, bytes]]

IMAGE_TYPES: tuple[str, ...] = get_args(FrameHeader.model_fields["content_type"].annotation)

MAX_CLOCK_ERROR_S = 366 * 86_400
"""A frame whose times are further from now than a year was stamped by no clock, but by garbage or by one that was never
set. Clocks that are off by less are the freshness contract's to deal with."""

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16_000
"""A frame has about a dozen headers of some 400 bytes together; the rest is room for what others add, e.g. tracing."""

_NO_DATA = b""
_FORMAT = JSONFormat()
_LAST_NS = int(LAST_TIME.timestamp()) * 1_000_000_000 - 1
_RFC3339_NS = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_DIGITS = re.compile(r"[0-9]{1,21}")


def camera_source(camera: str) -> str:
    """CloudEvents source of what a camera publishes."""
    return f"/cameras/{camera}"


def frame_headers(header: FrameHeader) -> Headers:
    """Headers of a message on `frames`; its key is the camera id, its value the encoded image.

    Raises BadFrameMessage (``bad_header``) for a time after the year 9998.
    """
    _require_times(header)
    attributes: dict[str, Any] = {
        "id": header.id,
        "type": EVENT_TYPES["frames"],
        "source": camera_source(header.camera),
        "time": utc_from_ns(header.captured_ns),
        "datacontenttype": header.content_type,
        "sequence": str(header.sequence),
        "epoch": header.epoch,
        "capturedns": str(header.captured_ns),
        "publishedns": str(header.published_ns),
        "width": str(header.width),
        "height": str(header.height),
    }
    if header.expires_ns is not None:
        attributes["expirytime"] = _rfc3339(header.expires_ns)
    return _binary(attributes)


def read_frame(headers: Headers | None, key: bytes | None) -> FrameHeader:
    """What the headers of a message on `frames` say.

    Raises:
        BadFrameMessage: with ``reason`` ``headers_too_large`` (too many, or too many bytes), ``missing_headers`` (no
            CloudEvents headers at all), ``missing_header`` (one is lacking), ``unknown_version``, ``unknown_type``,
            ``unknown_content_type``, ``bad_header`` (a value that cannot be read, or is too long) or ``key_mismatch``
            (the key is not the camera).
    """
    _require_small(headers or [])
    # Other headers (tracing, for example) are none of our business.
    named = {name.lower(): value for name, value in headers or [] if value is not None}
    raw = {name: value for name, value in named.items() if name.startswith("ce_") or name == "content-type"}
    if not any(name.startswith("ce_") for name in raw):
        raise BadFrameMessage(
            "message has no CloudEvents headers (ce_id, ce_type, …); publish frames with `simvg camera`",
            reason="missing_headers",
        )
    text = {name: _text(name, value) for name, value in raw.items()}
    if text.get("ce_specversion") != "1.0":
        raise BadFrameMessage(
            f"CloudEvents version {text.get('ce_specversion')!r} is not read here; use 1.0", reason="unknown_version"
        )
    if text.get("ce_type", EVENT_TYPES["frames"]) != EVENT_TYPES["frames"]:
        raise BadFrameMessage(
            f"message of type {text['ce_type']!r} on a frames topic; expected {EVENT_TYPES['frames']!r}",
            reason="unknown_type",
        )
    _require(text)
    if text["content-type"] not in IMAGE_TYPES:
        raise BadFrameMessage(
            f"content type {text['content-type']!r} is no image read here; use {' or '.join(IMAGE_TYPES)}",
            reason="unknown_content_type",
        )
    attributes = _attributes(raw)
    camera = _camera(attributes["source"], key)
    expiry = attributes.get("expirytime")
    try:
        header = FrameHeader(
            id=attributes["id"],
            camera=camera,
            sequence=_number("sequence", attributes["sequence"]),
            epoch=attributes["epoch"],
            captured_ns=_number("capturedns", attributes["capturedns"]),
            published_ns=_number("publishedns", attributes["publishedns"]),
            width=_number("width", attributes["width"]),
            height=_number("height", attributes["height"]),
            content_type=attributes["datacontenttype"],
            expires_ns=None if expiry is None else _nanoseconds(expiry),
        )
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise BadFrameMessage(
            f"header {fault['loc'][0]} = {fault.get('input')!r:.80}: {fault['msg']}", reason="bad_header"
        ) from error
    _require_times(header)
    return header


def require_near(header: FrameHeader, now_ns: int) -> None:
    """Raises BadFrameMessage (``bad_header``) for a frame whose times are more than a year away from now."""
    for name, ns in (("captured_ns", header.captured_ns), ("published_ns", header.published_ns)):
        if abs(ns - now_ns) > MAX_CLOCK_ERROR_S * 1_000_000_000:
            raise BadFrameMessage(
                f"{name} says {utc_from_ns(ns):%Y-%m-%d %H:%M} UTC, {abs(ns - now_ns) / 86_400e9:.0f} days away from "
                "now; set the clock of the camera's machine",
                reason="bad_header",
            )


def event_headers(
    topic: TopicName, *, id: str, source: str, time: datetime | None = None, content_type: str = "application/json"
) -> Headers:
    """Headers of a message on any topic but `frames`. ``time`` is aware, default now."""
    attributes: dict[str, Any] = {
        "id": id,
        "type": EVENT_TYPES[topic],
        "source": source,
        "time": time if time is not None else datetime.now(UTC),
        "datacontenttype": content_type,
    }
    return _binary(attributes)


# For a name that is no text the client sets an error and still gives a list, with null pointers in it. Python's own
# shortcut for `message.headers()` does not look for the error and would go on to a crash; a call by name does.
_checked_headers = operator.methodcaller("headers")


class WithHeaders(Protocol):
    """A message of the Kafka client."""

    def headers(self) -> object: ...


def headers_of(message: WithHeaders) -> Headers:
    """Headers of a message of the Kafka client (a list of pairs, or None) → ours; one without a value is empty.

    Raises BadFrameMessage (``bad_header``): a name is no UTF-8 text. The client must not be asked for the headers of
    such a message again: it would answer with pointers to nothing.
    """
    try:
        found = _checked_headers(message)
    except (SystemError, UnicodeDecodeError) as error:
        raise BadFrameMessage("message has a header whose name is no UTF-8 text", reason="bad_header") from error
    pairs: list[tuple[str, str | bytes | None]] = found if isinstance(found, list) else []
    return [(name, value.encode() if isinstance(value, str) else value or b"") for name, value in pairs]


def rejected_headers(
    original: MessageReference,
    *,
    reason: str,
    error: BaseException | str,
    source: str,
    content_type: str | None = None,
    headers: Headers | None = None,
) -> Headers:
    """Headers of a message on `frames-rejected`; its value is the original's, byte for byte.

    The original's own ``headers`` follow under names that begin with ``original-``, so that it can be sent again as it
    was; headers of more than 64 kB together, as they lie here, are left out, which ``original-headers-left-out`` says
    in bytes.

    ``reason``: the short label that is also counted; ``error``: what was wrong, with its class if it is an exception.
    The id is made of the original's place, so a frame that is refused twice is recognised.
    """
    message = str(error)
    attributes: dict[str, Any] = {
        "id": f"{original.topic}/{original.partition}/{original.offset}",
        "type": EVENT_TYPES["frames-rejected"],
        "source": source,
        "time": utc_from_ns(clock.time_ns()),
        "datacontenttype": content_type or "application/octet-stream",
        "reason": reason,
        "errorclass": type(error).__name__ if isinstance(error, BaseException) else "str",
        "errormessage": message[:1000] or reason,
        "originaltopic": original.topic,
        "originalpartition": str(original.partition),
        "originaloffset": str(original.offset),
    }
    return _binary(attributes) + _kept_headers(headers or [])


def original_headers(headers: Headers) -> Headers:
    """The headers that a message on `frames-rejected` came with, from its own."""
    named = [(name.removeprefix(_ORIGINAL), value) for name, value in headers if name.startswith(_ORIGINAL)]
    return [(name, value) for name, value in named if name != _LEFT_OUT]


_ORIGINAL = "original-"
_LEFT_OUT = "headers-left-out"
_MOST_HEADER_BYTES = 64_000
_LENGTHS = 10  # bytes that the lengths of a header's name and value take at most


def _kept_headers(headers: Headers) -> Headers:
    size = sum(len(name) + len(value or b"") for name, value in headers)
    if size + len(headers) * (len(_ORIGINAL) + _LENGTHS) > _MOST_HEADER_BYTES:
        return [(_ORIGINAL + _LEFT_OUT, str(size).encode())]
    return [(_ORIGINAL + name, value) for name, value in headers]


def _binary(attributes: dict[str, Any]) -> Headers:
    message = to_binary(CloudEvent(attributes, _NO_DATA), _FORMAT)
    return list(message.headers.items())


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFrameMessage(f"header {name} = {value[:80]!r} is no UTF-8 text", reason="bad_header") from error


def _require_small(headers: Headers) -> None:
    size = sum(len(name) + len(value or b"") for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise BadFrameMessage(
            f"message has {len(headers)} headers of {size} bytes together; a frame has at most {MAX_HEADERS} of "
            f"{MAX_HEADER_BYTES} bytes",
            reason="headers_too_large",
        )


def _require_times(header: FrameHeader) -> None:
    for name in ("captured_ns", "published_ns", "expires_ns"):
        value = getattr(header, name)
        if value is not None and value > _LAST_NS:
            raise BadFrameMessage(
                f"{name} {value} is after the year {LAST_TIME.year - 1}; give nanoseconds since 1970",
                reason="bad_header",
            )


_OWN = ("sequence", "epoch", "capturedns", "publishedns", "width", "height")
_REQUIRED = (*(f"ce_{name}" for name in ("id", "type", "source", "time", *_OWN)), "content-type")


def _require(text: dict[str, str]) -> None:
    lacking = [name for name in _REQUIRED if not text.get(name)]
    if lacking:
        raise BadFrameMessage(f"message lacks header {', '.join(lacking)}", reason="missing_header")


def _attributes(raw: dict[str, bytes]) -> dict[str, Any]:
    try:  # the image itself is never parsed here, hence no data
        return from_binary(KafkaMessage(raw, None, _NO_DATA), _FORMAT).get_attributes()
    except (BaseCloudEventException, ValueError) as error:
        raise BadFrameMessage(f"headers are no CloudEvent: {error}", reason="bad_header") from error


def _camera(source: str, key: bytes | None) -> str:
    camera = source.removeprefix("/cameras/")
    if key is None or key != camera.encode():
        raise BadFrameMessage(
            f"key {key!r:.80} of the message is not the camera of its source {source!r:.80}; frames are keyed by "
            "camera id",
            reason="key_mismatch",
        )
    return camera


def _number(name: str, value: str) -> int:
    if not _DIGITS.fullmatch(value):
        raise BadFrameMessage(f"header ce_{name} = {value[:80]!r} is no whole number", reason="bad_header")
    return int(value)


def _rfc3339(ns: int) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".rjust(30, "0")


def _nanoseconds(value: str) -> int:
    """RFC 3339 UTC → nanoseconds; ``datetime`` alone would cut to microseconds."""
    match = _RFC3339_NS.fullmatch(value)
    if not match:
        raise BadFrameMessage(
            f"header ce_expirytime = {value[:80]!r} is no RFC 3339 UTC time such as 2026-01-31T12:00:00Z",
            reason="bad_header",
        )
    try:
        seconds = int(datetime.fromisoformat(match[1] + "+00:00").timestamp())
    except ValueError as error:
        raise BadFrameMessage(f"header ce_expirytime = {value!r}: {error}", reason="bad_header") from error
    return seconds * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))
