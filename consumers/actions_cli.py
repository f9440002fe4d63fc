"""`simvg alerts ack | shelve | unshelve | verdict | comment`: what an operator does to an alert, at a terminal."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from consumers.actions import new_action, publish_action
from consumers.alerts import read_alerts, whole_id
from consumers.alerts_cli import app as app
from consumers.moments import shown
from consumers.targets import query_shelved, require_known
from infra.contracts import MAX_SHELF, ActionKind, Alert, AlertState, Box, OperatorAction
from infra.errors import BadOperatorAction
from infra.options import ConfigFile, Kafka, Prefix, RedisUrl
from infra.settings import KafkaSettings, RoleSettings, load

console = Console()

AlertId = Annotated[str, typer.Argument(help="Id of the alert, or how it begins, as `simvg alerts` shows it.")]
OptionalAlertId = Annotated[
    str | None, typer.Argument(help="Id of the alert, or how it begins; or give --query instead.")
]
Query = Annotated[str | None, typer.Option("--query", help="All alerts of this query id, open and to come.")]
OpenOfQuery = Annotated[str | None, typer.Option("--query", help="All alerts of this query id that are open now.")]
Camera = Annotated[str | None, typer.Option("--camera", help="With --query: at this camera only.")]
By = Annotated[str | None, typer.Option("--by", help="Who does it; default: the login name.")]
Force = Annotated[bool, typer.Option("--force", help="Also for a query or a camera that is not known (yet).")]
Comment = Annotated[str | None, typer.Option("--comment", help="Why, in words; kept with the alert.")]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600}


@app.command("ack")
def acknowledge(
    alert: OptionalAlertId = None, query: OpenOfQuery = None, camera: Camera = None, by: By = None,
    comment: Comment = None, force: Force = False, kafka: Kafka = None, topic_prefix: Prefix = None,
    redis: RedisUrl = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Acknowledges an alert: somebody has seen it and takes care. A latched one that has cleared is closed.

    Example: simvg alerts ack a-3f61 --by mia
    """
    where = _settings(kafka, topic_prefix, redis, config)
    _act(ActionKind.ACKNOWLEDGE, alert, query, camera, by, comment, where, force=force)


@app.command("shelve")
def shelve(
    alert: OptionalAlertId = None, query: Query = None, camera: Camera = None,
    span: Annotated[
        str | None,
        typer.Option("--for", help="How long: '30m', '2h', 24h at most; default: until it has cleared once."),
    ] = None,
    by: By = None, comment: Comment = None, force: Force = False,
    kafka: Kafka = None, topic_prefix: Prefix = None, redis: RedisUrl = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Takes an alert, or a query's alarms, out of annunciation for a while: shown as shelved, without its action.

    Example: simvg alerts shelve --query missing-bolt --camera line-1 --for 30m --comment 'bolts being refilled'
    """
    lasts = None if span is None else parse_span(span)
    where = _settings(kafka, topic_prefix, redis, config)
    _act(ActionKind.SHELVE, alert, query, camera, by, comment, where, force=force, span=lasts)


@app.command("unshelve")
def unshelve(
    alert: OptionalAlertId = None, query: Query = None, camera: Camera = None, by: By = None, comment: Comment = None,
    force: Force = False, kafka: Kafka = None, topic_prefix: Prefix = None, redis: RedisUrl = None,
    config: ConfigFile = None,
) -> None:  # fmt: skip
    """Ends a shelving before its time; what is still true calls for its action again.

    Example: simvg alerts unshelve --query missing-bolt
    """
    where = _settings(kafka, topic_prefix, redis, config)
    _act(ActionKind.UNSHELVE, alert, query, camera, by, comment, where, force=force)


@app.command("verdict")
def verdict(
    alert: AlertId,
    said: Annotated[str, typer.Argument(metavar="VERDICT", help="true, false or unsure.")],
    box: Annotated[
        list[str] | None,
        typer.Option(
            "--box",
            help="Where on the alert's picture (`simvg evidence`) what the query names really is: 'x0,y0,x1,y1' in "
            "0..1 of the frame's width and height; once for every such place.",
        ),
    ] = None,
    by: By = None, comment: Comment = None,
    kafka: Kafka = None, topic_prefix: Prefix = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Says whether an alert was right; kept for a year, to train by (`simvg alerts collect`). The last verdict counts.

    Of a query that expects to see something, true means that it is not there.

    Examples: simvg alerts verdict a-3f61 false --comment glare ·
    simvg alerts verdict a-3f61 true --box 0.41,0.52,0.45,0.58
    """
    boxes = None if not box else tuple(_box(text) for text in box)
    where = _settings(kafka, topic_prefix, None, config)
    _act(ActionKind.VERDICT, alert, None, None, by, comment, where, verdict=said.lower(), boxes=boxes)


@app.command("comment")
def comment_on(
    alert: AlertId, words: Annotated[str, typer.Argument(help="What to keep with the alert.")], by: By = None,
    kafka: Kafka = None, topic_prefix: Prefix = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Adds words to an alert's story.

    Example: simvg alerts comment a-3f61 'lamp replaced'
    """
    _act(ActionKind.COMMENT, alert, None, None, by, words, _settings(kafka, topic_prefix, None, config))


def parse_span(text: str) -> timedelta:
    """``"30m"`` → half an hour. Raises BadOperatorAction naming the text and the form it should have."""
    match = _SPAN.fullmatch(text.strip())
    if not match:
        raise BadOperatorAction(f"--for {text!r} is no span of time; write '45s', '30m' or '2h'")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= MAX_SHELF.total_seconds():
        raise BadOperatorAction(f"--for {text!r} is not within 24 hours; `simvg query pause` stops a query for longer")
    return timedelta(seconds=seconds)


def find_alert(kafka: KafkaSettings, begin: str) -> Alert:
    """The one alert whose id begins so, as it stands now. Raises UnknownAlert if none or several do."""
    found: dict[str, Alert] = {}
    for one in read_alerts(kafka, from_beginning=True, to_end=True, client_id="simvg-operator"):
        if isinstance(one, Alert) and one.id.startswith(begin):
            found[one.id] = one
    return found[whole_id(begin, found)]


def _settings(kafka: str | None, topic_prefix: str | None, redis: str | None, config: Path | None) -> RoleSettings:
    flags = {"kafka.bootstrap": kafka, "kafka.prefix": topic_prefix, "redis.url": redis}
    return load(RoleSettings, flags=flags, file=config)


def _act(
    kind: ActionKind, alert: str | None, query: str | None, camera: str | None, by: str | None, comment: str | None,
    settings: RoleSettings, *, force: bool = False, span: timedelta | None = None, **facts: object,
) -> None:  # fmt: skip
    if (alert is None) == (query is None):
        raise BadOperatorAction("say what it is about: the id of an alert, or --query with the id of a query; not both")
    about = None if alert is None else find_alert(settings.kafka, alert)
    now = datetime.now(UTC)
    action = new_action(
        kind, by=by, comment=comment, at=now, alert_id=None if about is None else about.id, query_id=query,
        camera=camera, until=None if span is None else now + span, **facts,
    )  # fmt: skip
    if query is not None and not force:
        require_known(settings, query, camera)
    shelved = None
    if kind is ActionKind.UNSHELVE and about is not None:
        shelved = query_shelved(settings.kafka, about, at=now)
    publish_action(settings.kafka, action)
    _confirm(action, about)
    if shelved is not None and about is not None:
        until, who = shelved
        console.print(
            f"[yellow]its query stays shelved until {shown(until)} (by {escape(who)})[/]: `simvg alerts unshelve "
            f"--query {about.query.id} --camera {about.camera}` ends that",
            highlight=False,
            soft_wrap=True,
        )


def _confirm(action: OperatorAction, about: Alert | None) -> None:
    """Says what was done to what, and whether it changes anything."""
    if about is None:
        where = "at all cameras" if action.camera is None else f"at camera {action.camera}"
        name = f"query [bold]{action.query_id}[/] {where}"
    else:
        name = f"[bold]{escape(about.id)}[/] “{escape(about.query.text)}” {about.camera}"
    until = f" until {shown(action.until)}" if action.until is not None else ""
    console.print(f"{action.kind}{until}: {name}, by {escape(action.by)}", highlight=False, soft_wrap=True)
    if about is None or about.state is not AlertState.CLOSED:
        return
    if action.kind in (ActionKind.ACKNOWLEDGE, ActionKind.SHELVE):
        told = "the alert is closed already: nothing is left to do"
    else:
        told = f"kept; the alert is closed, its timeline does not change: `simvg why {about.id}` shows it"
    console.print(f"[yellow]{escape(told)}[/]", highlight=False, soft_wrap=True)


def _box(text: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise BadOperatorAction(f"--box {text!r}: write four numbers in 0..1, 'x0,y0,x1,y1'") from error
    return x0, y0, x1, y1
