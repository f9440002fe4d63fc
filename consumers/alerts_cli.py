"""`simvg alerts`: alerts at a terminal, for people or as JSON lines; what people do to them is in `actions_cli`."""

from __future__ import annotations

import json
import signal
import threading
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from consumers.alerts import UnreadableAlert, read_alerts
from infra.contracts import Alert, AlertState
from infra.options import ConfigFile, Kafka, Prefix
from infra.settings import RoleSettings, load
from infra.telemetry import configure_logging

app = typer.Typer()

_COLOURS = {
    AlertState.RAISED: "bold red",
    AlertState.ACKNOWLEDGED: "yellow",
    AlertState.CLEARED: "green",
    AlertState.CLOSED: "dim",
}


@app.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, as in the topic.")] = False,
    camera: Annotated[str | None, typer.Option("--camera", help="Of this camera only.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="Of this query id only.")] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="With --follow: first all that are kept.")
    ] = False,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    config: ConfigFile = None,
) -> None:
    """Shows alerts: every transition (raised, cleared, closed), with score, reason and frame.

    Without --follow: all that are kept, in the order of their times. A message that is no alert is shown as such.

    Examples: simvg alerts --follow · simvg alerts --json --camera line-1 | jq .reason
    """
    if context.invoked_subcommand is not None:
        return
    settings = load(RoleSettings, flags={"kafka.bootstrap": kafka, "kafka.prefix": topic_prefix}, file=config)
    # The reader itself says what it cannot read; a log line besides would break JSON piped elsewhere.
    configure_logging(settings.telemetry.model_copy(update={"log_level": "ERROR"}), role="alerts")
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGINT, end)
    try:
        found = read_alerts(settings.kafka, from_beginning=from_beginning or not follow, to_end=not follow, stop=stop)
        wanted = (one for one in found if _wanted(one, camera, query))
        rows = wanted if follow else iter(sorted(wanted, key=_time))
        console = Console()
        nothing = True
        for one in rows:
            nothing = False
            _show_json(one) if as_json else console.print(alert_line(one), highlight=False, soft_wrap=True)
        if nothing and not as_json and not follow:
            console.print("no alerts are kept")
    finally:
        signal.signal(signal.SIGINT, before)


def _wanted(one: Alert | UnreadableAlert, camera: str | None, query: str | None) -> bool:
    if isinstance(one, UnreadableAlert):
        return True
    return camera in (None, one.camera) and query in (None, one.query.id)


def _time(one: Alert | UnreadableAlert) -> str:
    """Unreadable messages last."""
    return one.timeline[-1].at.isoformat() if isinstance(one, Alert) else "~"


def _show_json(one: Alert | UnreadableAlert) -> None:
    if isinstance(one, Alert):
        typer.echo(one.model_dump_json())
    else:
        typer.echo(json.dumps({"unreadable": one.fault, "at": one.place.model_dump()}))


def alert_line(one: Alert | UnreadableAlert) -> str:
    """One transition on one line, which a narrow terminal wraps and a wide one does not."""
    if isinstance(one, UnreadableAlert):
        place = f"{one.place.topic} {one.place.partition}:{one.place.offset}"
        return f"[magenta]unreadable[/] {escape(place)} {escape(one.fault)}"
    colour = _COLOURS[one.state]
    silent = " [dim](shelved)[/]" if one.suppressed else ""
    return (
        f"{one.timeline[-1].at:%H:%M:%S} [{colour}]{one.state:<12}[/] {escape(one.camera)} “{escape(one.query.text)}” "
        f"{one.severity} [dim]{one.id}[/] {escape(one.reason)}{silent}"
    )
