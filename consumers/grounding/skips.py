"""Frames that were not scored, until the next message on `detections` of their camera tells of them."""

from __future__ import annotations

import threading
from collections import defaultdict

from infra.contracts import FrameHeader, SkippedFrames

MOST_RUNS = 20
"""Runs of one camera that are kept for its next message; over that the oldest go: their frames are counted anyway."""


class SkipLog:
    """Runs of skipped frames by camera. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, list[SkippedFrames]] = defaultdict(list)

    def add(self, header: FrameHeader, reason: str) -> None:
        """One frame was skipped; it joins the run before it when it follows it and has the same reason."""
        with self._lock:
            runs = self._runs[header.camera]
            last = runs[-1] if runs else None
            number = header.sequence
            if last is not None and (last.reason, last.epoch, last.last) == (reason, header.epoch, number - 1):
                runs[-1] = last.model_copy(update={"last": number})
            else:
                runs.append(SkippedFrames(reason=reason, epoch=header.epoch, first=number, last=number))
                del runs[:-MOST_RUNS]

    def take(self, camera: str) -> tuple[SkippedFrames, ...]:
        """The camera's runs since the last call, in their order."""
        with self._lock:
            return tuple(self._runs.pop(camera, ()))

    def put_back(self, camera: str, runs: tuple[SkippedFrames, ...]) -> None:
        """Runs that were taken and could not be told of; they come before what was skipped since."""
        with self._lock:
            self._runs[camera] = [*runs, *self._runs.get(camera, ())][-MOST_RUNS:]
