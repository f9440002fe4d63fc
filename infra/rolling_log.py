"""Logs of bounded size for programs that only write to standard output, as Apache's `rotatelogs` keeps them.

Run as a program, under Python's isolated mode, it writes what comes on its standard input to a file and the older files
beside it: `python -I -S rolling_log.py FILE`. It needs no package of this project or any other.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import IO, Self

MAX_BYTES = 10_000_000
OLDER_FILES = 4
"""``NAME.log.1`` is the newest of them; with ``NAME.log`` itself a program's logs take at most 50 MB."""

_LINE_BYTES = 64_000  # a longer line is broken: without an end it would fill the memory
_LAST_WORDS_S = 5.0


class RollingLog:
    """Writes what a program says to ``path``, in a process of its own, until the last who could say anything has ended.

    ``with RollingLog(path) as log: subprocess.Popen(…, stdout=log.pipe)``; the program may outlive this process. A
    program whose log cannot be written, as on a full disk, runs on without one.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError if the file cannot be opened for writing."""
        path.open("ab").close()
        self.path = path
        self._writer = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C here does not reach it
        )
        assert self._writer.stdin is not None
        self.pipe: IO[bytes] = self._writer.stdin

    def wait(self) -> None:
        """Returns when all that was said is written. For a program that has ended: otherwise it waits in vain, for
        five seconds."""
        self.pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a child of the program lives on and may still speak
            self._writer.wait(_LAST_WORDS_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The program has the pipe now; as long as we had it too, its end would not be seen."""
        self.pipe.close()
        if error is not None:  # there is no program
            self.wait()


def write(source: IO[bytes], path: Path, *, max_bytes: int = MAX_BYTES, older_files: int = OLDER_FILES) -> None:
    """Writes the lines of ``source`` to ``path`` until its end, whatever becomes of the file: who stopped reading would
    stop the program that writes."""
    logging.raiseExceptions = False
    handler = RotatingFileHandler(path, maxBytes=max_bytes, backupCount=older_files, encoding="utf-8", delay=True)
    while line := source.readline(_LINE_BYTES):
        handler.handle(logging.makeLogRecord({"msg": line.decode("utf-8", "replace").rstrip("\r\n")}))
    handler.close()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends after the program, whose last words matter most
    write(sys.stdin.buffer, Path(sys.argv[1]))
