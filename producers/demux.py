"""Pictures out of a PyAV container, numbered by their place in the stream, with the lost ones among them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from av import Packet, VideoFrame
from av.container import InputContainer
from av.error import EOFError as AvEndOfFile
from av.error import InvalidDataError
from av.video.stream import VideoStream

from producers.frame import EncodedImage, Picture, Pixels
from producers.image_header import read_image

DEFAULT_FPS = 25.0
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
    pictures are reordered or lost. Motion-JPEG comes out as the bytes that went in. None stands for data that was read,
    sound for example, and gave no picture (yet), so that whoever waits for one can lose patience.
    """

    def __init__(self, container: InputContainer, now: Callable[[], int], *, joins_midway: bool = False) -> None:
        """``joins_midway``: a stream that may begin between key frames; what precedes the first is not counted."""
        self._container = container
        self._stream = container.streams.video[0]
        self._now = now
        self._waiting_for_key = joins_midway
        self._pending: list[tuple[int, int, int, int]] = []  # (part, time stamp, order of reading, arrival)
        self._part = 0  # goes up where time stamps begin anew: what was read before comes out before
        self._latest: int | None = None
        self._read = 0
        self._index = 0

    @property
    def period(self) -> float:
        """Seconds of one frame at the stream's mean rate."""
        return 1.0 / float(self._stream.average_rate or DEFAULT_FPS)

    def __iter__(self) -> Iterator[Decoded | None]:
        motion_jpeg = self._stream.codec_context.name == "mjpeg"
        for packet in self._packets():
            if packet is None:
                yield None
                continue
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

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """The video's packets, and None for each of another stream: PyAV itself would pass over sound that goes on
        after the pictures have stopped for as long as there is some, and nobody would hear of it."""
        for packet in self._container.demux():
            yield cast("Packet[VideoStream]", packet) if packet.stream.index == self._stream.index else None

    def _note(self, packet: Packet[VideoStream]) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            if packet.is_keyframe and self._latest is not None and stamp < self._latest:
                self._part, self._latest = self._part + 1, stamp  # every picture before a key frame is shown before it
            self._latest = stamp if self._latest is None else max(self._latest, stamp)
        heapq.heappush(self._pending, (self._part, self._read if stamp is None else stamp, self._read, self._now()))
        self._read += 1

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        try:
            return [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]
        except (InvalidDataError, AvEndOfFile):
            return []  # its time stamp stays pending and comes out as lost

    def _take(self, stamp: int | None, image: EncodedImage | Picture | None) -> Iterator[Decoded]:
        """The lost frames before this one, then this one."""
        if self._pending and stamp is not None:
            part = min((part for part, noted, *_ in self._pending if noted == stamp), default=self._pending[0][0])
            while self._pending and self._pending[0][:2] < (part, stamp):
                yield self._lost()
        arrived = self._now()
        if self._pending and (stamp is None or self._pending[0][1] == stamp):
            _, stamp, _, arrived = heapq.heappop(self._pending)
        yield self._number(stamp, arrived, image)

    def _lost(self) -> Decoded:
        _, stamp, _, arrived = heapq.heappop(self._pending)
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
