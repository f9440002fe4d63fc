"""A real single-node Kafka broker on this machine, for the local stack and the tests."""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template

from infra.errors import BrokerUnavailable, StackError
from infra.kafka_client import wait_for_broker
from infra.kafka_libs import KAFKA_DIR, find_java, java_environment, kafka_libraries
from infra.process import ServerProcess, port_answers, require_free_port
from infra.settings import KafkaSettings

_START_S = 180.0  # an idle machine takes 5 s, one whose cores are all taken has been seen to take over 60 s
_STORAGE_OPTIONS = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class LocalBroker:
    """Broker and controller in one process (KRaft), data in ``state_dir/kafka``. Start and stop as often as needed.

    ``properties`` stand over those of `infra/kafka/server.properties`, for example more listeners and an authorizer;
    ``port`` must stay one without credentials. ``java_options`` go to its virtual machine. Brokers of one cluster have
    the same ``cluster_id``; default: a cluster of its own.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int,
        controller_port: int,
        cache_dir: Path = Path(".cache"),
        heap_mb: int = 512,
        properties: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
        cluster_id: str | None = None,
    ) -> None:
        self.port = port
        self.controller_port = controller_port
        self._cache_dir = cache_dir
        self._heap_mb = heap_mb
        self._overrides = dict(properties or {})
        self._java_options = tuple(java_options)
        self._cluster_id = cluster_id
        self._state_dir = state_dir.absolute()
        self._data_dir = self._state_dir / "kafka"
        self._properties = self._state_dir / "server.properties"
        self.process = ServerProcess("kafka", self._state_dir)

    @property
    def settings(self) -> KafkaSettings:
        """How to reach it."""
        return KafkaSettings(bootstrap=f"127.0.0.1:{self.port}")

    def start(self, report: Callable[[str], None] = lambda text: None) -> bool:
        """Start it and wait until it answers. Returns False if it was running already.

        Raises StackError: Java or Maven missing, a port in use, the broker does not come up (with the end of its log).
        """
        if self.process.pid is not None:
            if self.process.port != self.port:
                raise StackError(
                    f"a Kafka broker of this stack runs on port {self.process.port}, not {self.port}; "
                    "stop it with `simvg down` first"
                )
            self._wait()
            return False
        java = find_java().absolute()
        self.check_ports()
        libraries = kafka_libraries(self._cache_dir, report)
        report(f"starting Kafka on port {self.port}")
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._write_properties()
        classpath = f"{self._from_here(libraries)}/*"
        log_config = f"-Dlog4j2.configurationFile={self._from_here(KAFKA_DIR / 'log4j2.xml')}"
        if not (self._data_dir / "meta.properties").exists():
            self._format(java, classpath, log_config)
        # A fixed heap, the collector with the least overhead: this broker shares two cores with everything else.
        options = [
            f"-Xmx{self._heap_mb}m",
            f"-Xms{min(self._heap_mb, 256)}m",
            "-XX:+UseSerialGC",
            # The broker of one box is seldom busy; the second compiler would fill a core for its first minutes.
            "-XX:TieredStopAtLevel=1",
            "-Djava.awt.headless=true",
            *self._java_options,
        ]
        self.process.start(
            [str(java), *options, log_config, "-cp", classpath, "kafka.Kafka", self._properties.name],
            port=self.port,
            cwd=self._state_dir,
            env=java_environment(),
        )
        try:
            self._wait()
        except StackError:
            self.process.stop(kill=True)
            raise
        return True

    def check_ports(self) -> None:
        """Raises StackError if one of its ports is taken."""
        require_free_port(
            self.port,
            what="Kafka",
            remedy="choose another with --kafka-port or SIMVG_KAFKA_PORT (and set SIMVG_KAFKA__BOOTSTRAP to it)",
        )
        require_free_port(
            self.controller_port,
            what="Kafka's controller",
            remedy="choose another with SIMVG_CONTROLLER_PORT",
        )

    def stop(self, *, kill: bool = False) -> bool:
        """Stop it cleanly, or as a power cut would (``kill``). Returns whether it was running."""
        return self.process.stop(kill=kill)

    def _wait(self) -> None:
        self.process.wait_until(lambda: port_answers(self.port), _START_S)
        try:
            wait_for_broker(self.settings, _START_S)
        except BrokerUnavailable as error:
            raise StackError(
                f"Kafka on port {self.port} accepts connections but does not answer; the end of "
                f"{self.process.log_file}:\n{self.process.log_tail()}"
            ) from error

    def _write_properties(self) -> None:
        template = Template((KAFKA_DIR / "server.properties").read_text(encoding="utf-8").replace("$names", "$$names"))
        text = template.substitute(port=self.port, controller_port=self.controller_port, data_dir=self._data_dir.name)
        kept = [line for line in text.splitlines() if line.partition("=")[0] not in self._overrides]
        # Passwords of listeners may be among them: for the owner's eyes only.
        self._properties.touch(mode=0o600)
        self._properties.write_text(
            "\n".join([*kept, *(f"{key}={value}" for key, value in self._overrides.items())]) + "\n", encoding="utf-8"
        )

    def _from_here(self, path: Path) -> str:
        """A path as seen from the state folder, where the broker runs.

        Java splits a class path at every ':' and reads properties as Latin-1, and Kafka splits `log.dirs` at every ',':
        what lies above the folders of this product stays out of all three.
        """
        return os.path.relpath(path.resolve(), self._state_dir.resolve())

    def _format(self, java: Path, classpath: str, log_config: str) -> None:
        command = [str(java), *_STORAGE_OPTIONS, log_config, "-cp", classpath, "kafka.tools.StorageTool"]
        arguments = ["format", "--cluster-id", self._cluster_id or new_cluster_id(), "--config", self._properties.name]
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=self._state_dir,
            env=java_environment(),
        )
        if done.returncode != 0:
            raise StackError(f"Kafka's storage in {self._data_dir} cannot be prepared:\n{done.stdout}{done.stderr}")


def new_cluster_id() -> str:
    """A random id as Kafka writes them."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):  # would be read as an option
            return text
