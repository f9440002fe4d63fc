"""Network cameras as sources, against real servers."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from threading import Event

import pytest

from infra.errors import CameraError
from infra.process import free_port
from infra.rtsp.server import RtspServer
from producers.frame import EncodedImage, Picture
from producers.sources import open_source


def test_rtsp_stream_is_decoded() -> None:
    """A real RTSP camera gives pictures with rising capture times near the clock's."""
    with RtspServer(test_picture="320x240@10") as server:
        shots = open_source(server.url).shots(Event())
        taken = list(islice(shots, 8))
        now = time.time_ns()
        shots.close()  # type: ignore[attr-defined]
    for shot in taken:
        assert isinstance(shot.image, Picture)
        assert shot.image.bgr().shape == (240, 320, 3)
        assert 0 <= now - shot.captured_ns < 60e9
    assert all(a.captured_ns < b.captured_ns for a, b in pairwise(taken))


def test_clip_is_served_over_rtsp_in_a_loop(clip: Callable[..., Path], drawn: Callable[..., int | None]) -> None:
    """A file played by the RTSP server arrives frame by frame in its own order, round after round."""
    with RtspServer(clip(10, rate=20, b_frames=0)) as server:
        shots = open_source(server.url).shots(Event())
        numbers = [drawn(shot) for shot in islice(shots, 25)]
        shots.close()  # type: ignore[attr-defined]
    assert all(b == (a + 1) % 10 for a, b in pairwise(numbers) if a is not None)


def test_motion_jpeg_over_http_passes_through(motion_jpeg: str, jpegs: list[bytes]) -> None:
    """JPEGs from an HTTP camera are published byte for byte."""
    shots = open_source(motion_jpeg).shots(Event())
    images = [shot.image for shot in islice(shots, 7)]
    shots.close()  # type: ignore[attr-defined]
    assert all(isinstance(image, EncodedImage) and image.data in jpegs for image in images)


def test_stream_that_goes_silent_is_lost() -> None:
    """A camera whose connection stays open without data is given up after the stall time."""
    with RtspServer() as server:
        shots = open_source(server.url, stall_seconds=1).shots(Event())
        next(shots)
        server.freeze()
        with pytest.raises(CameraError, match=r"cannot read rtsp://127\.0\.0\.1:.*: no answer in time"):
            list(shots)
        server.thaw()


def test_silent_server_is_not_waited_for(clip: Callable[..., Path]) -> None:
    """A server that accepts and never answers is given up after the time for opening."""
    with RtspServer() as server:
        server.freeze()
        with pytest.raises(CameraError, match=r"cannot open rtsp://.*: no answer in time"):
            next(open_source(server.url, open_seconds=1).shots(Event()))
        server.thaw()


def test_wrong_path_says_so() -> None:
    """A camera that is there without the stream asked for."""
    with (
        RtspServer() as server,
        pytest.raises(CameraError, match="the camera knows no such stream; check the path"),
    ):
        next(open_source(server.url + "/else").shots(Event()))


@pytest.mark.parametrize("password", ["right horse", "wrong:horse/x"])
def test_password_stays_secret(password: str) -> None:
    """A camera with a login is opened with it; refused, the error names camera and reason and no password, nor does
    anything that hangs on the error."""
    with RtspServer(user="worker", password="right horse") as server:
        written = password.replace(" ", "%20").replace("/", "%2F").replace(":", "%3A")
        source = open_source(server.url.replace("rtsp://", f"rtsp://worker:{written}@"))
        shots = source.shots(Event())
        if password == "right horse":
            assert next(shots).image is not None
            shots.close()  # type: ignore[attr-defined]
            return
        with pytest.raises(CameraError) as caught:
            next(shots)
    everything = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__cause__)
    assert "the camera refuses the user name or password" in everything
    assert "horse" not in everything and "worker" not in everything


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("rtsp://me:secret@127.0.0.1:{port}/s", "nothing listens at that address", id="rtsp"),
        pytest.param("http://me:secret@127.0.0.1:{port}/s?token=secret", "nothing listens at that address", id="http"),
        pytest.param("rtsp://me:secret@no-such-host.invalid/s", "it cannot be reached", id="unknown-host"),
    ],
)
def test_unreachable_camera_says_so(url: str, reason: str) -> None:
    """The error says what was tried, why it failed and what to check, without credentials."""
    source = open_source(url.format(port=free_port()))
    with pytest.raises(CameraError) as caught:
        next(source.shots(Event()))
    message = str(caught.value)
    assert message.startswith(f"cannot open {source.shown}: {reason}")
    assert "secret" not in "".join(traceback.format_exception(caught.value)) + repr(caught.value.__cause__)
    assert caught.value.__context__ is None


def test_page_that_is_no_video_says_so(tmp_path: Path, motion_jpeg: str, jpegs: list[bytes]) -> None:
    """An HTTP address that answers with something else than video."""
    jpegs[:] = [b"<html>not a camera</html>" * 20]
    with pytest.raises(CameraError, match=r"cannot (open|read) http://"):
        next(s for s in open_source(motion_jpeg, open_seconds=2, stall_seconds=1).shots(Event()) if s.image)
