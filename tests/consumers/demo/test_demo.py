"""`simvg demo` as its user runs it: real broker, Redis, cameras, RTSP server, worker and the shipped model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.process import free_port

REPOSITORY = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.alone  # the alerts of the clip must come within a second


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A stack of this test's own: ports, data and logs."""
    own = {
        "SIMVG_STATE_DIR": str(tmp_path / "state"),
        "SIMVG_KAFKA_PORT": str(free_port()),
        "SIMVG_CONTROLLER_PORT": str(free_port()),
        "SIMVG_REDIS_PORT": str(free_port()),
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("SIMVG_")} | own


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "simvg", "demo", *arguments],
        cwd=REPOSITORY,
        env=environment | {"COLUMNS": "140"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_running(state: str) -> list[str]:
    """Command lines of processes that belong to the demo's state folder or to its roles."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environ = process.info["environ"] or {}
        line = " ".join(process.info["cmdline"] or [])
        if (state in line or environ.get("SIMVG_STATE_DIR") == state) and process.pid != os.getpid():
            found.append(line)
    return found


@pytest.mark.timeout(300)
def test_the_demo_ends_by_itself_with_alerts_that_match_the_truth(environment: dict[str, str]) -> None:
    """Exit code 0 means: the alerts of the played part of the clip match its ground truth; nothing is left running."""
    process = start(environment, "--seconds", "30")
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output[-6000:]
    assert "The alerts match the ground truth." in output
    assert left_running(environment["SIMVG_STATE_DIR"]) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "the terminal is closed"])
def test_ctrl_c_stops_everything(environment: dict[str, str], how: signal.Signals) -> None:
    """After a signal during the set-up, no process of the demo is left."""
    before = signal.signal(how, signal.SIG_DFL)  # under nohup the demo would inherit that a closed terminal is nothing
    try:
        process = start(environment)
    finally:
        signal.signal(how, before)
    deadline = time.monotonic() + 120
    while not left_running(environment["SIMVG_STATE_DIR"])[2:]:
        assert time.monotonic() < deadline, "the demo starts processes"
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)
    process.send_signal(how)
    process.communicate(timeout=120)
    assert left_running(environment["SIMVG_STATE_DIR"]) == []
