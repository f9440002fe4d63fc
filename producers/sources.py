"""From what a user writes as SOURCE to the source that reads it."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import SettingsError
from infra.extras import extra
from producers.address import URL, shown_address
from producers.clock import CaptureClock
from producers.device import Device
from producers.folder import ImageFolder
from producers.source import Source

if TYPE_CHECKING:  # these read video: they are imported where a source is one, for only then PyAV must be there
    from producers.stream import Transport

FORMS = """\
rtsp://… or rtsps://…        a network camera
http://… or https://…        a Motion-JPEG or other video stream
0, 1, … or /dev/video0       a camera at this computer; also by another name, as /dev/v4l/by-id/…
FILE                         a video file
FOLDER                       a folder of images (JPEG, PNG, BMP, TIFF, WebP)
line: or line:FOLDER         the rendered line, endless"""
"""Every form of SOURCE, one a line."""

_DEVICE = re.compile(r"(?:/dev/video)?(\d{1,3})")
_OTHER_NAMES = "/dev/v4l/"
"""Names of cameras that stay when they are plugged in elsewhere; one that is not plugged in is waited for."""


def open_source(
    source: str,
    *,
    clock: CaptureClock | None = None,
    fps: float | None = None,
    loop: bool = False,
    as_fast_as_possible: bool = False,
    rtsp_transport: Transport = "tcp",
    open_seconds: float = 10.0,
    stall_seconds: float = 10.0,
    capture_size: tuple[int, int] | None = None,
) -> Source:
    """The source that ``source`` names (see FORMS); nothing is opened before its ``shots`` are asked for.

    ``fps`` is the rate of a folder of images. ``loop`` plays files and folders over and over; ``as_fast_as_possible``
    gives frames of recordings as soon as they are taken. ``capture_size``: width and height in pixels that a camera at
    this computer is asked for. Each is refused for what it cannot apply to.

    Raises:
        SettingsError: no known form, no such file, a flag that does not fit, or a video where PyAV is not installed;
            names the source without credentials.
    """
    text = source.strip()
    clock = clock or CaptureClock()
    device = _device(text)
    if capture_size is not None and device is None:
        raise SettingsError(
            f"--capture-width and --capture-height do not apply to source {shown_address(text)!r}: only a camera at "
            "this computer is asked for a size; --max-width scales the frames of others down"
        )
    if url := URL.match(text):
        if url[1].lower() not in ("rtsp", "rtsps", "http", "https"):
            raise _unknown(text, f"cameras are not read over {url[1].lower()}://")
        _refuse(text, loop=loop, as_fast_as_possible=as_fast_as_possible)
        with _video(text):
            from producers.stream import NetworkStream
        return NetworkStream(
            text, clock, transport=rtsp_transport, open_seconds=open_seconds, stall_seconds=stall_seconds
        )
    if device is not None:
        _refuse(text, loop=loop, as_fast_as_possible=as_fast_as_possible)
        return Device(device, clock, stall_seconds=stall_seconds, size=capture_size)
    if text.startswith("line:"):
        folder = text.removeprefix("line:")
        if folder and not Path(folder).is_dir():
            raise _unknown(text, "there is no such folder")
        with _video(text):
            from producers.line import RenderedLine
        return RenderedLine(Path(folder) if folder else None, clock, as_fast_as_possible=as_fast_as_possible)
    path = Path(text).expanduser()
    if text and path.is_dir():
        return ImageFolder(path, clock, fps=fps, loop=loop, as_fast_as_possible=as_fast_as_possible)
    if text and path.exists():
        with _video(text):
            from producers.video import VideoFile
        return VideoFile(path, clock, loop=loop, as_fast_as_possible=as_fast_as_possible)
    raise _unknown(text, "it is no URL, no device number, and there is no such file or folder")


def _device(source: str) -> str | None:
    """The path of the camera at this computer that the source names, if it is one."""
    if number := _DEVICE.fullmatch(source):
        return f"/dev/video{int(number[1])}"
    try:
        there = Path(source).is_char_device()
    except OSError:  # too long for a name
        there = False
    return source if there or source.startswith(_OTHER_NAMES) else None


def _video(source: str) -> AbstractContextManager[None]:
    """Imports what reads video."""
    return extra("camera", module="av", package="PyAV", what=f"source {shown_address(source)!r}")


def _refuse(source: str, **flags: bool) -> None:
    for name, value in flags.items():
        if value:
            flag = "--" + name.replace("_", "-")
            shown = shown_address(source)
            raise SettingsError(f"{flag} does not apply to source {shown!r}: a live camera sets its own pace")


def _unknown(source: str, reason: str) -> SettingsError:
    forms = "\n".join("  " + line for line in FORMS.splitlines())
    return SettingsError(f"source {shown_address(source)!r} cannot be used: {reason}. SOURCE is one of\n{forms}")
