"""The live table of the demo, drawn with rich from the board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from consumers.demo.board import Board
from consumers.demo.plan import DemoQuery
from consumers.demo.score import percentile
from infra.contracts import Alert, AlertState, QueryResult, State

ALERT_ROWS = 8
STATE_STYLE = {
    AlertState.RAISED: "bold red",
    AlertState.ACKNOWLEDGED: "yellow",
    AlertState.CLEARED: "green",
    AlertState.CLOSED: "dim",
}


@dataclass(slots=True)
class Step:
    """One step of the set-up, as shown above the table."""

    name: str
    state: str = "waiting"
    note: str = ""


@dataclass(slots=True)
class CameraStatus:
    """What a camera's own metrics say."""

    source: str
    published: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    up: bool = False


def steps_table(steps: Sequence[Step]) -> RenderableType:
    """Progress of the set-up."""
    marks = {"waiting": "[dim]·[/]", "running": "[yellow]…[/]", "done": "[green]✓[/]", "failed": "[red]✗[/]"}
    table = Table.grid(padding=(0, 1))
    for step in steps:
        table.add_row(marks[step.state], step.name, f"[dim]{step.note}[/]")
    return table


def cameras_table(board: Board, cameras: Mapping[str, CameraStatus], skipped: Mapping[str, int], now: float) -> Table:
    """Cameras: what they publish, what was scored and how fast."""
    table = Table(title="Cameras", title_justify="left", expand=True)
    for name in ("camera", "source", "published", "dropped", "scored", "skipped", "frames/s"):
        table.add_column(name, justify="left" if name in ("camera", "source") else "right", no_wrap=True)
    for camera, status in cameras.items():
        seen = board.cameras.get(camera)
        table.add_row(
            f"[green]●[/] {camera}" if status.up else f"[red]●[/] {camera}",
            status.source,
            str(status.published),
            str(sum(status.dropped.values())),
            str(seen.scored if seen else 0),
            str(skipped.get(camera, 0)),
            f"{seen.rate(now):.1f}" if seen else "0.0",
        )
    return table


def stages_table(board: Board) -> Table:
    """Median time per stage and from capture to result."""
    table = Table(title="Stages (median)", title_justify="left", expand=True)
    table.add_column("stage")
    table.add_column("ms", justify="right")
    for stage, ms in board.median_stages().items():
        table.add_row(stage, f"{ms:.1f}")
    latest = board.detection_latencies_s[-200:]
    for share in (0.5, 0.99):
        value = percentile(latest, share)
        table.add_row(f"capture → result p{share * 100:.0f}", f"{value * 1000:.0f}" if value is not None else "–")
    return table


def _cell(result: QueryResult | None, threshold: float) -> Text:
    if result is None:
        return Text("–", style="dim")
    if result.state is State.UNKNOWN or result.score is None:
        return Text("unknown", style="yellow")
    return Text(f"{result.score:.2f}", style="bold red" if result.score >= threshold else "green")


def queries_table(board: Board, queries: Sequence[DemoQuery], cameras: Sequence[str]) -> Table:
    """Standing queries with their last score at each camera."""
    table = Table(title="Standing queries", title_justify="left", expand=True)
    table.add_column("query")
    table.add_column("raises at", justify="right")
    for camera in cameras:
        table.add_column(camera, justify="right")
    for query in queries:
        cells = [
            _cell(board.cameras[c].results.get(query.id) if c in board.cameras else None, query.threshold)
            for c in cameras
        ]
        table.add_row(query.text, f"{query.threshold:.2f}", *cells)
    return table


def alerts_table(board: Board) -> Table:
    """The latest alerts, newest first."""
    table = Table(title=f"Alerts ({len(board.alerts)})", title_justify="left", expand=True)
    for name in ("raised", "camera", "query", "state", "score", "after capture", "reason"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1 if name == "reason" else None)
    rows = sorted(board.alerts.values(), key=lambda row: row.alert.raised_at, reverse=True)
    for row in rows[:ALERT_ROWS]:
        alert: Alert = row.alert
        table.add_row(
            alert.raised_at.astimezone().strftime("%H:%M:%S"),
            alert.camera,
            alert.query.text,
            Text(alert.state, style=STATE_STYLE[alert.state]),
            f"{alert.score:.2f}",
            f"{row.latency_s * 1000:.0f} ms",
            alert.reason,
        )
    return table


def screen(
    board: Board,
    *,
    steps: Sequence[Step],
    cameras: Mapping[str, CameraStatus],
    skipped: Mapping[str, int],
    queries: Sequence[DemoQuery],
    now: float,
    left: str,
) -> RenderableType:
    """The whole screen. Until the set-up is done only its steps are shown."""
    if any(step.state != "done" for step in steps):
        return Panel(steps_table(steps), title="SimVG Line: starting", title_align="left")
    middle = Table.grid(expand=True, padding=(0, 1))
    middle.add_column(ratio=3)
    middle.add_column(ratio=2)
    middle.add_row(queries_table(board, queries, list(cameras)), stages_table(board))
    return Panel(
        Group(cameras_table(board, cameras, skipped, now), middle, alerts_table(board)),
        title=f"SimVG Line: {left}",
        title_align="left",
        subtitle="Ctrl-C stops everything",
    )
