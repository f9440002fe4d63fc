"""The line as a plant runs it: each process its own user over SASL and TLS, with the rights of `simvg acl` alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from consumers.actions import publish_action
from consumers.alerts import read_alerts
from consumers.grounding.replay import Tally, retained_frames
from consumers.grounding.replay_cli import _publish as publish_replayed
from consumers.rejected import read_rejected, send_again
from consumers.why_cli import gather
from infra.contracts import Alert, AlertState, OperatorAction, StandingQuery
from infra.kafka import Publisher
from infra.queries import QueryRegistry
from infra.settings import KafkaSettings, RedisSettings, RoleSettings, environment_name
from infra.topics import topic_name
from tests.consumers.grounding.colour import COLOURS
from tests.security.conftest import REPOSITORY, Grant

SECONDS = 300.0
"""Waited for what takes three seconds on an idle machine; a loaded one has been seen to take over 90."""

CAMERA = [sys.executable, str(REPOSITORY / "simvg.py"), "camera"]
WORKER = [sys.executable, "-m", "tests.consumers.grounding.colour_worker"]


@dataclass
class Processes:
    """Programs that run with the environment of one user each, and what they said."""

    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=os.environ | environment | {"SIMVG_TELEMETRY__LOG_LEVEL": "DEBUG"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def check(self) -> None:
        """Fails, with what it said, when one has ended by itself."""
        for name, process in self.running.items():
            assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.said(name)}"

    def stop(self, name: str) -> int:
        """Asks it to end; its exit status."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(SECONDS)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    found = Processes(tmp_path)
    yield found
    for process in found.running.values():
        process.kill()
        process.wait()


def environment_of(kafka: KafkaSettings, folder: Path) -> dict[str, str]:
    """The user's settings as variables; the password in a file that one of them names, as platforms mount it."""
    secret = folder / f"{kafka.sasl_username}.password"
    assert kafka.sasl_password is not None
    secret.write_text(kafka.sasl_password.get_secret_value() + "\n", encoding="utf-8")
    given = kafka.model_dump(exclude={"sasl_password"}, exclude_none=True)
    variables = {environment_name(f"kafka.{name}"): str(value) for name, value in given.items()}
    return variables | {"SIMVG_KAFKA__SASL_PASSWORD_FILE": str(secret)}


def draw(folder: Path) -> None:
    """A minute of a living camera in front of something red: pictures with noise, as none repeats another."""
    folder.mkdir()
    noise = np.random.default_rng(7)
    for number in range(600):
        pixels = noise.normal(128, 4, (90, 120, 3)).clip(0, 255).astype(np.uint8)
        pixels[30:60, 45:75] = COLOURS["red"]
        assert cv2.imwrite(str(folder / f"{number:03}.jpg"), pixels)


def _look_back(granted: Grant, redis: RedisSettings, alert: str, until: Callable[..., None]) -> None:
    """What `simvg why`, `simvg replay --publish` and `simvg rejected` read and write, each as a user of its role."""
    why, replay, rejected = granted("why"), granted("replay"), granted("rejected")
    history = [one for one in read_alerts(why, from_beginning=True, to_end=True) if isinstance(one, Alert)]
    of_it = [one for one in history if one.id == alert]
    facts = gather(RoleSettings(kafka=why, redis=redis), "line-1", "red", of_it[0].onset_at)
    assert facts.scored and facts.published and facts.alerts

    frames = retained_frames(replay, "line-1", start_ns=0, end_ns=time.time_ns(), tally=Tally())
    assert next(frames).camera == "line-1"
    frames.close()  # type: ignore[attr-defined]
    publish_replayed(replay, of_it)

    with Publisher(granted("camera"), client_id="test", delivery_timeout_s=SECONDS) as publisher:
        publisher.send(topic_name(rejected.prefix, "frames"), key=b"line-1", value=b"no frame", headers=[("a", b"b")])
        assert publisher.flush(SECONDS) == 0
    until(lambda: len(list(read_rejected(rejected))) == 1, SECONDS)
    sent = send_again(rejected, list(read_rejected(rejected)))
    assert [failure for _, failure in sent] == [None]
    until(lambda: len(list(read_rejected(rejected))) == 2, SECONDS)


@pytest.mark.timeout(1200)
def test_frames_come_in_alerts_go_out_and_operators_are_heard(
    granted: Grant, redis_settings: RedisSettings, processes: Processes, tmp_path: Path, until: Callable[..., None]
) -> None:
    """A camera, a worker, the line's control and a console, none of which may do more than its role: an alert comes
    and is acknowledged, and both programs end well when they are told to."""
    draw(tmp_path / "pictures")
    now = datetime.now(UTC)
    registry = QueryRegistry(redis_settings)
    registry.add(StandingQuery(id="red", text="red", created=now, changed=now))
    registry.close()
    camera, worker = environment_of(granted("camera"), tmp_path), environment_of(granted("worker"), tmp_path)
    source = [str(tmp_path / "pictures"), "--id", "line-1", "--fps", "10", "--loop"]
    processes.start("camera", [*CAMERA, *source], camera)
    redis = {"SIMVG_REDIS__URL": redis_settings.url, "SIMVG_REDIS__PREFIX": redis_settings.prefix}
    own = {"SIMVG_WORKER_ID": "w1", "SIMVG_CACHE_DIR": str(tmp_path / "cache")}
    processes.start("worker", WORKER, worker | redis | own)
    control, console = granted("line-control"), granted("console")

    def reached(state: AlertState) -> list[str]:
        """Alerts that came to this state, the latest last."""
        processes.check()
        found = read_alerts(control, from_beginning=True, to_end=True)
        return [one.id for one in found if isinstance(one, Alert) and one.state is state]

    def acknowledged() -> bool:
        """The newest alert is acknowledged again and again: each playing of the pictures closes the one before."""
        action = {"id": uuid.uuid4().hex, "kind": "acknowledge", "alert_id": reached(AlertState.RAISED)[-1]}
        said = {"by": "mia", "at": datetime.now(UTC)}
        publish_action(console, OperatorAction.model_validate(action | said), seconds=60.0)
        return bool(reached(AlertState.ACKNOWLEDGED))

    until(lambda: reached(AlertState.RAISED), SECONDS)
    until(acknowledged, SECONDS)
    _look_back(granted, redis_settings, reached(AlertState.RAISED)[-1], until)
    processes.check()
    assert processes.stop("worker") == 0, processes.said("worker")
    assert processes.stop("camera") == 0, processes.said("camera")
    for name in ("camera", "worker"):
        said = processes.said(name)
        assert "does not allow" not in said, said
        assert "-Kj7-vale" not in said, "no password is ever logged"
