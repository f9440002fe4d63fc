"""Pictures out of a PyAV container, numbered by their place in the stream, with the lost ones among them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from av import Packet, VideoFrame
from av.container import InputContainer
from av.error import EOFError as AvEndOfFile
from av.error import InvalidDataError
from av.video.stream import VideoStream

from producers.frame import EncodedImage, Picture, Pixels
from producers.image_header import read_image

MOST_PENDING = 64
"""Packets that may wait for their picture; a decoder that takes more without giving any has lost them."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One frame of the stream. ``seconds``: its media time, None where the container has none. ``arrived``: whatever
    ``now()`` gave when its packet was read. ``image`` is None when the packet was there and no picture came out."""

    index: int
    seconds: float | None
    arrived: int
    image: EncodedImage | Picture | None


class PictureReader:
    """Iterates over the first video stream of an open container, in order of presentation.

    The index is the rank of a frame's time stamp among all packets, so it is the frame's number in the file also where
    pictures are reordered or lost. Motion-JPEG comes out as the bytes that went in. None stands for data that was read
    and gave no picture (yet), so that whoever waits for one can lose patience.
    """

    def __init__(self, container: InputContainer, now: Callable[[], int], *, joins_midway: bool = False) -> None:
        """``joins_midway``: a stream that may begin between key frames; what precedes the first is not counted."""
        self._container = container
        self._stream = container.streams.video[0]
        self._now = now
        self._waiting_for_key = joins_midway
        self._pending: list[tuple[int, int, int]] = []  # (time stamp, order of reading, arrival)
        self._read = 0
        self._index = 0

    def __iter__(self) -> Iterator[Decoded | None]:
        motion_jpeg = self._stream.codec_context.name == "mjpeg"
        for packet in self._container.demux(self._stream):
            if self._waiting_for_key and packet.size:
                if not packet.is_keyframe:
                    yield None
                    continue
                self._waiting_for_key = False
            if packet.size and not packet.is_discard:
                self._note(packet)
            if motion_jpeg and packet.size and (image := read_image(bytes(packet))):
                yield from self._take(packet.pts, image)
                continue
            frames = self._decode(packet)
            if packet.size and not frames:
                yield None
            for frame in frames:
                yield from self._take(frame.pts, None if frame.is_corrupt else _picture(frame))
            while len(self._pending) > MOST_PENDING:
                yield self._lost()
        while self._pending:
            yield self._lost()

    def _note(self, packet: Packet[VideoStream]) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        heapq.heappush(self._pending, (self._read if stamp is None else stamp, self._read, self._now()))
        self._read += 1

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        try:
            return [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]
        except (InvalidDataError, AvEndOfFile):
            return []  # its time stamp stays pending and comes out as lost

    def _take(self, stamp: int | None, image: EncodedImage | Picture | None) -> Iterator[Decoded]:
        """The lost frames before this one, then this one."""
        while self._pending and stamp is not None and self._pending[0][0] < stamp:
            yield self._lost()
        arrived = self._now()
        if self._pending and (stamp is None or self._pending[0][0] == stamp):
            stamp, _, arrived = heapq.heappop(self._pending)
        yield self._number(stamp, arrived, image)

    def _lost(self) -> Decoded:
        stamp, _, arrived = heapq.heappop(self._pending)
        return self._number(stamp, arrived, None)

    def _number(self, stamp: int | None, arrived: int, image: EncodedImage | Picture | None) -> Decoded:
        base = self._stream.time_base
        seconds = None if stamp is None or base is None else float((stamp - (self._stream.start_time or 0)) * base)
        decoded = Decoded(self._index, seconds, arrived, image)
        self._index += 1
        return decoded


def _picture(frame: VideoFrame) -> Picture:
    def bgr() -> Pixels:
        return np.ascontiguousarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8)

    return Picture(frame.width, frame.height, bgr)
