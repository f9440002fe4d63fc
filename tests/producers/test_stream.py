"""Network cameras as sources, against real servers."""

from __future__ import annotations

import socket
import socketserver
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, pairwise
from pathlib import Path
from threading import Event, Thread
from typing import ClassVar

import av
import numpy as np
import pytest

from infra.errors import CameraError
from infra.process import free_port
from infra.rtsp.server import RtspServer
from producers.clock import CaptureClock
from producers.frame import EncodedImage, Picture
from producers.rate import RateLimit
from producers.sources import open_source


def test_rtsp_stream_is_decoded() -> None:
    """A real RTSP camera gives pictures with rising capture times near the clock's."""
    with RtspServer(test_picture="320x240@10") as server:
        shots = open_source(server.url).shots(Event())
        taken = list(islice(shots, 8))
        now = time.time_ns()
        shots.close()  # type: ignore[attr-defined]
    assert len(taken) == 8
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
    assert len(numbers) == 25 and numbers[-1] is not None
    assert all(b == (a + 1) % 10 for a, b in pairwise(numbers) if a is not None)


def test_motion_jpeg_over_http_passes_through(motion_jpeg: str, jpegs: list[bytes]) -> None:
    """JPEGs from an HTTP camera are published byte for byte."""
    shots = open_source(motion_jpeg.replace("http://", "HTTP://")).shots(Event())
    images = [shot.image for shot in islice(shots, 7)]
    shots.close()  # type: ignore[attr-defined]
    assert len(images) == 7
    assert all(isinstance(image, EncodedImage) and image.data in jpegs for image in images)


def test_wall_clock_that_was_set_back_does_not_stop_the_stream(motion_jpeg: str) -> None:
    """Capture times follow the wall clock back, so that frames are thinned out as before and not all dropped."""
    back = 0
    clock = CaptureClock(lambda: time.time_ns() - back)
    shots = open_source(motion_jpeg, clock=clock).shots(Event())
    rate = RateLimit(5.0)
    before = [shot.captured_ns for shot in islice(shots, 5)]
    assert sum(rate.keeps(captured) for captured in before)
    back = 60_000_000_000
    after = [shot.captured_ns for shot in islice(shots, 20)]
    kept = [rate.keeps(captured) for captured in after]
    shots.close()  # type: ignore[attr-defined]
    assert before == sorted(before) and after == sorted(after)
    assert after[0] < before[-1] and abs(time.time_ns() - back - after[-1]) < 5e9
    assert kept.count(True) >= 4, kept


def test_stream_that_goes_silent_is_lost() -> None:
    """A camera whose connection stays open without data is given up after the stall time."""
    with RtspServer() as server:
        shots = open_source(server.url, stall_seconds=1).shots(Event())
        next(shots)
        server.freeze()
        with pytest.raises(CameraError, match=r"cannot read rtsp://127\.0\.0\.1:.*: no answer in time"):
            list(shots)
        server.thaw()


class _Relay(socketserver.StreamRequestHandler):
    """Hands RTSP on to the camera at ``camera`` (its port) and stops for good in the middle of a picture."""

    camera: ClassVar[int]
    over: ClassVar[Event]
    packets = 60
    """Of video before the silence."""

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.camera)) as camera, camera.makefile("rb") as answers:
            Thread(target=self._ask, args=(camera,), daemon=True).start()
            passed = 0
            while start := answers.read(1):
                if start != b"$":  # a line of RTSP itself; RFC 2326, section 10.12: "$", channel, length, data
                    self.wfile.write(start + answers.readline())
                    continue
                head = answers.read(3)
                data = answers.read(int.from_bytes(head[1:], "big"))
                self.wfile.write(start + head + data)
                passed += head[0] == 0
                last_of_picture = bool(data[1] & 0x80)  # RFC 3550, section 5.1: the marker bit
                if passed >= self.packets and head[0] == 0 and not last_of_picture:
                    self.over.wait(30)
                    return

    def _ask(self, camera: socket.socket) -> None:
        with suppress(OSError):
            while data := self.request.recv(1 << 16):
                camera.sendall(data)


def test_silence_in_the_middle_of_a_picture_is_called_silence() -> None:
    """The torn rest of a picture comes out when the stall time ends: it is no sign that data still comes."""
    with RtspServer(test_picture="1280x720@10") as server:
        ended = Event()
        handler = type("Relay", (_Relay,), {"camera": server.port, "over": ended})
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as relay:
            relay.daemon_threads = True
            Thread(target=relay.serve_forever, daemon=True).start()
            url = server.url.replace(str(server.port), str(relay.server_address[1]))
            shots = open_source(url, stall_seconds=1).shots(Event())
            assert next(shots).image is not None
            with pytest.raises(CameraError, match=r"cannot read rtsp://127\.0\.0\.1:.*: no answer in time"):
                list(shots)
            ended.set()
            relay.shutdown()


def test_waiting_for_a_recording_s_own_pace_is_no_silence(
    clip: Callable[..., Path], damage: Callable[[Path, int], None], tmp_path: Path
) -> None:
    """A recording slower than the stall time, with a broken picture in it, is played to its end."""
    damage(clip(30, rate=5, b_frames=0, name="clip.avi"), 25)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        source = open_source(f"http://127.0.0.1:{server.server_port}/clip.avi", stall_seconds=0.1)
        there = [shot.image is not None for shot in source.shots(Event())]
        server.shutdown()
    assert there.count(False) == 1 and there[-5:].count(True) == 4, there


@pytest.fixture
def sound_goes_on(tmp_path: Path) -> Iterator[str]:
    """URL of a real HTTP server: a second of pictures with sound, then sound alone."""
    path, ending = tmp_path / "sound.ts", Event()
    with av.open(str(path), "w") as container:
        pictures, sound = container.add_stream("libx264", rate=10), container.add_stream("mp2", rate=32000)
        pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
        pictures.options = {"tune": "zerolatency", "threads": "1"}
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((120, 160, 3), np.uint8), format="bgr24")
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        for number in range(500):
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), format="s16", layout="stereo")
            heard.sample_rate, heard.pts, heard.time_base = 32000, number * 1152, Fraction(1, 32000)
            container.mux(sound.encode(heard))
    data = path.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # the client goes when it has lost patience
                for start in range(0, len(data), 1880):
                    self.wfile.write(data[start : start + 1880])
                    if ending.wait(0.02):
                        return

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are no news."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/camera"
        ending.set()
        server.shutdown()


def test_camera_of_which_only_the_sound_goes_on_is_lost(sound_goes_on: str) -> None:
    """A camera with a microphone whose pictures have stopped is connected again, however much it lets hear."""
    shots = open_source(sound_goes_on, stall_seconds=0.5).shots(Event())
    with pytest.raises(CameraError, match=r"cannot read http://.*: data comes, but no picture in it for 0\.5 s"):
        list(shots)  # told when the sound is over, it would be that the stream has ended


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
