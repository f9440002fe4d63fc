"""A folder of images as a source: JPEG and PNG byte for byte, other formats decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import structlog

from infra.errors import CameraError
from producers.clock import CaptureClock
from producers.decoding import decode
from producers.frame import EncodedImage, Picture, Shot, picture_of
from producers.image_header import read_image
from producers.pace import Pace

log = structlog.get_logger(__name__)

PASSED_THROUGH = {".jpg", ".jpeg", ".png"}
DECODED = {".bmp", ".tif", ".tiff", ".webp"}
DEFAULT_FPS = 5.0


class ImageFolder:
    """Images in the natural order of their names (``2.jpg`` before ``10.jpg``), ``fps`` a second.

    A frame's index is its place in that order; a file that is no image keeps its place and counts as corrupt.
    """

    live = False

    def __init__(
        self, folder: Path, clock: CaptureClock, *, fps: float | None, loop: bool, as_fast_as_possible: bool
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._fps = fps or DEFAULT_FPS
        self._loop = loop
        self._hurry = as_fast_as_possible

    @property
    def shown(self) -> str:
        return str(self._folder)

    def shots(self, stop: Event) -> Iterator[Shot]:
        pace = Pace(self._clock, stop, as_fast_as_possible=self._hurry)
        images = self._images()
        playing = 0
        while not stop.is_set():
            readable = False
            for index, path in enumerate(images):
                captured = pace.at((playing * len(images) + index) / self._fps)
                if stop.is_set():
                    return
                image = _read(path)
                readable = readable or image is not None
                yield Shot(captured, image, index, playing)
            if not readable:
                raise CameraError(f"cannot read {self._folder}: none of its {len(images)} images can be decoded")
            if not self._loop:
                return
            playing += 1

    def _images(self) -> list[Path]:
        try:
            files = [path for path in self._folder.iterdir() if path.is_file()]
        except OSError as error:
            raise CameraError(f"cannot open folder {self._folder}: {error.strerror}") from error
        images = [path for path in files if path.suffix.lower() in PASSED_THROUGH | DECODED]
        if not images:
            raise CameraError(
                f"cannot open folder {self._folder}: it holds no image ({', '.join(sorted(PASSED_THROUGH | DECODED))})"
            )
        if len(images) < len(files):
            log.info("files that are no images are left out", folder=str(self._folder), files=len(files) - len(images))
        return sorted(images, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = [part for part in re.split(r"(\d+)", path.name.lower()) if part]
    ranks = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]  # "²" is a digit and no number
    return [*ranks, (-2, path.name)]  # "1.jpg" and "01.jpg" in the same order in every file system


def _read(path: Path) -> EncodedImage | Picture | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        log.warning("image cannot be read", file=str(path), error=error.strerror)
        return None
    if path.suffix.lower() in PASSED_THROUGH:
        return read_image(data)
    pixels = decode(data)
    return None if pixels is None else picture_of(pixels)
