"""Cameras at this computer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest

from infra.errors import CameraError
from producers.clock import CaptureClock
from producers.device import Device
from producers.frame import EncodedImage, Picture


class FakeGrabber:
    """Gives what it was told to, then nothing more, as a camera does that was pulled out."""

    def __init__(self, frames: Iterable[Any], *, opened: bool = True) -> None:
        self._frames: Iterator[Any] = iter(frames)
        self._opened = opened
        self.released = False
        self.converts = True

    def isOpened(self) -> bool:
        return self._opened

    def set(self, property_id: int, value: float, /) -> bool:
        if property_id == cv2.CAP_PROP_CONVERT_RGB:
            self.converts = bool(value)
        return True

    def read(self) -> tuple[bool, Any]:
        frame = next(self._frames, None)
        return frame is not None, frame

    def release(self) -> None:
        self.released = True


def device(grabber: FakeGrabber) -> Device:
    return Device(0, CaptureClock(), stall_seconds=1, grabber=lambda number: grabber)


def test_camera_that_is_not_there_says_so() -> None:
    """A real look for a device that no computer has."""
    with pytest.raises(CameraError, match="cannot open /dev/video987: no such camera, or another program has it"):
        next(Device(987, CaptureClock(), stall_seconds=1).shots(Event()))


def test_motion_jpeg_passes_through(jpegs: list[bytes]) -> None:
    """A camera's own JPEGs are published as they are, and a camera that stops is reported lost."""
    grabber = FakeGrabber([np.frombuffer(data, np.uint8).reshape(1, -1) for data in jpegs])
    shots = device(grabber).shots(Event())
    images = [next(shots).image for _ in jpegs]
    assert [image.data for image in images if isinstance(image, EncodedImage)] == jpegs
    with pytest.raises(CameraError, match="cannot read /dev/video0: no frame for 1 s"):
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
