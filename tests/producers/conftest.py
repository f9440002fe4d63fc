"""Recordings for the tests, made on the spot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import av
import cv2
import numpy as np
import pytest

from producers.frame import Picture, Shot

WIDTH, HEIGHT = 160, 120

Clip = Callable[..., Path]


def frame_picture(index: int) -> np.ndarray:
    """(120, 160, 3) uint8 BGR: the index stands in its brightness, in steps that survive compression."""
    picture = np.full((HEIGHT, WIDTH, 3), 40 + index * 6, np.uint8)
    picture[40:80, 10 + index : 40 + index] = 230
    return picture


@pytest.fixture
def drawn() -> Callable[[Shot], int | None]:
    """``drawn(shot)`` reads the number out of a decoded picture of a clip; None where there is no picture."""

    def read(shot: Shot) -> int | None:
        if shot.image is None:
            return None
        assert isinstance(shot.image, Picture)
        # conversion to limited-range YUV and back takes some 3 of 255
        return round((float(shot.image.bgr()[:30].mean()) - 37) / 6)

    return read


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """``clip(frames, …)`` writes a video of numbered pictures, the first at ``starts`` seconds; returns its path."""

    def make(
        frames: int = 20,
        *,
        name: str = "clip.mp4",
        rate: int = 10,
        codec: str = "libx264",
        b_frames: int = 2,
        first: int = 0,
        starts: int = 0,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height = WIDTH, HEIGHT
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if codec != "mjpeg":
                stream.thread_type = "NONE"
                stream.options = {"crf": "12", "threads": "1"}
                stream.gop_size = 10
                stream.codec_context.max_b_frames = b_frames
            for index in range(frames):
                frame = av.VideoFrame.from_ndarray(frame_picture(first + index), format="bgr24")
                frame.pts, frame.time_base = starts * rate + index, Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def damage() -> Callable[[Path, int], None]:
    """``damage(path, n)`` destroys the n-th packet of a video in place."""

    def destroy(path: Path, number: int) -> None:
        with av.open(str(path)) as container:
            packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
        position, size = packets[number]
        data = bytearray(path.read_bytes())
        data[position : position + size] = bytes(size)
        path.write_bytes(data)

    return destroy


@pytest.fixture
def jpegs() -> list[bytes]:
    """Five different JPEGs."""
    encoded = (cv2.imencode(".jpg", frame_picture(index))[1] for index in range(5))
    return [data.tobytes() for data in encoded]


@pytest.fixture
def motion_jpeg(jpegs: list[bytes]) -> Iterator[str]:
    """URL of a real HTTP server that sends the five JPEGs over and over, 20 a second."""
    ending = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with suppress(OSError):  # the client goes when it has seen enough
                while not ending.wait(0.05):
                    for data in jpegs:
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        ending.wait(0.05)

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are no news."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/video"
    ending.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def until() -> Callable[..., None]:
    """``until(condition, seconds)`` waits for something to become true, and fails when it does not."""

    def wait(condition: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    return wait
