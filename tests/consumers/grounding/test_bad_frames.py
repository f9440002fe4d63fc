"""What is no usable frame is kept with the reason, counted, and stops nothing."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import cv2
import numpy as np
import pytest
from prometheus_client import REGISTRY

from consumers.grounding import judge
from consumers.grounding.alarm import Step, step
from consumers.grounding.decode import decode, image_size
from consumers.grounding.findings import Finding
from consumers.grounding.scoring import MAX_FAILURES, NO_NUMBER
from infra.cloudevents import frame_headers
from infra.contracts import Delay, FrameHeader, State
from infra.errors import BadFrameMessage
from infra.schedule import Schedule
from infra.settings import KafkaSettings
from infra.topics import MAX_MESSAGE_BYTES, topic_name
from tests.consumers.grounding.colour import ColourEngine
from tests.consumers.grounding.conftest import HEIGHT, WIDTH, Line, picture

JPEG = picture()
ROUGH = bytes(cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))[1])
PNG = bytes(cv2.imencode(".png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))[1])


def headers(**changes: object) -> list[tuple[str, bytes]]:
    now = time.time_ns()
    facts: dict[str, object] = {"id": "line-1/e/0", "camera": "line-1", "sequence": 0, "epoch": "e"}
    facts |= {"captured_ns": now, "published_ns": now, "width": WIDTH, "height": HEIGHT}
    return frame_headers(FrameHeader.model_validate(facts | changes))


def without(name: str) -> list[tuple[str, bytes]]:
    return [pair for pair in headers() if pair[0] != name]


@pytest.mark.parametrize(
    ("value", "given", "key", "reason", "says"),
    [
        (b"hello", headers(), b"line-1", "not_an_image", "they begin b'hello'"),
        (b"", headers(), b"line-1", "empty", "no image in it"),
        (JPEG[: len(JPEG) // 2], headers(), b"line-1", "corrupt_image", "is cut off"),
        (ROUGH[: len(ROUGH) // 2] + b"\xff\xd9", headers(), b"line-1", "corrupt_image", "is cut off"),
        (JPEG, headers(width=640, height=480), b"line-1", "size_mismatch", f"image is {WIDTH}×{HEIGHT} pixels"),
        (JPEG, [], b"line-1", "missing_headers", "no CloudEvents headers"),
        (JPEG, without("ce_sequence"), b"line-1", "missing_header", "ce_sequence"),
        (JPEG, headers(), b"line-2", "key_mismatch", "b'line-2'"),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)
def test_bad_message_is_kept_with_its_reason(
    line: Line, value: bytes, given: list[tuple[str, bytes]], key: bytes, reason: str, says: str
) -> None:
    """The original bytes lie on frames-rejected with class, message and place; the good frames around are scored."""
    line.add("red")
    worker = line.start()
    camera = line.camera()
    camera.play("r")
    place = camera.raw(value, given, key)
    camera.play("rr")
    line.wait_for_alerts("raised")
    line.until(lambda: worker.totals.fetched == 4 and worker.totals.in_flight == 0)
    assert worker.totals.balanced and worker.totals.rejected == {reason: 1}
    ((_, kept_key, kept, told),) = line.messages("frames-rejected")
    assert (kept, kept_key) == (value, key)
    assert told["ce_reason"].decode() == reason
    assert told["ce_errorclass"] == b"BadFrameMessage"
    assert says in told["ce_errormessage"].decode()
    original = (told["ce_originaltopic"], told["ce_originalpartition"], told["ce_originaloffset"])
    assert original == (place.topic.encode(), str(place.partition).encode(), str(place.offset).encode())


def test_times_at_the_end_of_the_calendar_stop_nothing(line: Line) -> None:
    """A frame from the end of 9999, under a query with hours in an eastern zone, is kept as a bad header; good ones
    before and after it are judged."""
    line.add("red", schedule=Schedule.parse("00:00-24:00 Pacific/Auckland"))
    worker = line.start()
    camera = line.camera()
    camera.play("r")
    sound, latest = dict(headers()), b"253402300799999999999"
    for name in ("ce_capturedns", "ce_publishedns"):
        camera.raw(JPEG, list((sound | {name: latest}).items()))
    camera.raw(JPEG, list((sound | {"ce_expirytime": b"9999-12-31T23:59:59Z"}).items()))
    camera.raw(JPEG, list((sound | {"ce_capturedns": b"1"}).items()))
    camera.play("rr")
    line.wait_for_alerts("raised")
    line.wait_for_frames(worker, 7)
    assert worker.totals.rejected == {"bad_header": 4}


def nameless(kafka: KafkaSettings) -> None:
    """Sends a frame with a header whose name is no text, as a client in C can and one in Python cannot."""
    libraries = list(Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka-*"))
    if not libraries:
        pytest.skip("librdkafka is not where the Linux wheel has it")
    lib, said = ctypes.CDLL(str(libraries[0])), ctypes.create_string_buffer(512)
    for make in (lib.rd_kafka_conf_new, lib.rd_kafka_new, lib.rd_kafka_headers_new):
        make.restype = ctypes.c_void_p
    conf = ctypes.c_void_p(lib.rd_kafka_conf_new())
    assert lib.rd_kafka_conf_set(conf, b"bootstrap.servers", kafka.bootstrap.encode(), said, 512) == 0, said.value
    producer = ctypes.c_void_p(lib.rd_kafka_new(0, conf, said, 512))
    given = ctypes.c_void_p(lib.rd_kafka_headers_new(1))
    lib.rd_kafka_header_add(given, b"\xff\xfe", ctypes.c_ssize_t(2), b"value", ctypes.c_ssize_t(5))
    topic, value, flags, with_headers = 1, 4, 7, 10  # rd_kafka_vtype_t; flag 2 copies the value
    facts = (topic, topic_name(kafka.prefix, "frames").encode(), value, JPEG, ctypes.c_size_t(len(JPEG)))
    assert lib.rd_kafka_producev(producer, *facts, flags, 2, with_headers, given, 0) == 0
    assert lib.rd_kafka_flush(producer, 30_000) == 0
    lib.rd_kafka_destroy(producer)


def test_headers_without_end_or_name_stop_nothing(line: Line) -> None:
    """A megabyte of id, thousands of headers, a name that is no text: kept with the reason, and the worker goes on."""
    line.add("red")
    worker = line.start()
    camera = line.camera()
    camera.play("r")
    camera.raw(JPEG, list((dict(headers()) | {"ce_id": b"x" * 1_000_000}).items()))
    camera.raw(JPEG, [*headers(), *[(f"h{n}", b"") for n in range(3000)]])
    camera.raw(JPEG, list((dict(headers()) | {"ce_epoch": b"e" * 101}).items()))
    nameless(line.kafka)
    camera.play("rr")
    line.wait_for_alerts("raised")
    line.wait_for_frames(worker, 7)
    assert worker.totals.rejected == {"headers_too_large": 2, "bad_header": 2}
    assert [kept for _, _, kept, _ in line.messages("frames-rejected")] == [JPEG] * 4


def test_largest_frame_there_is_keeps_its_bytes(line: Line) -> None:
    """What just fits on `frames` fits on `frames-rejected` too, with its headers and the reason around it."""
    line.add("red")
    worker = line.start()
    note = ("note", b"n" * 60_000)
    value = JPEG + bytes(MAX_MESSAGE_BYTES - len(note[1]) - len(JPEG) - 500)
    line.camera().raw(value, [*headers(), note])
    with pytest.raises(AssertionError, match="too large"):
        line.camera("line-2").raw(value + bytes(1_000), [*headers(), note])
    line.wait_for_frames(worker, 1)
    line.until(lambda: line.messages("frames-rejected"))
    ((_, _, kept, told),) = line.messages("frames-rejected")
    assert kept == value
    assert told["original-note"] == note[1]


def test_hundred_broken_frames_leave_no_gap(line: Line) -> None:
    """A row of noise is rejected frame by frame, committed, and not read again by the next worker."""
    line.add("red")
    worker = line.start()
    camera = line.camera()
    noise = np.random.default_rng(7)
    for _ in range(100):
        camera.send(image=noise.bytes(int(noise.integers(1, 400))))
    line.wait_for_frames(worker, 100)
    line.until(lambda: len(line.messages("frames-rejected")) == 100)
    line.stop(worker)
    second = line.start()
    camera.play("rrr")
    line.wait_for_alerts("raised")
    assert second.totals.fetched == 3


@pytest.mark.parametrize("image", [JPEG, PNG], ids=["jpeg", "png"])
def test_good_images_are_decoded(image: bytes) -> None:
    """JPEG and PNG give pixels of the size their headers say."""
    assert image_size(image) == (WIDTH, HEIGHT)
    assert decode(image, width=WIDTH, height=HEIGHT, max_pixels=100_000).shape == (HEIGHT, WIDTH, 3)


def test_huge_image_is_refused_before_it_is_decoded() -> None:
    """An image that claims a billion pixels costs no memory: its own header is enough to refuse it."""
    bomb = PNG[:16] + (60_000).to_bytes(4, "big") * 2 + PNG[24:]
    with pytest.raises(BadFrameMessage, match="60000×60000 pixels is over the limit of 100000") as refused:
        decode(bomb, width=60_000, height=60_000, max_pixels=100_000)
    assert refused.value.reason == "too_many_pixels"


@pytest.mark.parametrize(
    "options",
    [
        [],
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
        [cv2.IMWRITE_JPEG_QUALITY, 5],
    ],
    ids=["plain", "progressive", "444", "restarts", "coarse"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_opencv(options: list[int], channels: int) -> None:
    """The fast way and OpenCV's give the same bytes, whatever kind of JPEG it is, and with padding behind it."""
    noise = np.random.default_rng(1).integers(0, 256, (12, 17, channels), dtype=np.uint8)
    pixels = cv2.resize(noise, (161, 99), interpolation=cv2.INTER_CUBIC)
    image = bytes(cv2.imencode(".jpg", pixels, options)[1])
    wanted = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    for found in (image, image + bytes(100)):
        assert np.array_equal(decode(found, width=161, height=99, max_pixels=100_000), wanted)


def corrupted() -> list[bytes]:
    noise = np.random.default_rng(3)
    found = [b""]
    for base in (JPEG, PNG):
        for _ in range(150):
            broken = bytearray(base[: int(noise.choice([len(base), noise.integers(0, len(base))]))])
            for place in noise.integers(0, max(len(broken), 1), size=int(noise.integers(0, 4))):
                if broken:
                    broken[place] = int(noise.integers(0, 256))
            found.append(bytes(broken))
    return found


def test_corrupted_images_decode_or_are_refused() -> None:
    """Cut and altered images either decode to the right size or raise BadFrameMessage with a reason; nothing else."""
    outcomes: set[str] = set()
    for image in corrupted():
        try:
            assert decode(image, width=WIDTH, height=HEIGHT, max_pixels=100_000).shape == (HEIGHT, WIDTH, 3)
            outcomes.add("decoded")
        except BadFrameMessage as error:
            outcomes.add(error.reason)
    assert {"decoded", "empty", "not_an_image"} <= outcomes


@pytest.mark.parametrize(
    "given",
    [
        Finding(State.ABSENT, float("nan")),
        Finding(State.PRESENT, float("inf"), ((0.1, 0.1, 0.2, 0.2),), (0.9,)),
        Finding(State.PRESENT, 0.9, ((0.1, 0.1, float("nan"), 0.2),), (0.9,)),
        Finding(State.PRESENT, 0.9, ((0.1, 0.1, 0.2, 0.2),), (float("-inf"),)),
    ],
    ids=["score", "endless", "box", "box-score"],
)
def test_answers_that_are_no_numbers_are_unknown(line: Line, given: Finding) -> None:
    """However many frames in a row a model gives NaN or infinity for: they are unknown and counted, not absent, and the
    worker judges the frames after them."""

    class Overflowing(ColourEngine):
        def _find(self, view, text):  # type: ignore[no-untyped-def] # as the base class
            return given if view.min() > 180 else super()._find(view, text)

    line.add("red")
    camera = line.camera(f"bright-{line.kafka.prefix}")
    worker = line.start(Overflowing())
    for _ in range(MAX_FAILURES + 1):
        camera.send(image=bytes(cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 200, np.uint8))[1]))
    camera.play("rrr")
    line.wait_for_alerts("raised")
    line.wait_for_frames(worker, MAX_FAILURES + 4)
    assert worker.totals.rejected == {}
    unknown = [result for told in line.detections() for result in told.results if result.state is State.UNKNOWN]
    assert {(one.score, one.reason) for one in unknown} == {(None, NO_NUMBER)}
    labels = {"camera": camera.id, "reason": "no_number"}
    assert REGISTRY.get_sample_value("simvg_worker_frames_unknown_total", labels) == MAX_FAILURES + 1


def test_frame_the_model_fails_on_is_rejected_alone(line: Line, until: Callable[..., None]) -> None:
    """A frame that the model fails on is kept with the error; the other frames of its batch are scored."""

    class Choking(ColourEngine):
        def _find(self, view, text):  # type: ignore[no-untyped-def] # as the base class
            if view.min() > 180:
                raise RuntimeError("shape mismatch in layer 3")
            return super()._find(view, text)

    line.add("red")
    worker = line.start(Choking(), batch_size=4, batch_deadline_ms=200)
    camera = line.camera()
    camera.play("r")
    camera.send(image=bytes(cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 200, np.uint8))[1]))
    camera.play("rr")
    line.wait_for_alerts("raised")
    line.wait_for_frames(worker, 4)
    assert worker.totals.rejected == {"model_failed": 1}
    ((_, _, _, told),) = line.messages("frames-rejected")
    assert told["ce_errormessage"] == b"shape mismatch in layer 3"


def test_frame_that_cannot_be_judged_is_rejected_alone(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the alarms keeps the frame with the error and changes nothing: the episode goes on around it."""
    frames = 0

    def faulty(*args: object, **facts: object) -> Step:
        nonlocal frames
        frames += args[0].id == "red"  # type: ignore[attr-defined]
        if frames == 2 and args[0].id == "two":  # type: ignore[attr-defined] # that of "red" is done by then
            raise RuntimeError("no such episode")
        return step(*args, **facts)  # type: ignore[arg-type]

    monkeypatch.setattr(judge, "step", faulty)
    line.add("red")
    line.add("red", id="two", on_delay=Delay(value=2))
    worker = line.start()
    line.camera().play("rrrr")
    line.wait_for_alerts("raised", "raised")
    line.wait_for_frames(worker, 4)
    assert worker.totals.rejected == {"judging_failed": 1}
    assert worker.totals.balanced
    ((_, _, _, told),) = line.messages("frames-rejected")
    assert told["ce_errormessage"] == b"no such episode"
    found = {one.query.id: one.frame.sequence for one in line.alerts()}
    assert found == {"red": 3, "two": 2}


def test_worker_that_can_judge_no_frame_ends(
    line: Line, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    """So many errors in a row are the program's: the worker says so and ends, and the frames stay for another."""
    monkeypatch.setattr(judge, "step", lambda *args, **facts: 1 // 0)
    line.add("red")
    worker = line.start()
    line.camera().play("r" * (judge.MAX_FAILURES + 1))
    line.until(lambda: line.failures)
    assert "division" in (worker.health() or "")
    assert worker.totals.rejected == {"judging_failed": judge.MAX_FAILURES - 1}
    assert isinstance(line.failures.pop(), ZeroDivisionError)
