"""What users write as SOURCE."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import SettingsError
from producers.device import Device
from producers.folder import ImageFolder
from producers.line import RenderedLine
from producers.source import Source
from producers.sources import FORMS, open_source
from producers.stream import NetworkStream
from producers.video import VideoFile


@pytest.mark.parametrize(
    ("source", "kind", "shown"),
    [
        pytest.param("rtsp://me:secret@host/s", NetworkStream, "rtsp://***@host/s", id="rtsp"),
        pytest.param("https://host/s", NetworkStream, "https://host/s", id="https"),
        pytest.param("0", Device, "/dev/video0", id="number"),
        pytest.param("/dev/video3", Device, "/dev/video3", id="device"),
        pytest.param("/dev/v4l/by-id/usb-Cam-index0", Device, "/dev/v4l/by-id/usb-Cam-index0", id="by-id"),
        pytest.param("/dev/null", Device, "/dev/null", id="character-device"),
        pytest.param("RTSP://me:secret@host/s", NetworkStream, "rtsp://***@host/s", id="large-letters"),
        pytest.param("line:", RenderedLine, "line:", id="line"),
    ],
)
def test_form_is_understood(source: str, kind: type[Source], shown: str) -> None:
    """Every form gives its source, which nothing was opened for."""
    opened = open_source(source)
    assert isinstance(opened, kind)
    assert opened.shown == shown


def test_paths_are_files_and_folders(tmp_path: Path) -> None:
    """A folder is a folder of images, any other path a video."""
    (tmp_path / "a.mp4").touch()
    assert isinstance(open_source(str(tmp_path)), ImageFolder)
    assert isinstance(open_source(str(tmp_path / "a.mp4")), VideoFile)
    assert isinstance(open_source(f"line:{tmp_path}"), RenderedLine)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "recording.mp4",
        "ftp://me:secret@host/s",
        "-1",
        "1234",
        "line:no-such-folder",
        "rtsp:/host",
        "me:secret@host/s",
    ],
)
def test_unknown_source_names_itself_and_the_forms(source: str) -> None:
    """The error quotes what was written, without a password, and lists what can be written."""
    with pytest.raises(SettingsError) as caught:
        open_source(source)
    message = str(caught.value)
    assert source.replace("me:secret", "***") in message
    assert "secret" not in message
    assert all(line in message for line in FORMS.splitlines())


@pytest.mark.parametrize("flag", ["loop", "as_fast_as_possible"])
def test_flag_of_recordings_is_refused_for_a_live_camera(flag: str) -> None:
    """A setting that cannot be obeyed is not ignored."""
    with pytest.raises(SettingsError, match=f"--{flag.replace('_', '-')} does not apply to source 'rtsp://.*@host/s'"):
        open_source("rtsp://me:secret@host/s", **{flag: True})  # type: ignore[arg-type]


def test_link_to_a_device_is_a_device(tmp_path: Path) -> None:
    """A name that somebody gave a camera by a rule of their own."""
    (tmp_path / "press-camera").symlink_to("/dev/null")
    assert isinstance(open_source(str(tmp_path / "press-camera")), Device)


def test_size_is_asked_of_a_camera_at_this_computer_only(tmp_path: Path) -> None:
    """Where nobody can be asked for a size, asking is refused, with what does help."""
    assert isinstance(open_source("0", capture_size=(1920, 1080)), Device)
    for source in ("rtsp://me:secret@host/s", str(tmp_path), "line:"):
        with pytest.raises(SettingsError, match=r"--capture-height do not apply to source .*; --max-width") as refused:
            open_source(source, capture_size=(1920, 1080))
        assert "secret" not in str(refused.value)
