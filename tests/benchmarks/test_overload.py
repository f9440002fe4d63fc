"""What the overload benchmark calls a miss of its target."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from benchmarks.overload import Result, faults, limit_ms, main

CALM = Result(0.8, latencies=[500.0] * 99 + [800.0], batch_ms=90.0)
LOADED = Result(2.7, latencies=[500.0] * 99 + [700.0], batch_ms=250.0, shed={"low": 0.9, "critical": 0.0})


def test_target_is_kept_when_critical_alerts_come_as_without_load() -> None:
    """However much of the others is left out; at the limit it is kept."""
    assert faults(CALM, LOADED) == []
    limit = limit_ms(CALM, LOADED)
    assert limit == pytest.approx(1.25 * CALM.late_ms(99) + 250.0)
    assert faults(CALM, replace(LOADED, latencies=[limit] * 100)) == []


@pytest.mark.parametrize(
    ("loaded", "words"),
    [
        (replace(LOADED, latencies=[900.0] * 100), "p99 at 3x is 900 ms, over the limit of 879 ms (503 ms at 1x)"),
        (replace(LOADED, missed=2), "2 events gave no alert at 3x"),
        (replace(LOADED, shed={"critical": 0.02}), "2.0 % of the critical query's looks were left out"),
        (Result(2.7), "no alert was seen"),
    ],
    ids=["late", "missed", "left-out", "nothing"],
)
def test_each_miss_is_said(loaded: Result, words: str) -> None:
    """With the figure and its limit."""
    (fault,) = faults(CALM, loaded)
    assert words in fault


def test_alert_missed_without_load_is_a_miss_too() -> None:
    """A baseline that loses alerts is no measure for anything."""
    assert faults(replace(CALM, missed=1), LOADED) == ["1 events gave no alert at 1x"]


@pytest.mark.parametrize("words", [["--seconds", "6"], ["--seconds", "0"], ["--warm", "3"]])
def test_events_are_not_cut_off(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is in view for too short a time would be told as missed."""
    monkeypatch.setattr(sys, "argv", ["overload.py", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"{' '.join(words)} is no multiple of 4 s" in capsys.readouterr().err
