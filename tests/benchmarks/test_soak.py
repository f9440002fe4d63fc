"""What the soak calls a fault: growth that lasts, not a single sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import soak
from benchmarks.soak import MAX_MORE_HANDLES, MAX_MORE_LAG, NAMES, WARM_SECONDS, Series, Watch, faults

SECONDS = 120
POPEN = subprocess.Popen


def _steady(value: float, *, after_warm_up: float | None = None, spike: float | None = None) -> Series:
    """One sample a second; from the middle of what is compared on another value, or one sample that stands out."""
    series, middle = Series(), (WARM_SECONDS + SECONDS) / 2
    for second in range(SECONDS):
        late = after_warm_up is not None and second >= middle
        odd = spike is not None and second == SECONDS - 2
        series.add(second, (after_warm_up or 0.0) if late else (spike or 0.0) if odd else value)
    return series


def _well() -> Watch:
    watch = Watch()
    for name in NAMES.values():
        watch.memory[name], watch.handles[name] = _steady(500e6), _steady(40)
    watch.lag[0], watch.lag[1] = _steady(2), _steady(0)
    return watch


def test_a_steady_run_is_good() -> None:
    """Nothing grows, nothing is said; nor of growth before the end of the warm-up."""
    watch = _well()
    watch.memory["worker"].points[:30] = [(second, 100e6) for second in range(30)]
    assert faults(watch) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.memory.update(worker=_steady(500e6, after_warm_up=530e6)), "worker: memory grew by 6.0%"),
        (lambda w: w.handles.update(worker=_steady(40, after_warm_up=41 + MAX_MORE_HANDLES)), "handles grew from 40"),
        (lambda w: w.lag.update({1: _steady(0, after_warm_up=1 + MAX_MORE_LAG)}), "partition 1: lag grew from 0 to 11"),
        (lambda w: w.errors.update(worker=2), "worker: 2 errors in its log"),
        (lambda w: w.memory.update(worker=Series()), "worker was seen for too short a time"),
        (
            lambda w: (w.lag.clear(), w.unread.append("no broker")),
            "lag was not read often enough to compare; no broker",
        ),
    ],
    ids=["memory", "handles", "lag", "errors", "gone", "lag-unknown"],
)
def test_what_grows_is_said(change: object, words: str) -> None:
    """Each figure that grows after the first minute fails the run, with its name and both values."""
    watch = _well()
    assert callable(change)
    change(watch)
    (fault,) = faults(watch)
    assert words in fault


def test_one_sample_decides_nothing() -> None:
    """A collection of garbage or a pause of the machine within one sample is no growth."""
    watch = _well()
    watch.memory["worker"], watch.handles["worker"] = _steady(500e6, spike=900e6), _steady(40, spike=90)
    watch.lag[0] = _steady(2, spike=400)
    assert faults(watch) == []


def test_nothing_is_left_running_when_the_watching_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo would go on with broker, Redis, worker and cameras."""
    started: list[subprocess.Popen[str]] = []

    def sleeping(command: list[str], **given: Any) -> subprocess.Popen[str]:
        started.append(POPEN([sys.executable, "-c", "import time; time.sleep(600)"], **given))
        return started[0]

    def failing(*_: object) -> Watch:
        raise RuntimeError("no processes can be read here")

    monkeypatch.setattr(soak.subprocess, "Popen", sleeping)
    monkeypatch.setattr(soak, "observe", failing)
    monkeypatch.setenv("SIMVG_STATE_DIR", str(tmp_path))
    with pytest.raises(RuntimeError, match="no processes"):
        soak.main(["--minutes", "1"])
    assert started[0].poll() is not None
