"""Pixels out of the bytes of an image."""

from __future__ import annotations

import cv2
import numpy as np

from producers.frame import Pixels

_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
"""As the worker reads what passes untouched: an orientation tag turns no picture, whatever is done to it on its way."""


def decode(data: bytes) -> Pixels | None:
    """(height, width, 3) uint8 BGR, as stored; None for what cannot be decoded, such as a header of a huge size."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED)
    except (cv2.error, MemoryError):
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)
