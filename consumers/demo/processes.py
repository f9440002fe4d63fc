"""Child processes of the demo: each role is started by its own command, as a user would, and stopped with SIGINT."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import StackError
from infra.rolling_log import RollingLog

STOP_SECONDS = 10.0


@dataclass(slots=True)
class Role:
    """One running command and its log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    writer: RollingLog

    def tail(self, lines: int = 5) -> str:
        """The last lines of the log of a command that has ended, for an error message."""
        self.writer.wait()
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@dataclass(slots=True)
class Roles:
    """The running commands of one demo; ``stop`` ends them in reverse order of their start."""

    logs: Path
    environment: dict[str, str] = field(default_factory=dict)
    running: list[Role] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str], *, program: Sequence[str] | None = None) -> Role:
        """Starts ``simvg ARGUMENTS`` (or another program) with its output in ``logs/name.log``."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        command = [*(program or (sys.executable, "-m", "simvg")), *arguments]
        log.unlink(missing_ok=True)
        with RollingLog(log) as writer:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=writer.pipe,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment,
                # its own group: Ctrl-C in the terminal reaches the demo alone, which then stops the roles in order
                start_new_session=True,
            )
        role = Role(name, process, log, writer)
        self.running.append(role)
        return role

    def check(self) -> None:
        """Raises StackError naming a role that ended by itself, with the end of its log."""
        for role in self.running:
            code = role.process.poll()
            if code is not None:
                raise StackError(f"{role.name} ended with exit code {code}; its log {role.log} ends:\n{role.tail()}")

    def stop(self, *names: str) -> None:
        """Stops the named roles (all without names): SIGINT first, SIGKILL for one that has not ended in 10 s."""
        chosen = [role for role in reversed(self.running) if not names or role.name in names]
        for role in chosen:
            with contextlib.suppress(ProcessLookupError):
                role.process.send_signal(signal.SIGINT)
        for role in chosen:
            try:
                role.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(role.process.pid, signal.SIGKILL)
                role.process.wait()
            role.writer.wait()
        self.running = [role for role in self.running if role not in chosen]
