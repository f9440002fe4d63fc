"""Cameras at this computer."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from infra.errors import CameraError
from producers.clock import CaptureClock
from producers.device import Device
from producers.frame import EncodedImage, Picture


class FakeGrabber:
    """Gives what it was told to, then nothing more, as a camera does that was pulled out."""

    def __init__(
        self, frames: Iterable[Any], *, opened: bool = True, sizes: Sequence[tuple[int, int]] = ((640, 480),)
    ) -> None:
        """``sizes``: what the camera can do; it takes the first that is none of those."""
        self._frames: Iterator[Any] = iter(frames)
        self._opened = opened
        self._sizes = sizes
        self._asked: dict[int, float] = {}
        self.set_in_turn: list[int] = []
        self.released = False
        self.converts = True

    def isOpened(self) -> bool:
        return self._opened

    def set(self, property_id: int, value: float, /) -> bool:
        if property_id == cv2.CAP_PROP_CONVERT_RGB:
            self.converts = bool(value)
        self._asked[property_id] = value
        self.set_in_turn.append(property_id)
        return True

    def get(self, property_id: int, /) -> float:
        asked = self._asked.get(cv2.CAP_PROP_FRAME_WIDTH), self._asked.get(cv2.CAP_PROP_FRAME_HEIGHT)
        width, height = asked if asked in self._sizes else self._sizes[0]
        return float({cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height}[property_id] or 0)

    def read(self) -> tuple[bool, Any]:
        frame = next(self._frames, None)
        return frame is not None, frame

    def release(self) -> None:
        self.released = True


def device(grabber: FakeGrabber, *, size: tuple[int, int] | None = None, stall_seconds: float = 1) -> Device:
    clock = CaptureClock()
    return Device("/dev/video0", clock, stall_seconds=stall_seconds, size=size, grabber=lambda path: grabber)


def test_camera_that_is_not_there_says_so() -> None:
    """A real look for a device that no computer has."""
    with pytest.raises(CameraError, match="cannot open /dev/video987: no such camera, or another program has it"):
        next(Device("/dev/video987", CaptureClock(), stall_seconds=1).shots(Event()))


def test_motion_jpeg_passes_through(jpegs: list[bytes]) -> None:
    """A camera's own JPEGs are published as they are, and a camera that stops is reported lost."""
    grabber = FakeGrabber([np.frombuffer(data, np.uint8).reshape(1, -1) for data in jpegs])
    shots = device(grabber).shots(Event())
    images = [next(shots).image for _ in jpegs]
    assert [image.data for image in images if isinstance(image, EncodedImage)] == jpegs
    with pytest.raises(CameraError, match=r"cannot read /dev/video0: no frame came in 0\.\d s"):
        next(shots)
    assert grabber.released


def test_raw_camera_is_converted() -> None:
    """A camera without JPEG is read again with conversion to pixels."""
    pixels = np.full((30, 40, 3), 50, np.uint8)
    grabber = FakeGrabber([np.zeros((30, 40, 2), np.uint8), pixels])
    shot = next(device(grabber).shots(Event()))
    assert isinstance(shot.image, Picture)
    np.testing.assert_array_equal(shot.image.bgr(), pixels)
    assert grabber.converts


def test_torn_jpeg_is_a_corrupt_frame(jpegs: list[bytes]) -> None:
    """Half a frame from the bus is counted, not published."""
    torn = np.frombuffer(b"\xff\xd8" + bytes(100), np.uint8).reshape(1, -1)
    assert next(device(FakeGrabber([torn])).shots(Event())).image is None


def test_camera_that_gives_torn_pictures_only_is_lost(jpegs: list[bytes]) -> None:
    """One that has lost its bandwidth is opened again after the stall time; until then every frame is counted."""
    torn = np.frombuffer(b"\xff\xd8" + bytes(100), np.uint8)

    class Torn(FakeGrabber):
        def read(self) -> tuple[bool, Any]:
            time.sleep(0.05)
            return super().read()

    grabber = Torn(chain([np.frombuffer(jpegs[0], np.uint8)], repeat(torn, 200)))
    shots, images = device(grabber, stall_seconds=1).shots(Event()), []
    with pytest.raises(CameraError, match=r"data comes, but no picture in it for 1 s; try another cable"):
        images.extend(shot.image for shot in shots)
    assert images[0] is not None and 0 < images.count(None) < 200
    assert grabber.released


def test_camera_is_asked_for_the_size(jpegs: list[bytes]) -> None:
    """Width and height are set once the format is, which decides what sizes there are, and what came of it is told."""
    grabber = FakeGrabber([np.frombuffer(jpegs[0], np.uint8)], sizes=[(640, 480), (1920, 1080)])
    with capture_logs() as logs:
        next(device(grabber, size=(1920, 1080)).shots(Event()))
    wanted = [cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT]
    assert grabber.set_in_turn[:3] == wanted
    assert logs == [
        {"event": "camera gives pictures", "log_level": "info", "source": "/dev/video0", "width": 1920, "height": 1080}
    ]


def test_size_that_the_camera_does_not_have_is_told(jpegs: list[bytes]) -> None:
    """A camera gives what it can; that it is not what was asked for is a warning with both."""
    grabber = FakeGrabber([np.frombuffer(jpegs[0], np.uint8)])
    with capture_logs() as logs:
        next(device(grabber, size=(4096, 2160)).shots(Event()))
    (told,) = logs
    assert told["log_level"] == "warning" and "not give pictures of the size asked for" in told["event"]
    assert [told[name] for name in ("width", "height", "asked_width", "asked_height")] == [640, 480, 4096, 2160]


def test_size_is_left_alone_when_none_is_asked_for(jpegs: list[bytes]) -> None:
    """Without a wish the camera keeps its size, and the log says which it is."""
    grabber = FakeGrabber([np.frombuffer(jpegs[0], np.uint8)])
    with capture_logs() as logs:
        next(device(grabber).shots(Event()))
    assert cv2.CAP_PROP_FRAME_WIDTH not in grabber.set_in_turn
    assert (logs[0]["width"], logs[0]["height"]) == (640, 480)


def test_stall_time_reaches_opencv() -> None:
    """OpenCV waits for a frame as long as its environment says, in whole seconds; what it waited is reported."""
    found = []

    class Slow(FakeGrabber):
        def isOpened(self) -> bool:
            found.append(os.environ.get("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"))
            return True

        def read(self) -> tuple[bool, Any]:
            time.sleep(0.3)
            return False, None

    begun = time.monotonic()
    with pytest.raises(CameraError) as caught:
        next(device(Slow([]), stall_seconds=2.5).shots(Event()))
    (waited,) = re.findall(r"no frame came in (\d+\.\d) s", str(caught.value))
    assert 0.3 <= float(waited) <= time.monotonic() - begun + 0.05
    assert found == ["3"]
