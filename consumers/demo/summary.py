"""The summary at the end of a demo, and whether it passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from consumers.demo.plan import DemoQuery
from consumers.demo.score import MAX_DELAY_S, MAX_FALSE_ALERTS, MIN_RECALL, QueryScore, percentile

MAX_LATENCY_P99_S = 1.0


@dataclass(slots=True)
class Summary:
    """What one demo run did; times in seconds. ``unreadable`` counts messages by topic, ``faults`` say why the first of
    each was none."""

    seconds: float
    frames_in: int
    scored: int
    skipped: Mapping[str, int]
    rejected: int
    dropped: Mapping[str, int]
    alerts: int
    unreadable: Mapping[str, int]
    faults: Mapping[str, str]
    latencies_s: Sequence[float]
    played_frames: int
    clip_frames: int
    scores: Mapping[str, QueryScore] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Why the run is no pass, in words; empty for a pass."""
        failures = []
        if self.scored == 0:
            failures.append("no frame was scored")
        if not any(score.episodes for score in self.scores.values()):
            failures.append("too little of the clip was played to hold one whole episode; run longer")
        for topic, count in sorted(self.unreadable.items()):
            failures.append(f"{topic}: {count} messages could not be read, the first one for {self.faults[topic]}")
        for query, score in self.scores.items():
            if score.recall < MIN_RECALL:
                late = f", {score.late} late" if score.late else ""
                failures.append(
                    f"{query}: {score.found} of {score.episodes} episodes found within {MAX_DELAY_S:g} s{late}"
                )
            if score.false_alerts > MAX_FALSE_ALERTS:
                failures.append(f"{query}: {score.false_alerts} false alerts, at most {MAX_FALSE_ALERTS} is allowed")
        p99 = percentile(self.latencies_s, 0.99)
        if p99 is not None and p99 > MAX_LATENCY_P99_S:
            failures.append(f"capture → alert p99 {p99 * 1000:.0f} ms is over {MAX_LATENCY_P99_S * 1000:.0f} ms")
        return failures


def show(summary: Summary, queries: Sequence[DemoQuery], console: Console) -> None:
    """Prints the summary as two tables and a verdict."""
    table = Table(title="Summary", title_justify="left", show_header=False)
    p50, p99 = (percentile(summary.latencies_s, share) for share in (0.5, 0.99))
    rows = [
        ("frames in", str(summary.frames_in)),
        ("scored", str(summary.scored)),
        ("skipped", _reasons(summary.skipped)),
        ("rejected", str(summary.rejected)),
        ("dropped at the cameras", _reasons(summary.dropped)),
        ("alerts", str(summary.alerts)),
        ("messages not readable", _reasons(summary.unreadable)),
        (
            "capture → alert p50 / p99",
            "no alert" if p50 is None or p99 is None else f"{p50 * 1e3:.0f} / {p99 * 1e3:.0f} ms",
        ),
        (
            "clip played",
            f"{summary.played_frames} frames of a clip of {summary.clip_frames}, in {summary.seconds:.0f} s",
        ),
    ]
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)
    scored = Table(title="Alerts of the clip against its ground truth", title_justify="left")
    for column in ("query", "episodes", "found ≤ 1 s", "late", "false alerts", "median delay", ""):
        scored.add_column(column)
    for query in queries:
        score = summary.scores[query.id]
        delay = percentile(score.delays_s, 0.5)
        scored.add_row(
            query.text,
            str(score.episodes),
            str(score.found),
            str(score.late),
            str(score.false_alerts),
            "–" if delay is None else f"{delay:.1f} s",
            "[green]✓[/]" if score.passed else "[red]✗[/]",
        )
    console.print(scored)
    failures = summary.failures
    if failures:
        console.print("[bold red]The demo failed:[/]")
        for failure in failures:
            console.print(f"  [red]✗[/] {failure}", highlight=False)
    else:
        console.print("[bold green]The alerts match the ground truth.[/]")


def _reasons(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    named = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()) if count)
    return f"{total} ({named})" if named else str(total)
