"""Serves a video file (H.264 in MP4, passed through) or a test picture over RTSP, in a loop.

Runs under the system's Python, which has GStreamer's bindings: needs no package of this project.

    /usr/bin/python3 serve.py --file clip.mp4 --port 8554 --path line
    /usr/bin/python3 serve.py --test 320x240@10

Prints ``ready rtsp://127.0.0.1:PORT/PATH`` once it listens. With RTSP_USER and RTSP_PASSWORD in the environment,
clients must log in. Exit code 3: GStreamer is missing; the message names the packages.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)
GSTREAMER_MISSING = 3
ELEMENTS = ("appsrc", "qtdemux", "h264parse", "rtph264pay", "videotestsrc", "x264enc")


AccessUnit = tuple[bytes, int, bool]
"""A compressed picture, its time of presentation in ns, whether it is a key picture."""


def fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise SystemExit(code)


def load_gstreamer() -> tuple[Any, Any, Any]:
    """The Gst, GstRtspServer and GLib modules; ends the program with the remedy where they are missing."""
    try:
        gi = importlib.import_module("gi")
        gi.require_version("Gst", "1.0")
        gi.require_version("GstRtspServer", "1.0")
        Gst, GstRtspServer, GLib = (
            importlib.import_module(f"gi.repository.{name}") for name in ("Gst", "GstRtspServer", "GLib")
        )
    except (ImportError, ValueError) as error:
        fail(
            f"GStreamer's RTSP server is missing ({error}); install it with: sudo apt-get install -y {PACKAGES}",
            GSTREAMER_MISSING,
        )
    Gst.init(None)
    lacking = [name for name in ELEMENTS if Gst.ElementFactory.find(name) is None]
    if lacking:
        fail(f"GStreamer lacks {', '.join(lacking)}; install: sudo apt-get install -y {PACKAGES}", GSTREAMER_MISSING)
    return Gst, GstRtspServer, GLib


def read_access_units(Gst: Any, path: Path) -> tuple[list[AccessUnit], int]:
    """The compressed pictures of a file in decoding order, and the file's length in ns."""
    pipeline = Gst.parse_launch(
        "filesrc name=file ! qtdemux ! h264parse config-interval=-1 ! "
        "video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false"
    )
    pipeline.get_by_name("file").set_property("location", str(path))
    sink = pipeline.get_by_name("out")
    pipeline.set_state(Gst.State.PLAYING)
    units: list[AccessUnit] = []
    end = 0
    while pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR) is None and not sink.get_property("eos"):
        sample = sink.emit("try-pull-sample", Gst.SECOND // 10)
        if sample is None:
            continue
        buffer = sample.get_buffer()
        key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        units.append((buffer.extract_dup(0, buffer.get_size()), buffer.pts, key))
        end = max(end, buffer.pts + (buffer.duration if buffer.duration != Gst.CLOCK_TIME_NONE else 0))
    pipeline.set_state(Gst.State.NULL)
    if not units:
        fail(f"{path} holds no H.264 video in an MP4 container", 1)
    first = min(pts for _, pts, _ in units)
    return [(data, pts - first, key) for data, pts, key in units], end - first


class Loop(threading.Thread):
    """Pushes the pictures of a file into one ``appsrc`` at their own rate, over and over."""

    def __init__(self, Gst: Any, source: Any, units: list[AccessUnit], length: int) -> None:
        super().__init__(daemon=True)
        self.Gst, self.source, self.units, self.length = Gst, source, units, length
        self.going = True

    def run(self) -> None:
        Gst = self.Gst
        while self.going and self.source.get_clock() is None:
            time.sleep(0.01)
        if not self.going:
            return
        base = max(self.source.get_clock().get_time() - self.source.get_base_time(), 0)
        began = time.monotonic()
        played = 0
        while self.going:
            ordered = sorted(pts for _, pts, _ in self.units)
            for (data, pts, key), due in zip(self.units, ordered):  # noqa: B905 - equally long
                wait = began + (played + due) / 1e9 - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                buffer = Gst.Buffer.new_wrapped(data)
                buffer.pts = base + played + pts
                buffer.dts = base + played + due
                if not key:
                    buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
                if not self.going or self.source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                    return
            played += self.length


def file_factory(Gst: Any, GstRtspServer: Any, path: Path) -> Any:
    units, length = read_access_units(Gst, path)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( appsrc name=pictures is-live=true format=time block=false "
        "caps=video/x-h264,stream-format=byte-stream,alignment=au ! h264parse config-interval=-1 ! "
        # config-interval here would repeat the parameter sets before each slice: FFmpeg then sees a picture per slice
        "rtph264pay name=pay0 pt=96 config-interval=0 )"
    )

    def configure(_: Any, media: Any) -> None:
        loop = Loop(Gst, media.get_element().get_by_name("pictures"), units, length)
        loop.start()  # before the media is prepared: the first picture is what it is prepared with
        media.connect("unprepared", lambda _: setattr(loop, "going", False))

    factory.connect("media-configure", configure)
    return factory


def picture_factory(GstRtspServer: Any, shape: str) -> Any:
    size, _, rate = shape.partition("@")
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit() and rate.isdigit()):
        fail(f"--test {shape!r} is no picture: write WIDTHxHEIGHT@FPS, e.g. 320x240@10", 2)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true pattern=ball ! video/x-raw,width={width},height={height},framerate={rate}/1 ! "
        f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={rate} ! h264parse config-interval=-1 ! "
        "rtph264pay name=pay0 pt=96 config-interval=0 )"
    )
    return factory


def ask_for_password(GstRtspServer: Any, server: Any, factory: Any, user: str, password: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a video file or a test picture over RTSP, in a loop.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, help="MP4 file with H.264 video, passed through")
    what.add_argument("--test", metavar="WIDTHxHEIGHT@FPS", help="a moving test picture")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--path", default="camera", help="path of the stream")
    arguments = parser.parse_args()
    if arguments.file is not None and not arguments.file.is_file():
        fail(f"there is no file {arguments.file}", 2)
    Gst, GstRtspServer, GLib = load_gstreamer()
    factory = (
        file_factory(Gst, GstRtspServer, arguments.file)
        if arguments.file is not None
        else picture_factory(GstRtspServer, arguments.test)
    )
    factory.set_shared(True)
    server = GstRtspServer.RTSPServer()
    server.set_address(arguments.host)
    server.set_service(str(arguments.port))
    user, password = os.environ.get("RTSP_USER"), os.environ.get("RTSP_PASSWORD")
    if user and password:
        ask_for_password(GstRtspServer, server, factory, user, password)
    server.get_mount_points().add_factory("/" + arguments.path.strip("/"), factory)
    if server.attach(None) == 0:
        fail(f"port {arguments.port} on {arguments.host} cannot be opened; choose another with --port", 1)
    loop = GLib.MainLoop()
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, loop.quit)
    sys.stdout.write(f"ready rtsp://{arguments.host}:{server.get_bound_port()}/{arguments.path.strip('/')}\n")
    sys.stdout.flush()
    loop.run()


if __name__ == "__main__":
    main()
