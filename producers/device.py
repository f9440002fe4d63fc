"""A camera at this computer (V4L2) as a source, through OpenCV; Motion-JPEG cameras are passed through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any, Protocol

import cv2
import numpy as np

from infra.errors import CameraError
from producers.clock import CaptureClock
from producers.frame import EncodedImage, Picture, Shot, picture_of
from producers.image_header import read_image


class Grabber(Protocol):
    """The part of ``cv2.VideoCapture`` that is used."""

    def isOpened(self) -> bool: ...
    def set(self, property_id: int, value: float, /) -> bool: ...
    def read(self) -> tuple[bool, Any]: ...
    def release(self) -> None: ...


def _open_v4l2(number: int) -> Grabber:
    return cv2.VideoCapture(number, cv2.CAP_V4L2)


class Device:
    """``/dev/video{number}``. A frame's capture time is its arrival."""

    live = True

    def __init__(
        self, number: int, clock: CaptureClock, *, stall_seconds: float, grabber: Callable[[int], Grabber] = _open_v4l2
    ) -> None:
        self._number = number
        self._clock = clock
        self._stall_seconds = stall_seconds
        self._grabber = grabber

    @property
    def shown(self) -> str:
        return f"/dev/video{self._number}"

    def shots(self, stop: Event) -> Iterator[Shot]:
        device = self._grabber(self._number)
        try:
            if not device.isOpened():
                raise CameraError(
                    f"cannot open {self.shown}: no such camera, or another program has it; "
                    "`ls /dev/video*` shows those present"
                )
            # The camera's own JPEGs where it makes them: no loss, and a fraction of the bus and of the CPU.
            device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            device.set(cv2.CAP_PROP_CONVERT_RGB, 0)
            device.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, self._stall_seconds * 1000)
            raw = True
            while not stop.is_set():
                there, data = device.read()
                captured = self._clock.now()
                if not there:
                    raise CameraError(f"cannot read {self.shown}: no frame for {self._stall_seconds:g} s")
                if raw and not _is_jpeg(data):
                    raw = False
                    device.set(cv2.CAP_PROP_CONVERT_RGB, 1)
                    continue
                yield Shot(captured, _image(np.asarray(data, np.uint8)))
        finally:
            device.release()


def _is_jpeg(data: Any) -> bool:
    return bool(np.asarray(data).ravel()[:2].tobytes() == b"\xff\xd8")


def _image(data: np.ndarray[Any, np.dtype[np.uint8]]) -> EncodedImage | Picture | None:
    if data.ndim == 3 and data.shape[2] == 3:
        return picture_of(data)
    encoded = data.tobytes()
    if image := read_image(encoded):
        return image
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)  # without its own Huffman tables
    return None if decoded is None else picture_of(np.asarray(decoded, np.uint8))
