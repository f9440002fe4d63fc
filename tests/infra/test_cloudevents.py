"""What stands in the headers of messages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from hypothesis import given
from hypothesis import strategies as st

from infra.cloudevents import (
    Headers,
    event_headers,
    frame_headers,
    original_headers,
    read_frame,
    rejected_headers,
    require_near,
)
from infra.contracts import EVENT_TYPES, FrameHeader, MessageReference
from infra.errors import BadFrameMessage

_LAST_NS = 253_370_764_799_999_999_999  # the end of the year 9998

_cameras = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
_times = st.integers(1, _LAST_NS)
_texts = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=60)


@st.composite
def _headers(draw: st.DrawFn) -> FrameHeader:
    return FrameHeader(
        id=draw(_texts),
        camera=draw(_cameras),
        sequence=draw(st.integers(0, 2**63)),
        epoch=draw(_texts),
        captured_ns=draw(_times),
        published_ns=draw(_times),
        width=draw(st.integers(1, 100_000)),
        height=draw(st.integers(1, 100_000)),
        content_type=draw(st.sampled_from(["image/jpeg", "image/png"])),
        expires_ns=draw(st.none() | _times),
    )


def _example() -> FrameHeader:
    return FrameHeader(
        id="c1/e/7",
        camera="c1",
        sequence=7,
        epoch="e",
        captured_ns=1_764_000_000_123_456_789,
        published_ns=1_764_000_000_223_456_789,
        width=640,
        height=480,
        expires_ns=1_764_000_005_123_456_789,
    )


def _changed(name: str, value: bytes | None) -> Headers:
    headers = dict(frame_headers(_example()))
    if value is None:
        del headers[name]
    else:
        headers[name] = value
    return list(headers.items())


@given(_headers())
def test_frame_header_survives_the_way_through_kafka(header: FrameHeader) -> None:
    """What is written into headers is read back, to the nanosecond."""
    assert read_frame(frame_headers(header), header.camera.encode()) == header


def test_frame_is_a_cloud_event_to_others() -> None:
    """A standard CloudEvents reader understands a frame's headers."""
    event = from_binary_event(KafkaMessage(dict(frame_headers(_example())), b"c1", b"\xff\xd8"))
    assert event.get_type() == EVENT_TYPES["frames"] == "line.simvg.frame.v1"
    assert event.get_id() == "c1/e/7"
    assert event.get_source() == "/cameras/c1"
    assert event.get_datacontenttype() == "image/jpeg"
    assert event.get_extension("sequence") == "7"
    assert event.get_extension("expirytime") == "2025-11-24T16:00:05.123456789Z"


def test_foreign_headers_are_ignored() -> None:
    """Headers that others add, of whatever bytes, do not matter."""
    headers = [("traceparent", b"\xff\xfe"), *frame_headers(_example()), ("ce_extra", b"1")]
    assert read_frame(headers, b"c1") == _example()


@pytest.mark.parametrize(
    ("headers", "key", "reason", "message"),
    [
        (None, b"c1", "missing_headers", "no CloudEvents headers"),
        ([], b"c1", "missing_headers", "no CloudEvents headers"),
        ([("content-type", b"image/jpeg")], b"c1", "missing_headers", "simvg camera"),
        (_changed("ce_sequence", None), b"c1", "missing_header", "lacks header ce_sequence"),
        (_changed("content-type", None), b"c1", "missing_header", "lacks header content-type"),
        (_changed("ce_id", b""), b"c1", "missing_header", "lacks header ce_id"),
        (_changed("ce_specversion", b"0.3"), b"c1", "unknown_version", "'0.3'"),
        (_changed("ce_specversion", None), b"c1", "unknown_version", "None"),
        (_changed("ce_type", b"line.simvg.frame.v9"), b"c1", "unknown_type", "line.simvg.frame.v9"),
        (_changed("content-type", b"video/mp4"), b"c1", "unknown_content_type", "'video/mp4'"),
        (_changed("ce_sequence", b"-1"), b"c1", "bad_header", "ce_sequence = '-1'"),
        (_changed("ce_width", b"wide"), b"c1", "bad_header", "ce_width = 'wide'"),
        (_changed("ce_width", b"0"), b"c1", "bad_header", "width = 0"),
        (_changed("ce_id", b"\xff\xfe"), b"c1", "bad_header", "no UTF-8"),
        (_changed("ce_time", b"yesterday"), b"c1", "bad_header", "no CloudEvent"),
        (_changed("ce_expirytime", b"soon"), b"c1", "bad_header", "'soon'"),
        (_changed("ce_expirytime", b"2025-13-01T00:00:00Z"), b"c1", "bad_header", "2025-13-01"),
        (_changed("ce_source", b"/cameras/c2"), b"c1", "key_mismatch", "/cameras/c2"),
        (_changed("ce_id", b"c1/e/7"), None, "key_mismatch", "None"),
        (_changed("ce_source", b"/cameras/.c"), b".c", "bad_header", "'.c'"),
    ],
)
def test_unreadable_frame_says_why(headers: Headers | None, key: bytes | None, reason: str, message: str) -> None:
    """Each way of being no frame has its reason label and names the bad value."""
    with pytest.raises(BadFrameMessage) as refused:
        read_frame(headers, key)
    assert refused.value.reason == reason
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("headers", "reason", "message"),
    [
        (_changed("ce_id", b"x" * 1_000_000), "headers_too_large", "a frame has at most 100 of 16000 bytes"),
        (_changed("ce_epoch", b"x" * 15_000), "bad_header", "epoch = 'xxx"),
        (_changed("ce_id", b"x" * 201), "bad_header", "at most 200 characters"),
        ([*frame_headers(_example()), *[("x", b"")] * 100], "headers_too_large", "has 113 headers"),
        ([*frame_headers(_example()), ("x" * 16_000, b"")], "headers_too_large", "a frame has at most 100 of 16000"),
    ],
    ids=["long-id", "long-epoch", "id-over-its-limit", "many", "long-name"],
)
def test_headers_without_end_are_refused_in_few_words(headers: Headers, reason: str, message: str) -> None:
    """Number and length of headers are bounded, and what is said of them too."""
    with pytest.raises(BadFrameMessage) as refused:
        read_frame(headers, b"c1")
    assert refused.value.reason == reason
    assert message in str(refused.value) and len(str(refused.value)) < 300


def test_key_without_end_is_refused_in_few_words() -> None:
    """A key may be as long as a message; what is said of it may not."""
    with pytest.raises(BadFrameMessage, match="is not the camera") as refused:
        read_frame(frame_headers(_example()), b"k" * 1_000_000)
    assert len(str(refused.value)) < 300


@given(
    st.lists(st.tuples(st.sampled_from([n for n, _ in frame_headers(_example())]), st.binary(max_size=30))), st.binary()
)
def test_any_bytes_give_a_frame_or_a_reason(headers: Headers, key: bytes) -> None:
    """No header raises anything but the named error."""
    reason = ""
    try:
        read = read_frame([*frame_headers(_example()), *headers], key)
    except BadFrameMessage as error:
        reason = error.reason
    assert reason or read.camera.encode() == key


def test_time_beyond_writing_is_refused() -> None:
    """A time that RFC 3339 cannot write is refused before it is sent."""
    with pytest.raises(BadFrameMessage, match="captured_ns"):
        frame_headers(_example().model_copy(update={"captured_ns": _LAST_NS + 1}))


def _at(**times: int) -> FrameHeader:
    return _example().model_copy(update=times)


@pytest.mark.parametrize("name", ["ce_capturedns", "ce_publishedns", "ce_expirytime"])
def test_time_beyond_writing_is_no_frame(name: str) -> None:
    """What could not be written into headers again, to keep the frame, is refused when it is read."""
    far = b"9999-12-31T23:30:00Z" if name == "ce_expirytime" else str(_LAST_NS + 1).encode()
    with pytest.raises(BadFrameMessage, match="is after the year 9998") as refused:
        read_frame(_changed(name, far), b"c1")
    assert refused.value.reason == "bad_header"


@pytest.mark.parametrize("days", [0, 1, -1, 300, -300])
def test_clock_that_is_off_is_no_garbage(days: int) -> None:
    """A camera whose clock is wrong by less than a year goes on sending frames."""
    require_near(_example(), _example().captured_ns + days * 86_400_000_000_000)


@pytest.mark.parametrize("times", [{"captured_ns": 1}, {"captured_ns": _LAST_NS}, {"published_ns": _LAST_NS}])
def test_times_of_no_clock_are_refused(times: dict[str, int]) -> None:
    """A time that is years away is named as a date, with what to do."""
    with pytest.raises(BadFrameMessage, match=r"days away from now; set the clock") as refused:
        require_near(_at(**times), _example().captured_ns)
    assert refused.value.reason == "bad_header"


def test_event_headers_carry_type_and_time() -> None:
    """Messages of other topics carry their topic's type, id, source and time."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    headers = dict(event_headers("alerts", id="a-1", source="/workers/w", time=at))
    assert headers["ce_type"] == b"line.simvg.alert.v1"
    assert headers["ce_time"] == b"2026-01-02T03:04:05Z"
    assert headers["content-type"] == b"application/json"
    assert headers["ce_id"] == b"a-1"


def test_rejected_headers_name_the_original() -> None:
    """A refused frame can be traced to its place, with what was wrong."""
    place = MessageReference(topic="frames", partition=2, offset=41)
    error = BadFrameMessage("message lacks header ce_id", reason="missing_header")
    headers = dict(rejected_headers(place, reason=error.reason, error=error, source="/workers/w"))
    assert headers["ce_id"] == b"frames/2/41"
    assert headers["ce_reason"] == b"missing_header"
    assert headers["ce_errorclass"] == b"BadFrameMessage"
    assert headers["ce_errormessage"] == b"message lacks header ce_id"
    assert (headers["ce_originaltopic"], headers["ce_originalpartition"], headers["ce_originaloffset"]) == (
        b"frames",
        b"2",
        b"41",
    )


def test_rejected_headers_keep_the_originals() -> None:
    """What a refused frame came with can be had back, name for name; too much of it is left out and said."""
    place = MessageReference(topic="frames", partition=0, offset=1)
    came_with: Headers = [("ce_id", b"x"), ("Odd Name", b"\xff"), ("ce_id", b"twice")]
    kept = rejected_headers(place, reason="bad_header", error="x", source="/workers", headers=came_with)
    assert original_headers(kept) == came_with
    assert dict(kept)["ce_id"] == b"frames/0/1"
    huge = rejected_headers(place, reason="bad_header", error="x", source="/workers", headers=[("a", bytes(70_000))])
    assert original_headers(huge) == []
    assert dict(huge)["original-headers-left-out"] == b"70001"
    many = rejected_headers(place, reason="bad_header", error="x", source="/workers", headers=[("a", b"")] * 4000)
    assert original_headers(many) == []
    assert dict(many)["original-headers-left-out"] == b"4000"
