"""One playing of a video file, frame by frame with media times."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from infra.errors import CameraError
from producers.clock import CaptureClock
from producers.demux import Decoded, PictureReader
from producers.faults import camera_fault
from producers.timeline import Timeline


class Playback:
    """Iterates over a file's frames; ``seconds`` of each is set. ``end`` is where the next playing would begin, in
    seconds from the first frame. Raises CameraError for what is no video or holds no readable picture."""

    def __init__(self, path: Path, clock: CaptureClock, *, threads: bool) -> None:
        """``threads``: decode with all cores and some frames of delay, for files played as fast as possible."""
        self._path = path
        self._clock = clock
        self._threads = threads
        self.end = 0.0

    def __iter__(self) -> Iterator[Decoded]:
        container = self._open()
        readable = False
        try:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO" if self._threads else "SLICE"
            reader = PictureReader(container, self._clock.now)
            period = reader.period
            timeline = Timeline(period)
            for decoded in reader:
                if decoded is None:
                    continue
                readable = readable or decoded.image is not None
                seconds = timeline.at(decoded.index * period if decoded.seconds is None else decoded.seconds)
                self.end = max(self.end, seconds + period)
                yield dataclasses.replace(decoded, seconds=seconds)
        except FFmpegError as error:
            raise camera_fault("read", str(self._path), error) from error
        finally:
            container.close()
        if not readable:
            raise CameraError(f"cannot read {self._path}: there is no picture in it that can be decoded")

    def _open(self) -> InputContainer:
        try:
            container = av.open(str(self._path), mode="r")
        except FFmpegError as error:
            raise camera_fault("open", str(self._path), error) from error
        if not container.streams.video:
            container.close()
            raise CameraError(f"cannot open {self._path}: the file has no video stream")
        return container
