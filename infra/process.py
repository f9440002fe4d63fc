"""Server processes of the local stack: started detached, remembered by a pid file, stopped for good."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from infra.errors import StackError
from infra.rolling_log import RollingLog

_LOG_TAIL = 15
_LOG_TAIL_BYTES = 16_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ServerProcess:
    """One server, known by ``STATE/NAME.pid`` and writing to ``STATE/NAME.log``, which stays of bounded size.

    The pid file also holds when the process began, so that a number taken over by another process is never signalled.
    """

    def __init__(self, name: str, state_dir: Path) -> None:
        self.name = name
        self.log_file = state_dir / f"{name}.log"
        self._pid_file = state_dir / f"{name}.pid"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        process = self._process()
        return process.pid if process is not None else None

    @property
    def port(self) -> int | None:
        """The port it was started on, while it runs."""
        return int(self._remembered()["port"]) if self._process() is not None else None

    def start(self, command: Sequence[str], *, port: int, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it detached, so that Ctrl-C here does not reach it.

        Raises StackError if it cannot be run; OSError if its files cannot be written, and then it does not run either.
        """
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        with RollingLog(self.log_file) as log:
            try:
                child = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=log.pipe,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=dict(env) if env is not None else None,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{self.name} cannot be started: {command[0]}: {error.strerror}") from error
        _children[child.pid] = child, log
        began = 0.0
        with contextlib.suppress(psutil.Error):
            began = _began(psutil.Process(child.pid))
        temporary = self._pid_file.with_suffix(".tmp")
        content = {"pid": child.pid, "began": began, "boot": _boot(), "port": port}
        try:
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(self._pid_file)
        except OSError:  # nobody would find it again to stop it
            child.kill()
            _collect(child.pid)
            raise

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for ``ready()``. Raises StackError with the end of the log if the process ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._process() is None:
                raise StackError(f"{self.name} ended while it started; the end of {self.log_file}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.name} did not answer within {seconds:g} s; the end of {self.log_file}:\n{self.log_tail()}"
                )
            time.sleep(0.05)

    def stop(self, seconds: float = 20.0, *, kill: bool = False) -> bool:
        """Ask it to end, insist after ``seconds`` (``kill``: at once). Returns whether it was running.

        Raises StackError if it is another user's.
        """
        process = self._process()
        if process is not None:
            try:
                process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
                if not _ended(process, seconds):
                    process.kill()
                    _ended(process, 5.0)
            except psutil.NoSuchProcess:
                pass  # it was faster
            except psutil.AccessDenied as error:
                raise StackError(
                    f"{self.name} (process {process.pid}) was started by user {process.username()}, who alone may stop "
                    "it; run this as that user"
                ) from error
            _collect(process.pid)
        self._pid_file.unlink(missing_ok=True)
        return process is not None

    def log_tail(self) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError), self.log_file.open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES, 0))  # one of years does not fit into memory
            lines = log.read().decode("utf-8", "replace").splitlines()[-_LOG_TAIL:]
            return "\n".join(f"  {line}" for line in lines) or "  (empty)"
        return "  (no log)"

    def _remembered(self) -> dict[str, Any]:
        """What the pid file holds; nothing without one, or with one that is damaged. Raises StackError: it is there
        and cannot be read, so that nobody knows whether the server runs."""
        try:
            found = json.loads(self._pid_file.read_text(encoding="utf-8"))
            numbers = {key: float(found[key]) for key in ("pid", "began", "port")}
            return numbers if "boot" not in found else numbers | {"boot": found["boot"]}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StackError(
                f"{self._pid_file}, which tells whether {self.name} runs, cannot be read: {error.strerror}; run this "
                "as the user who started the stack, or choose another folder with --state-dir or SIMVG_STATE_DIR"
            ) from error
        except (ValueError, KeyError, TypeError):
            return {}

    def _process(self) -> psutil.Process | None:
        known = self._remembered()
        if not known:
            return None
        pid = int(known["pid"])
        _reap(pid)
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if _is_known(process, known) and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


_children: dict[int, tuple[subprocess.Popen[bytes], RollingLog]] = {}
"""Servers that this very process started, with what writes their logs."""


def _began(process: psutil.Process) -> float:
    """When it began, in seconds after the machine did: the time of day would change whenever the clock is set, as on a
    box whose clock is wrong until it hears of a time server."""
    machine = psutil.boot_time()
    return float(process.create_time() - machine)


def _boot() -> str:
    """Which start of the machine this is; after the next one the same number may begin at the same second."""
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return ""


def _is_known(process: psutil.Process, known: Mapping[str, Any]) -> bool:
    if "boot" not in known:  # written by a version that went by the time of day
        return bool(abs(process.create_time() - known["began"]) < 1.0)
    return bool(abs(_began(process) - known["began"]) < 1.0 and known["boot"] == _boot())


def _reap(pid: int) -> None:
    """Collect a child of this very process that has ended, which would stay a zombie otherwise."""
    if pid in _children and _children[pid][0].poll() is not None:
        _collect(pid)


def _collect(pid: int) -> None:
    """Wait for a child of this very process that ends, and for its last words in the log."""
    child, log = _children.pop(pid, (None, None))
    if child is not None and log is not None:
        child.wait()
        log.wait()


def _ended(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _reap(process.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)
                continue
        return True
    return False


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.5):
        return True
    return False


_offered: list[socket.socket] = []


def free_port() -> int:
    """A port of the loopback interface that is free now. No process is offered it again while this one runs.

    It stays bound here, without listening: servers set SO_REUSEADDR and may listen on it all the same.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    _offered.append(probe)
    return int(probe.getsockname()[1])


def require_free_port(port: int, *, what: str, remedy: str) -> None:
    """Raises StackError, naming the port, who holds it where that can be seen, and the remedy."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free for a server
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise StackError(f"port {port} for {what} may not be opened by this user; {remedy}") from error
        except OSError as error:
            raise StackError(f"port {port} for {what} is in use{_holder(port)}; stop it, or {remedy}") from error


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    break
                if connection.pid == os.getpid():
                    return f" by this process ({connection.pid})"
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
