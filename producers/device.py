"""A camera at this computer (V4L2) as a source, through OpenCV; Motion-JPEG cameras are passed through."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any, Protocol

import cv2
import numpy as np
import structlog

from infra.errors import CameraError
from producers.clock import CaptureClock
from producers.decoding import decode
from producers.frame import EncodedImage, Picture, Shot, picture_of
from producers.image_header import read_image

log = structlog.get_logger(__name__)

_PATIENCE = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"  # in whole seconds; OpenCV reads it once, when it first waits


class Grabber(Protocol):
    """The part of ``cv2.VideoCapture`` that is used."""

    def isOpened(self) -> bool: ...
    def set(self, property_id: int, value: float, /) -> bool: ...
    def get(self, property_id: int, /) -> float: ...
    def read(self) -> tuple[bool, Any]: ...
    def release(self) -> None: ...


def _open_v4l2(path: str) -> Grabber:
    return cv2.VideoCapture(path, cv2.CAP_V4L2)


class Device:
    """The camera at ``path``, such as ``/dev/video0``. A frame's capture time is its arrival."""

    live = True

    def __init__(
        self,
        path: str,
        clock: CaptureClock,
        *,
        stall_seconds: float,
        size: tuple[int, int] | None = None,
        grabber: Callable[[str], Grabber] = _open_v4l2,
    ) -> None:
        """``stall_seconds``: a camera without a picture for so long, rounded up to whole seconds, is lost. ``size``:
        width and height in pixels to ask the camera for; None leaves it at what OpenCV chooses, most often 640x480."""
        self._path = path
        self._clock = clock
        self._stall_seconds = math.ceil(stall_seconds)
        self._size = size
        self._grabber = grabber

    @property
    def shown(self) -> str:
        return self._path

    def shots(self, stop: Event) -> Iterator[Shot]:
        os.environ[_PATIENCE] = str(self._stall_seconds)
        device = self._grabber(self._path)
        try:
            if not device.isOpened():
                raise CameraError(
                    f"cannot open {self.shown}: no such camera, or another program has it; "
                    "`ls /dev/video*` shows those present"
                )
            # The camera's own JPEGs where it makes them: no loss, and a fraction of the bus and of the CPU.
            device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            self._choose_size(device)
            device.set(cv2.CAP_PROP_CONVERT_RGB, 0)
            raw = True
            seen = time.monotonic()
            while not stop.is_set():
                asked = time.monotonic()
                there, data = device.read()
                captured = self._clock.now()
                if not there:
                    raise CameraError(
                        f"cannot read {self.shown}: no frame came in {time.monotonic() - asked:.1f} s; "
                        "is it plugged in?"
                    )
                if raw and not _is_jpeg(data):
                    raw = False
                    device.set(cv2.CAP_PROP_CONVERT_RGB, 1)
                    continue
                image = _image(np.asarray(data, np.uint8))
                yield Shot(captured, image)
                now = time.monotonic()
                if image is not None:
                    seen = now
                elif now - seen > self._stall_seconds:
                    raise CameraError(
                        f"cannot read {self.shown}: data comes, but no picture in it for {self._stall_seconds:g} s; "
                        "try another cable or port, or a smaller size"
                    )
        finally:
            device.release()

    def _choose_size(self, device: Grabber) -> None:
        """Asks for the size, and tells which one the camera took: it may not know the other, nor at its format."""
        if self._size is not None:
            device.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
            device.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        given = round(device.get(cv2.CAP_PROP_FRAME_WIDTH)), round(device.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if self._size is None or given == self._size:
            log.info("camera gives pictures", source=self.shown, width=given[0], height=given[1])
        else:
            log.warning(
                "camera does not give pictures of the size asked for; `v4l2-ctl --list-formats-ext` shows its sizes",
                source=self.shown,
                width=given[0],
                height=given[1],
                asked_width=self._size[0],
                asked_height=self._size[1],
            )


def _is_jpeg(data: Any) -> bool:
    return bool(np.asarray(data).ravel()[:2].tobytes() == b"\xff\xd8")


def _image(data: np.ndarray[Any, np.dtype[np.uint8]]) -> EncodedImage | Picture | None:
    if data.ndim == 3 and data.shape[2] == 3:
        return picture_of(data)
    encoded = data.tobytes()
    if image := read_image(encoded):
        return image
    pixels = decode(encoded)  # without its own Huffman tables
    return None if pixels is None else picture_of(pixels)
