"""A video file as a source: at its own rate, as fast as frames are taken, once or in a loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

from producers.clock import CaptureClock
from producers.frame import Shot
from producers.pace import Pace
from producers.playback import Playback


class VideoFile:
    """Every playing numbers its frames from 0, the frame's index in the file; corrupt frames keep their number."""

    live = False

    def __init__(self, path: Path, clock: CaptureClock, *, loop: bool, as_fast_as_possible: bool) -> None:
        self._path = path
        self._clock = clock
        self._loop = loop
        self._hurry = as_fast_as_possible

    @property
    def shown(self) -> str:
        return str(self._path)

    def shots(self, stop: Event) -> Iterator[Shot]:
        pace = Pace(self._clock, stop, as_fast_as_possible=self._hurry)
        playing, began = 0, 0.0
        while not stop.is_set():
            playback = Playback(self._path, self._clock, threads=self._hurry)
            for decoded in playback:
                captured = pace.at(began + (decoded.seconds or 0.0))
                if stop.is_set():
                    return
                yield Shot(captured, decoded.image, decoded.index, playing)
            if not self._loop:
                return
            playing, began = playing + 1, began + playback.end
