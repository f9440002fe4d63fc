"""Logs of the local stack and of the demo: whole, and never larger than their bound."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from consumers.demo.processes import Roles
from infra.errors import StackError
from infra.process import ServerProcess
from infra.rolling_log import MAX_BYTES, OLDER_FILES, RollingLog, write
from infra.rtsp.server import RtspServer

BOUND = MAX_BYTES * (OLDER_FILES + 1)
LINE = 50_000
LINES = BOUND // LINE + 200
CHATTER = f"for n in range({LINES}): print(f'{{n:{LINE - 1}}}')"
"""A program that says more than a log may hold."""


def kept(log: Path) -> list[Path]:
    """The log's files, the newest first."""
    older = [log.with_name(f"{log.name}.{n}") for n in range(1, OLDER_FILES + 3)]
    return [path for path in (log, *older) if path.exists()]


def assert_bounded(log: Path) -> None:
    """Its files hold the last lines without a gap, and take no more than the bound."""
    files = kept(log)
    assert BOUND - MAX_BYTES < sum(path.stat().st_size for path in files) <= BOUND
    said = [int(line) for path in reversed(files) for line in path.read_text(encoding="utf-8").splitlines()]
    assert said == list(range(said[0], LINES))


def test_log_of_a_server_is_bounded(tmp_path: Path, until: Callable[..., None]) -> None:
    """A server of the stack that runs for months fills no disk."""
    server = ServerProcess("example", tmp_path)
    server.start([sys.executable, "-c", CHATTER], port=1, cwd=tmp_path)
    until(lambda: server.pid is None)
    assert_bounded(server.log_file)
    assert server.log_tail().split()[-1] == str(LINES - 1)


def test_log_of_a_role_of_the_demo_is_bounded(tmp_path: Path) -> None:
    """Cameras and workers of a demo that runs on likewise."""
    roles = Roles(tmp_path)
    role = roles.start("worker", ["-c", CHATTER], program=[sys.executable])
    role.process.wait(60)
    with pytest.raises(StackError, match="worker ended with exit code 0") as said:
        roles.check()
    assert str(said.value).split()[-1] == str(LINES - 1)
    roles.stop()
    assert_bounded(role.log)


def test_log_of_the_rtsp_server_says_why_it_did_not_start(tmp_path: Path) -> None:
    """What it said is in its file, and in the error."""
    log = tmp_path / "rtsp.log"
    with pytest.raises(StackError, match=r"there is no file .*none\.mp4"):
        RtspServer(tmp_path / "none.mp4", log=log).start()
    assert "there is no file" in log.read_text(encoding="utf-8")


def test_program_goes_on_when_its_log_cannot_be_written(tmp_path: Path) -> None:
    """A full disk takes the log, never the broker: it is not held up by what nobody reads."""
    (tmp_path / "full.log").symlink_to("/dev/full")
    with RollingLog(tmp_path / "full.log") as log:
        program = subprocess.Popen([sys.executable, "-c", "for n in range(20_000): print(n)"], stdout=log.pipe)
    assert program.wait(60) == 0
    log.wait()


def test_last_words_are_kept_when_all_are_told_to_end(tmp_path: Path) -> None:
    """A machine that shuts down asks every process at once to end: the log ends after the program."""
    code = "import time; print('up', flush=True); time.sleep(2); print('last words')"
    with RollingLog(tmp_path / "example.log") as log:
        program = subprocess.Popen([sys.executable, "-c", code], stdout=log.pipe)
    try:
        while "up" not in log.path.read_text(encoding="utf-8"):
            time.sleep(0.02)
        for writer in psutil.Process().children():
            if "rolling_log.py" in " ".join(writer.cmdline()) and str(log.path) in writer.cmdline():
                writer.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
        log.wait()
    finally:
        program.kill()
    assert log.path.read_text(encoding="utf-8").splitlines() == ["up", "last words"]


def test_line_without_an_end_fills_no_memory(tmp_path: Path) -> None:
    """What has no line breaks is broken into lines; bytes that are no text are shown as such."""
    write(io.BytesIO(b"\xff" + b"x" * 200_000 + b"\nend"), tmp_path / "example.log")
    lines = (tmp_path / "example.log").read_text(encoding="utf-8").splitlines()
    assert [len(line) for line in lines] == [64_000, 64_000, 64_000, 8_001, 3]
    assert lines[0].startswith("\N{REPLACEMENT CHARACTER}x")


def test_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """As before anything runs."""
    (tmp_path / "example.log").mkdir()
    with pytest.raises(IsADirectoryError, match=r"example\.log"):
        RollingLog(tmp_path / "example.log")
