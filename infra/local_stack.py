"""The local stack: one real broker and one real Redis on this machine, started and stopped together."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.broker import LocalBroker
from infra.errors import StackError
from infra.kafka_libs import find_java
from infra.process import ServerProcess
from infra.redis_server import LocalRedis, find_redis
from infra.settings import DEFAULT_CONTROLLER_PORT, DEFAULT_KAFKA_PORT, DEFAULT_REDIS_PORT, KafkaSettings, StackSettings

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One server of the stack. ``pid`` and ``port`` are None while it does not run."""

    name: str
    running: bool
    pid: int | None
    port: int | None
    log_file: Path


class LocalStack:
    """Broker and Redis with all their state, logs and process ids in ``state_dir``.

    ``up`` and ``down`` may be called from different processes and again at any time.
    """

    def __init__(
        self,
        state_dir: Path = Path(".state"),
        kafka_port: int = DEFAULT_KAFKA_PORT,
        redis_port: int = DEFAULT_REDIS_PORT,
        *,
        controller_port: int = DEFAULT_CONTROLLER_PORT,
        cache_dir: Path = Path(".cache"),
    ) -> None:
        self._state_dir = state_dir
        self.broker = LocalBroker(state_dir, port=kafka_port, controller_port=controller_port, cache_dir=cache_dir)
        self.redis = LocalRedis(state_dir, port=redis_port)

    @classmethod
    def from_settings(cls, settings: StackSettings) -> LocalStack:
        return cls(
            settings.state_dir,
            settings.kafka_port,
            settings.redis_port,
            controller_port=settings.controller_port,
            cache_dir=settings.library_cache,
        )

    @property
    def kafka_settings(self) -> KafkaSettings:
        """How to reach the broker."""
        return self.broker.settings

    @property
    def redis_url(self) -> str:
        """How to reach Redis."""
        return self.redis.url

    def up(self, report: Report = lambda text: None) -> bool:
        """Start what is not running and wait until both answer; ``report`` gets each step in words.

        Everything that can be known before is checked before anything starts. Returns whether something was started.
        Raises StackError: Java, Maven or Redis missing, a port in use, a file that cannot be written, a server that
        does not come up. What this call started is stopped again then, also when it is interrupted.
        """
        with self._locked(report):
            absent = [server for server in (self.broker, self.redis) if server.process.pid is None]
            if self.redis in absent:
                find_redis()
                self.redis.check_ports()
            if self.broker in absent:
                find_java()
                self.broker.check_ports()
            try:
                redis_started = self.redis.start(report)
                broker_started = self.broker.start(report)
            except BaseException:
                for server in absent:  # what ran before goes on, whatever was wrong with this call
                    server.stop()
                raise
            return redis_started or broker_started

    def down(self, report: Report = lambda text: None) -> bool:
        """Stop both and wait until they are gone; data stays. Returns whether something was running."""
        with self._locked(report):
            stopped = False
            for server in (self.broker, self.redis):
                if server.process.pid is not None:
                    report(f"stopping {server.process.name}")
                stopped |= server.stop()
            return stopped

    def status(self) -> list[ServiceStatus]:
        """What runs, in the order broker, Redis."""
        return [_status(self.broker.process), _status(self.redis.process)]

    @contextmanager
    def _locked(self, report: Report) -> Iterator[None]:
        """One `up` or `down` at a time per state folder."""
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            lock = (self._state_dir / "lock").open("w")
        except OSError as error:
            raise StackError(
                f"state folder {self._state_dir} cannot be written: {error.strerror}; choose another with "
                "--state-dir or SIMVG_STATE_DIR"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report("waiting for another `simvg up` or `simvg down` of this stack")
                fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            except OSError as error:
                raise StackError(
                    f"the stack cannot write its files: {error.strerror}: {error.filename or self._state_dir}; look at "
                    "the space on the disk and at whose the folders are, or choose others with SIMVG_STATE_DIR and "
                    "SIMVG_LIBRARY_CACHE"
                ) from error


def _status(process: ServerProcess) -> ServiceStatus:
    pid = process.pid
    return ServiceStatus(
        name=process.name, running=pid is not None, pid=pid, port=process.port, log_file=process.log_file
    )
