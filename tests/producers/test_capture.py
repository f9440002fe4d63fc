"""Reading a source for as long as the camera runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from structlog.testing import capture_logs
from tenacity import RetryCallState, Retrying

from infra.errors import CameraError
from infra.process import free_port
from infra.rtsp.server import RtspServer
from producers.capture import CameraState, Capture, Reconnect
from producers.clock import CaptureClock
from producers.frame import CapturedFrame, Shot, picture_of
from producers.ledger import Ledger
from producers.numbering import Numbering
from producers.rate import RateLimit
from producers.source import Source
from producers.sources import open_source

PICTURE = picture_of(np.zeros((12, 16, 3), np.uint8))
QUICK = Reconnect(initial_seconds=0.01, max_seconds=0.05)
Until = Callable[..., None]


class FakeSource:
    """A source that plays a script: each opening gives its frames (None: corrupt), then the fault, or just ends."""

    def __init__(self, *openings: Sequence[Shot | CameraError], live: bool = True) -> None:
        self._openings = iter(openings)
        self.shown = "fake"
        self.live = live

    def shots(self, stop: Event) -> Iterator[Shot]:
        for step in next(self._openings, ()):
            if isinstance(step, CameraError):
                raise step
            yield step
        else:
            if self.live:
                stop.set()  # the script is over


class Running:
    """A capture in its thread, and what it handed on."""

    def __init__(self, source: Source, *, reconnect: Reconnect = QUICK, fps: float | None = None) -> None:
        self.frames: list[CapturedFrame] = []
        self.ledger = Ledger("c")
        self.stop = Event()
        self.capture = Capture(
            "c",
            source,
            self.frames.append,
            self.ledger,
            clock=CaptureClock(),
            numbering=Numbering("e"),
            rate=RateLimit(fps) if fps else None,
            reconnect=reconnect,
        )
        self.thread = Thread(target=self.capture.run, args=(self.stop,), daemon=True)

    def __enter__(self) -> Running:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join(20)

    @property
    def sequences(self) -> list[int]:
        return [frame.sequence for frame in self.frames]


def shots(count: int, start: int = 1) -> list[Shot]:
    return [Shot((start + n) * 1_000_000_000, PICTURE) for n in range(count)]


def test_sequence_goes_on_through_losses() -> None:
    """Frames before and after a loss are numbered on in one epoch."""
    source = FakeSource([*shots(3), CameraError("gone")], [CameraError("still gone")], shots(2, 10))
    with Running(source) as running:
        running.thread.join(20)
    assert running.sequences == [0, 1, 2, 3, 4]
    assert {frame.epoch for frame in running.frames} == {"e"}


def test_corrupt_frames_are_counted_and_keep_their_number() -> None:
    """A frame nobody can decode is a gap in the sequence and stands in the books."""
    source = FakeSource([Shot(1, PICTURE), Shot(2, None), Shot(3, PICTURE)])
    with Running(source) as running:
        running.thread.join(20)
    assert running.sequences == [0, 2]
    counts = running.ledger.counts()
    assert (counts.captured, counts.dropped) == (3, {"corrupt": 1})


def test_rate_limit_drops_are_counted() -> None:
    """Frames over the rate asked for are gaps with a reason."""
    source = FakeSource([Shot(1_000_000_000 + n * 100_000_000, PICTURE) for n in range(10)])
    with Running(source, fps=5) as running:
        running.thread.join(20)
    assert running.sequences == [0, 2, 4, 6, 8]
    assert running.ledger.counts().dropped == {"rate": 5}


def test_recording_that_cannot_be_read_fails() -> None:
    """A file is not tried again."""
    running = Running(FakeSource([CameraError("cannot open fake")], live=False))
    with pytest.raises(CameraError, match="cannot open fake"):
        running.capture.run(Event())
    assert running.capture.fault == "cannot open fake"


def test_recording_that_ends_has_ended() -> None:
    """After its last frame a recording is over, without a fault."""
    running = Running(FakeSource(shots(2), live=False))
    running.capture.run(Event())
    assert (running.capture.state, running.capture.fault) == (CameraState.ENDED, None)


def test_pauses_grow_and_differ() -> None:
    """Pauses double up to the longest, cut by a random part of at most a half."""
    reconnect = Reconnect(initial_seconds=1, max_seconds=8)
    for attempt, full in [(1, 1), (2, 2), (3, 4), (4, 8), (9, 8)]:
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = attempt
        pauses = {reconnect.pause(state) for _ in range(50)}
        assert full / 2 <= min(pauses) < max(pauses) <= full


def test_unreachable_camera_is_tried_for_ever(until: Until) -> None:
    """Every failed try is logged with reason and pause, the state says so, and no credentials appear."""
    port = free_port()
    with capture_logs() as logs, Running(open_source(f"rtsp://me:secret@127.0.0.1:{port}/s")) as running:
        until(lambda: sum(entry["event"] == "camera cannot be opened; trying again" for entry in logs) >= 3)
        assert running.capture.state is CameraState.CONNECTING
        assert running.capture.fault is not None and "nothing listens at that address" in running.capture.fault
    assert not running.thread.is_alive()
    tried = [entry for entry in logs if entry["event"] == "camera cannot be opened; trying again"]
    assert [entry["attempt"] for entry in tried] == list(range(1, len(tried) + 1))
    assert tried[0]["error"].startswith(f"cannot open rtsp://***@127.0.0.1:{port}/s: nothing listens at that address")
    assert "secret" not in str(logs)


def test_camera_that_drops_and_returns_goes_on(until: Until) -> None:
    """A real RTSP camera loses power in mid-stream and comes back: the loss is logged, frames are numbered on."""
    server = RtspServer()
    server.start()
    with capture_logs() as logs, Running(open_source(server.url)) as running:
        until(lambda: len(running.frames) >= 5)
        server.stop()
        until(lambda: running.capture.state is CameraState.LOST)
        before = len(running.frames)
        server.start()
        until(lambda: len(running.frames) >= before + 5)
        assert running.capture.state is CameraState.STREAMING and running.capture.fault is None
    server.stop()
    # A picture that the loss cut off is no frame, but has its number and stands in the books.
    counts, numbers = running.ledger.counts(), running.sequences
    assert set(counts.dropped) <= {"corrupt"}
    assert numbers == sorted(set(numbers)) and numbers[-1] < counts.captured
    assert counts.captured == len(numbers) + counts.dropped.get("corrupt", 0)
    assert all(a.captured_ns < b.captured_ns for a, b in pairwise(running.frames))
    events = [entry["event"] for entry in logs]
    assert {"camera gives frames", "camera lost; connecting again", "camera is back"} <= set(events)


def test_stalled_camera_is_connected_again(until: Until) -> None:
    """A camera that goes silent without closing its connection is lost after the stall time, and taken up again."""
    with RtspServer() as server:
        source = open_source(server.url, stall_seconds=1, open_seconds=2)
        with Running(source) as running:
            until(lambda: len(running.frames) >= 3)
            server.freeze()
            until(lambda: running.capture.state is CameraState.LOST)
            assert running.capture.fault is not None and "no answer in time" in running.capture.fault
            before = len(running.frames)
            server.thaw()
            until(lambda: len(running.frames) >= before + 3)


def test_file_with_a_corrupt_frame_plays_on(clip: Callable[..., Path], damage: Callable[[Path, int], None]) -> None:
    """One bad frame costs one frame."""
    path = clip(20, b_frames=0)
    damage(path, 7)
    running = Running(open_source(str(path), as_fast_as_possible=True))
    running.capture.run(Event())
    assert running.sequences == [n for n in range(20) if n != 7]
    assert running.ledger.counts().dropped == {"corrupt": 1}
