"""A real RTSP server as a child process: GStreamer's, under the system's Python."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from infra.errors import StackError
from infra.rolling_log import RollingLog

SCRIPT = Path(__file__).with_name("serve.py")
SYSTEM_PYTHON = Path("/usr/bin/python3")
"""GStreamer's bindings belong to the system's Python; a virtual environment has none."""
START_SECONDS = 20.0


class RtspServer:
    """Serves ``file`` (MP4 with H.264, passed through), or a moving test picture, in a loop over RTSP.

    ``port`` 0 takes a free one at the first start and keeps it: a server that is stopped and started again is the same
    camera come back. Use as a context manager, or call ``start`` and ``stop``.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        test_picture: str = "320x240@10",
        port: int = 0,
        path: str = "camera",
        user: str | None = None,
        password: str | None = None,
        log: Path | None = None,
    ) -> None:
        """``user`` and ``password``: clients must log in. ``log``: file for what the server says, of bounded size (see
        :class:`RollingLog`); default nowhere."""
        self._what = ["--file", str(file)] if file is not None else ["--test", test_picture]
        self._path = path
        self._login = {"RTSP_USER": user, "RTSP_PASSWORD": password} if user and password else {}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: RollingLog | None = None
        self.port = port

    @property
    def url(self) -> str:
        """Address of the stream, without credentials."""
        return f"rtsp://127.0.0.1:{self.port}/{self._path}"

    @property
    def process_id(self) -> int | None:
        """Of the running server; None when it is stopped."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Returns when the server listens.

        Raises:
            StackError: GStreamer is missing (with the command that installs it), no such file, or the port is taken.
        """
        if not SYSTEM_PYTHON.exists():
            raise StackError(f"an RTSP server needs the system's Python {SYSTEM_PYTHON}, with GStreamer's bindings")
        command = [str(SYSTEM_PYTHON), str(SCRIPT), *self._what, "--port", str(self.port), "--path", self._path]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
        with RollingLog(self._log) if self._log is not None else tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log.pipe if isinstance(log, RollingLog) else log,
                env=environment | self._login,
                start_new_session=True,
            )
            self._process, self._writer = process, log if isinstance(log, RollingLog) else None
            assert process.stdout is not None
            line = _line(process.stdout, START_SECONDS)
            if not line.startswith("ready "):
                self.stop()
                said = self._said(log).decode(errors="replace").strip().splitlines()
                raise StackError(f"the RTSP server did not start: {said[-1] if said else 'no answer in time'}")
        self.port = int(line.rsplit(":", 1)[1].split("/", 1)[0])

    def stop(self) -> None:
        """Ends the server at once, as a power cut would; nothing happens when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        if self._writer is not None:
            self._writer.wait()

    def _said(self, log: RollingLog | IO[bytes]) -> bytes:
        """What the server, which has ended, wrote to its log."""
        if isinstance(log, RollingLog):
            return log.path.read_bytes()
        log.seek(0)
        return log.read()

    def freeze(self) -> None:
        """Connections stay open and nothing comes through them any more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Goes on after ``freeze``."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server is running"
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _line(stream: IO[bytes], seconds: float) -> str:
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline().decode(errors="replace") if ready else ""
