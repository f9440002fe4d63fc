"""When a run of the demo is a pass, and what is told of it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from consumers.demo.plan import DemoQuery
from consumers.demo.score import QueryScore
from consumers.demo.summary import Summary, show
from consumers.demo.truth import Target

QUERY = DemoQuery("q", "missing bolt", 0.8, "3 frames", "5 frames", Target(("missing_bolt",)))


def summary(**changed: Any) -> Summary:
    """A run that passes, changed."""
    run: dict[str, Any] = {
        "seconds": 60.0, "frames_in": 600, "scored": 600, "skipped": {}, "rejected": 0, "dropped": {}, "alerts": 5,
        "unreadable": {}, "faults": {}, "latencies_s": [0.1] * 5, "played_frames": 300, "clip_frames": 300,
        "scores": {"q": QueryScore(episodes=5, found=5)},
    }  # fmt: skip
    return Summary(**(run | changed))


def told(run: Summary) -> str:
    console = Console(file=io.StringIO(), width=140)
    show(run, [QUERY], console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def test_a_run_whose_alerts_match_passes() -> None:
    """Without a failure it says so."""
    assert summary().failures == []
    assert "The alerts match the ground truth." in told(summary())


@pytest.mark.parametrize(
    ("changed", "failure"),
    [
        ({"scored": 0}, "no frame was scored"),
        ({"scores": {"q": QueryScore()}}, "too little of the clip"),
        ({"scores": {"q": QueryScore(episodes=5, found=4, late=1)}}, "q: 4 of 5 episodes found within 1 s, 1 late"),
        ({"scores": {"q": QueryScore(episodes=5, found=5, false_alerts=2)}}, "q: 2 false alerts"),
        ({"latencies_s": [1.5]}, "p99 1500 ms is over 1000 ms"),
        (
            {"unreadable": {"alerts": 2}, "faults": {"alerts": "score: Input should be less"}},
            "alerts: 2 messages could not be read, the first one for score: Input should be less",
        ),
    ],
    ids=["nothing scored", "too short", "missed", "false", "slow", "unreadable"],
)
def test_each_failure_is_named(changed: dict[str, Any], failure: str) -> None:
    """One fault, one sentence, and no word of a match."""
    run = summary(**changed)
    assert len(run.failures) == 1 and failure in run.failures[0]
    assert "The demo failed:" in told(run) and "match the ground truth" not in told(run)


def test_messages_that_could_not_be_read_have_a_row() -> None:
    """Their number, by topic."""
    run = summary(unreadable={"alerts": 2, "detections": 1}, faults={"alerts": "x", "detections": "y"})
    row = next(line for line in told(run).splitlines() if "messages not readable" in line)
    assert "3 (alerts 2, detections 1)" in row
