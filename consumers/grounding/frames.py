"""A frame on its way through the worker."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consumers.grounding.vision import Sample
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
    """A decoded frame, with the milliseconds that decoding took.

    `pixels` may be halved, where no more is needed (:func:`consumers.grounding.decode.in_full` gives all); `sample` is
    of all of them.
    """

    frame: Frame
    pixels: Pixels = field(repr=False)
    sample: Sample = field(repr=False)
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Ready:
    """A frame on its way through the decoder, and the queries that are due for it."""

    frame: Frame
    due: frozenset[str]
    picture: Future[Picture]
