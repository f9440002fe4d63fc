"""A frame on its way from a source to Kafka: encoded bytes as the source gave them, or pixels still to be encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ContentType = Literal["image/jpeg", "image/png"]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A complete JPEG or PNG, passed through byte for byte. ``width`` and ``height`` in pixels, from its header."""

    data: bytes
    content_type: ContentType
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture; ``bgr()`` gives (height, width, 3) uint8, and is only called for frames that are published."""

    width: int
    height: int
    bgr: Callable[[], Pixels]


@dataclass(frozen=True, slots=True)
class Shot:
    """What a source gives for one frame of its stream.

    ``captured_ns``: ns since the epoch, UTC, by the source's clock. ``image`` is None for a frame that the source has
    but nobody can decode. ``index`` is the frame's number in its file and ``playing`` how often the file was played
    before; live sources leave ``index`` None and are numbered by the capture.
    """

    captured_ns: int
    image: EncodedImage | Picture | None
    index: int | None = None
    playing: int = 0


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """A numbered frame. ``(epoch, sequence)`` is unique per camera; a gap in ``sequence`` is a dropped frame."""

    epoch: str
    sequence: int
    captured_ns: int
    image: EncodedImage | Picture


def picture_of(pixels: Pixels) -> Picture:
    """``pixels``: (height, width, 3) uint8, BGR."""
    return Picture(pixels.shape[1], pixels.shape[0], lambda: pixels)
