"""Encoded frames → pixels, in a pool of threads; what cannot be decoded is told why."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import simplejpeg

from consumers.grounding.frames import Frame, Picture, Pixels
from consumers.grounding.vision import sample
from infra.errors import BadFrameMessage

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG segments that carry the image's size
_END = {_JPEG: b"\xff\xd9", _PNG: b"IEND"}
_TRAILER_BYTES = 1024  # cameras may pad behind the end mark
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


class DecodePool:
    """Decodes frames side by side; OpenCV leaves the interpreter's lock while it works."""

    def __init__(self, threads: int, max_pixels: int, reduced: Callable[[Pixels], Pixels]) -> None:
        """Args:
        reduced: as `Engine.reduced`.
        """
        self._max_pixels, self._reduced = max_pixels, reduced
        # OpenCV writes to stderr by itself; what is wrong with a frame is in its rejection.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def submit(self, frame: Frame, whole: bool) -> Future[Picture]:
        """Starts decoding; the future raises BadFrameMessage. Of frames that are looked at as a whole only as many
        pixels are kept as the model sees: a dozen large ones may wait for it."""
        return self._pool.submit(self._decode, frame, whole)

    def close(self) -> None:
        """Waits for what is being decoded and drops the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _decode(self, frame: Frame, whole: bool) -> Picture:
        started = time.perf_counter()
        header = frame.header
        pixels = decode(frame.image, width=header.width, height=header.height, max_pixels=self._max_pixels)
        seen = sample(pixels)
        if whole:
            pixels = self._reduced(pixels)
        return Picture(frame, pixels, seen, (time.perf_counter() - started) * 1e3)


def in_full(picture: Picture) -> Pixels:
    """The pixels of a picture as its camera sent them: decoded again where they were halved."""
    header = picture.frame.header
    if picture.pixels.shape[:2] == (header.height, header.width):
        return picture.pixels
    size = header.width * header.height  # it was decoded before: no limit
    return decode(picture.frame.image, width=header.width, height=header.height, max_pixels=size)


def decode(image: bytes, *, width: int, height: int, max_pixels: int) -> Pixels:
    """JPEG or PNG → pixels, as stored (an orientation tag is not applied: boxes refer to the stored image).

    The image's own header is read first, so one that claims a huge size costs no memory.

    Raises BadFrameMessage with ``reason`` ``empty``, ``not_an_image``, ``too_many_pixels``, ``size_mismatch`` (not
    of the size that the message's headers say) or ``corrupt_image``.
    """
    if not image:
        raise BadFrameMessage("message has no image in it (0 bytes)", reason="empty")
    size = image_size(image)
    if size is None:
        raise BadFrameMessage(
            f"{len(image)} bytes are no readable JPEG or PNG; they begin {image[:8]!r}", reason="not_an_image"
        )
    if size[0] * size[1] > max_pixels:
        raise BadFrameMessage(
            f"image of {size[0]}×{size[1]} pixels is over the limit of {max_pixels}; raise max_pixels to accept it",
            reason="too_many_pixels",
        )
    if size != (width, height):
        raise BadFrameMessage(
            f"image is {size[0]}×{size[1]} pixels, its headers say {width}×{height}", reason="size_mismatch"
        )
    # What is cut off would be grey when it is decoded: a defect there would read "absent".
    end = next(mark for start, mark in _END.items() if image.startswith(start))
    if end not in image[-_TRAILER_BYTES:]:
        raise BadFrameMessage(f"image of {len(image)} bytes is cut off: it has no end mark", reason="corrupt_image")
    try:
        pixels = _pixels(image)
    except cv2.error as error:
        raise BadFrameMessage(f"image cannot be decoded: {error}", reason="corrupt_image") from error
    if pixels is None:
        raise BadFrameMessage(f"image of {len(image)} bytes cannot be decoded; it is corrupt", reason="corrupt_image")
    return pixels.astype(np.uint8, copy=False)


def _pixels(image: bytes) -> Pixels | None:
    if image.startswith(_JPEG):
        try:
            # The same library as OpenCV's and the same pixels, without its detours: two and a half times as fast.
            return np.asarray(simplejpeg.decode_jpeg(image, "BGR"), np.uint8)
        except ValueError as error:
            if "premature end" in str(error).lower():
                raise BadFrameMessage(f"image is cut off: {error}", reason="corrupt_image") from error
    # Everything else, and JPEGs with lesser faults, which cameras do make.
    return cv2.imdecode(np.frombuffer(image, np.uint8), _AS_STORED)  # type: ignore[return-value] # uint8, or None


def image_size(image: bytes) -> tuple[int, int] | None:
    """(width, height) from the first bytes of a JPEG or PNG, None where there is no such header."""
    if image.startswith(_PNG) and len(image) >= 24:
        width, height = struct.unpack(">II", image[16:24])
        return (width, height) if width and height else None
    if not image.startswith(_JPEG):
        return None
    at = 2
    while at + 9 < len(image) and image[at] == 0xFF:
        marker = image[at + 1]
        if marker == 0xFF:  # filler
            at += 1
        elif marker in _FRAME_MARKERS:
            height, width = struct.unpack(">HH", image[at + 5 : at + 9])
            return (width, height) if width and height else None
        else:
            at += 2 + struct.unpack(">H", image[at + 2 : at + 4])[0]
    return None
