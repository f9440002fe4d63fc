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
from typer.core import TyperGroup

from consumers.alerts import UnreadableAlert, read_alerts
from consumers.moments import shown
from infra.contracts import Alert, AlertState
from infra.errors import SettingsError
from infra.near import did_you_mean
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
        _refuse_options_before(context, context.invoked_subcommand)
        return
    settings = load(RoleSettings, flags={"kafka.bootstrap": kafka, "kafka.prefix": topic_prefix}, file=config)
    # The reader itself says what it cannot read; a log line besides would break JSON piped elsewhere.
    configure_logging(settings.telemetry.model_copy(update={"log_level": "ERROR"}), role="alerts")
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    def say(text: str) -> None:
        typer.echo(text, err=True)

    # A reading that was broken off is no list of what is kept: there Ctrl-C ends the command as it ends any other.
    before = signal.signal(signal.SIGINT, end) if follow else signal.getsignal(signal.SIGINT)
    try:
        found = read_alerts(
            settings.kafka, from_beginning=from_beginning or not follow, to_end=not follow, stop=stop, say=say
        )
        chosen = Chosen(camera, query)
        wanted = filter(chosen.takes, found)
        rows = wanted if follow else iter(sorted(wanted, key=_time))
        console = Console()
        nothing = True
        for one in rows:
            nothing = False
            _show_json(one) if as_json else console.print(alert_line(one), highlight=False, soft_wrap=True)
        if nothing and not as_json and not follow:
            console.print(escape(chosen.nothing()), highlight=False, soft_wrap=True)
    finally:
        signal.signal(signal.SIGINT, before)


def _refuse_options_before(context: typer.Context, name: str) -> None:
    """Options in front of a subcommand's name would say nothing to it, also not which plant is meant."""
    given = [option for option in context.command.params if option.name and _is_given(context, option.name)]
    if not given:
        return
    assert isinstance(context.command, TyperGroup)  # else there is no subcommand
    called = context.command.get_command(context, name)
    taken = {option.opts[0] for option in called.params} if called is not None else set()
    first = given[0].opts[0]
    remedy = f"write {first} behind {name!r}" if first in taken else f"{name!r} takes no {first}: leave it away"
    raise SettingsError(f"{first} stands in front of {name!r} and would say nothing to it; {remedy}")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


class Chosen:
    """Which alerts are wanted, and how many there were to choose from."""

    def __init__(self, camera: str | None, query: str | None) -> None:
        self._camera = camera
        self._query = query
        self._ids: set[str] = set()
        self.any = False
        self._cameras: set[str] = set()
        self._queries: set[str] = set()

    def takes(self, one: Alert | UnreadableAlert) -> bool:
        if isinstance(one, UnreadableAlert):
            return True
        self._ids.add(one.id)
        self._cameras.add(one.camera)
        self._queries.add(one.query.id)
        wanted = self._camera in (None, one.camera) and self._query in (None, one.query.id)
        self.any |= wanted
        return wanted

    def nothing(self) -> str:
        """Why none is shown, in words."""
        if not self._ids:
            return "no alerts are kept"
        wanted = [
            f"of {kind} {word!r}{did_you_mean(word, known)}"
            for kind, word, known in (("camera", self._camera, self._cameras), ("query", self._query, self._queries))
            if word is not None
        ]
        return f"none of the {len(self._ids)} alerts kept is {' and '.join(wanted)}"


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
        f"{shown(one.timeline[-1].at)} [{colour}]{one.state:<12}[/] {escape(one.camera)} “{escape(one.query.text)}” "
        f"{one.severity} [dim]{escape(one.id)}[/] {escape(one.reason)}{silent}"
    )
