"""How the pipeline's rate is counted, and how processes take turns."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.pipeline import steady
from benchmarks.turns import turns

TICKING = """
import sys, time
while True:
    with open(sys.argv[1], "a") as told:
        told.write(f"{time.time()}\\n")
    time.sleep(0.01)
"""


def test_results_of_the_first_transaction_do_not_count() -> None:
    """Ten transactions of twenty results, one a second: twenty a second, not twenty-two."""
    written = [1_000_000 + 1000 * number + place for number in range(10) for place in range(20)]
    count, begun, ended = steady(written, 1_000_000)
    assert count == 180
    assert count / (ended - begun) == pytest.approx(20)


def test_results_before_the_moment_do_not_count() -> None:
    """What was written while the others still started is none of the turns'."""
    written = [1000 * number for number in range(10)]
    assert steady(written, 4500) == (4, 5.0, 9.0)


def test_too_few_results_are_no_rate() -> None:
    """One transaction has no time of its own."""
    with pytest.raises(SystemExit, match="20 results are too few"):
        steady(list(range(20)), 0)


def test_processes_run_in_their_turns_only(tmp_path: Path) -> None:
    """Each ticks within its spans, and what it has run is their sum."""
    logs = {name: tmp_path / name for name in ("one", "other")}
    processes = {name: subprocess.Popen([sys.executable, "-c", TICKING, log]) for name, log in logs.items()}
    try:
        while not all(log.exists() for log in logs.values()):
            time.sleep(0.01)
        with turns({name: process.pid for name, process in processes.items()}) as taken:
            begun = time.time()
            taken.take(2, 0.3)
            ended = time.time()
        assert sum(map(taken.run_s, logs)) <= ended - begun
        for name, log in logs.items():
            ticks = [float(line) for line in log.read_text().splitlines() if begun < float(line) < ended]
            assert ticks
            assert taken.run_s(name) > 0.59  # two turns, of which the clock may be corrected a little
            for tick in ticks:  # a tick that was taken before a stop may be written after it, but not read by the clock
                assert taken.run_s(name, tick - 0.02) < taken.run_s(name, tick + 0.02)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def test_a_process_that_has_ended_is_named() -> None:
    """Its turn cannot come."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(SystemExit, match="worker has ended"), turns({"worker": gone.pid}):
        pass
