"""A network camera as a source: RTSP (H.264, H.265, Motion-JPEG) and HTTP (Motion-JPEG, byte for byte; any video)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event
from typing import Literal

import av
from av.container import InputContainer
from av.error import FFmpegError

from infra.errors import CameraError
from producers.address import shown_address
from producers.clock import CaptureClock
from producers.demux import PictureReader
from producers.faults import camera_fault
from producers.frame import Shot
from producers.pace import Pace
from producers.timeline import Timeline

_LOOK_MICROSECONDS = "500000"

Transport = Literal["tcp", "udp"]


class NetworkStream:
    """A camera behind a URL. A frame's capture time is the arrival of its data.

    A recording behind HTTP (it has a length) is paced at its own rate, and begins again when the capture reconnects.
    """

    live = True

    def __init__(
        self, url: str, clock: CaptureClock, *, transport: Transport, open_seconds: float, stall_seconds: float
    ) -> None:
        """``transport``: of RTSP. ``stall_seconds`` without a picture is a lost camera."""
        scheme, mark, rest = url.partition("://")
        self._url = f"{scheme.lower()}{mark}{rest}"  # FFmpeg knows schemes in small letters only
        self._clock = clock
        self._transport = transport
        self._open_seconds = open_seconds
        self._stall_seconds = stall_seconds

    @property
    def shown(self) -> str:
        return shown_address(self._url)

    def shots(self, stop: Event) -> Iterator[Shot]:
        container = self._open()
        fault: CameraError | None = None
        try:
            yield from self._read(container, stop)
        except FFmpegError as error:
            fault = camera_fault("read", self.shown, error)
        finally:
            container.close()
        if fault is not None:
            raise fault

    def _read(self, container: InputContainer, stop: Event) -> Iterator[Shot]:
        container.streams.video[0].thread_type = "SLICE"  # frame threads would hold back a frame per core
        recorded = self._url.startswith("http") and bool(container.duration)
        pace = Pace(self._clock, stop, as_fast_as_possible=False)
        reader = PictureReader(container, self._clock.now, joins_midway=True)
        timeline = Timeline(reader.period)
        latest = 0
        seen = heard = time.monotonic()
        for decoded in reader:
            if stop.is_set():
                return
            now = time.monotonic()
            # What comes after a silence that long is the torn rest of the last picture; the next read tells of it.
            silent = now - heard >= self._stall_seconds
            heard = now
            if decoded is not None and decoded.image is not None:
                seen = now
            elif now - seen > self._stall_seconds and not silent:
                raise CameraError(
                    f"cannot read {self.shown}: data comes, but no picture in it for {self._stall_seconds:g} s"
                )
            if decoded is None:
                continue
            captured = pace.at(timeline.at(decoded.seconds or 0.0)) if recorded else decoded.arrived
            latest = _after(latest, captured, self._clock.now())
            yield Shot(latest, decoded.image)
            waited = time.monotonic() - now  # by whoever takes the pictures: no silence of the camera
            seen, heard = seen + waited, heard + waited

    def _open(self) -> InputContainer:
        # What a look at the stream has read is given up, so that its frames do not come late and all at once.
        options = {"fflags": "nobuffer", "analyzeduration": _LOOK_MICROSECONDS}
        if self._url.startswith("rtsp"):
            options["rtsp_transport"] = self._transport
        fault: CameraError | None = None
        began = time.monotonic()
        try:
            container = av.open(self._url, mode="r", options=options, timeout=(self._open_seconds, self._stall_seconds))
        except FFmpegError as error:
            # FFmpeg calls an open that ran out of time by various names.
            late = time.monotonic() - began >= self._open_seconds
            fault = camera_fault("open", self.shown, TimeoutError() if late else error)
        if fault is not None:
            raise fault
        if not container.streams.video:
            container.close()
            raise CameraError(f"cannot open {self.shown}: the stream holds no video")
        return container


def _after(latest: int, captured: int, now: int) -> int:
    """The capture time of the frame that follows the one of ``latest``: later, though frames that were reordered on
    their way arrive out of turn. Times of the future are from before the wall clock was set back: they bind nobody."""
    captured = min(captured, now)
    return captured if latest > now else max(latest + 1, captured)
