"""The rendered line as a source: its pre-rendered passes, one after the other, for ever."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from infra.errors import CameraError
from producers.clock import CaptureClock
from producers.frame import Shot
from producers.pace import Pace
from producers.playback import Playback

PASSES = "pass_*.mp4"


def shipped_passes() -> Path | None:
    """The folder of the passes that come with the product; None in an installation without the model package.

    The package is looked up, not imported: a camera needs its pictures and none of its code.
    """
    found = importlib.util.find_spec("simvg_core")
    for place in (found.submodule_search_locations or []) if found else []:
        folder = Path(place) / "lineworld" / "assets"
        if folder.is_dir():
            return folder
    return None


class RenderedLine:
    """Plays ``pass_*.mp4`` of a folder in the order of their names, over and over.

    It is a camera: frames are numbered on through all passes, so the frame ``sequence`` modulo the number of frames of
    all passes is its place in the known truth.
    """

    live = True

    def __init__(self, folder: Path | None, clock: CaptureClock, *, as_fast_as_possible: bool) -> None:
        """``folder`` None: the shipped passes."""
        self._folder = folder
        self._clock = clock
        self._hurry = as_fast_as_possible

    @property
    def shown(self) -> str:
        return "line:" if self._folder is None else f"line:{self._folder}"

    def shots(self, stop: Event) -> Iterator[Shot]:
        passes = self._passes()
        pace = Pace(self._clock, stop, as_fast_as_possible=self._hurry)
        began = 0.0
        while not stop.is_set():
            for path in passes:
                playback = Playback(path, self._clock, threads=self._hurry)
                for decoded in playback:
                    captured = pace.at(began + (decoded.seconds or 0.0))
                    if stop.is_set():
                        return
                    yield Shot(captured, decoded.image)
                began += playback.end

    def _passes(self) -> list[Path]:
        folder = self._folder or shipped_passes()
        if folder is None:
            raise CameraError("cannot open line: its passes are not installed; name their folder, as in line:FOLDER")
        passes = sorted(folder.glob(PASSES))
        if not passes:
            raise CameraError(f"cannot open {self.shown}: {folder} holds no {PASSES}; name another, as in line:FOLDER")
        return passes
