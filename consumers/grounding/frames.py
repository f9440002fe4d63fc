"""A frame on its way through the worker."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infra.contracts import FrameHeader, FrameReference

Pixels = NDArray[np.uint8]
"""(height, width, 3), blue-green-red."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One message of `frames` whose headers could be read; `image` is still encoded.

    ``lease``: number of the assignment under which its partition was read.
    """

    header: FrameHeader
    place: FrameReference
    image: bytes = field(repr=False)
    fetched_ns: int
    lease: int = 0

    @property
    def camera(self) -> str:
        return self.header.camera


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded frame, with the milliseconds that decoding took."""

    frame: Frame
    pixels: Pixels = field(repr=False)
    decode_ms: float
