"""The RTSP server that plays a clip: its start, its end, and what it says when it cannot."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.errors import StackError
from infra.rtsp.server import SCRIPT, RtspServer


def test_restarted_server_keeps_its_port() -> None:
    """A server that was stopped and started again is found at the same address; stopped, it leaves no process."""
    server = RtspServer()
    server.start()
    url, process_id = server.url, server.process_id
    server.stop()
    assert process_id is not None and not psutil.pid_exists(process_id)
    server.start()
    assert server.url == url
    server.stop()
    server.stop()


def test_missing_gstreamer_names_the_packages() -> None:
    """A Python without GStreamer's bindings, as every virtual environment is, says what to install."""
    ran = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), "--test", "320x240@10"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 3
    assert "sudo apt-get install -y python3-gi gir1.2-gst-rtsp-server-1.0" in ran.stderr


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A clip that is not there ends the start with its name."""
    with pytest.raises(StackError, match=r"there is no file .*none\.mp4"):
        RtspServer(tmp_path / "none.mp4").start()


def test_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    """A file without H.264 video ends the start with its name."""
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(StackError, match=r"notes\.mp4 holds no H\.264 video"):
        RtspServer(path).start()


def test_port_in_use_is_named() -> None:
    """A port that another program has ends the start with its number."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} on 127.0.0.1 cannot be opened"):
            RtspServer(port=port).start()
