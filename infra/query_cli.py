"""`simvg query …`: the standing queries in the registry, for operators at a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.contracts import CAMERA_BLIND, Delay, StandingQuery
from infra.errors import BadQuery
from infra.options import ConfigFile, RedisUrl
from infra.queries import QueryRegistry, parse_query
from infra.query_budget import workers_lines, write_admitted
from infra.query_uptake import refusal_lines, state_cell, tell_uptake
from infra.reports import Reports
from infra.schedule import Schedule
from infra.settings import RoleSettings, load
from infra.uptake import uptake

app = typer.Typer(no_args_is_help=True, help="Standing queries: what is watched on every frame, until you remove it.")
console = Console()

NO_REALARM = "never"
NO_SCHEDULE = "always"

QueryId = Annotated[str, typer.Argument(help="Id of the query, as `simvg query list` shows it.")]
Cameras = Annotated[list[str] | None, typer.Option("--camera", help="Camera id or glob such as 'line-*'; repeatable.")]
Region = Annotated[str | None, typer.Option("--region", help="Part of the frame: 'x0,y0,x1,y1' in 0..1.")]
Tiles = Annotated[str | None, typer.Option("--tiles", help="Columns x rows cut over the region, e.g. '2x2'.")]
Expect = Annotated[str | None, typer.Option("--expect", help="absent: alarm when seen (default); present: when not.")]
Threshold = Annotated[float | None, typer.Option("--threshold", help="Score at which the alarm condition begins.")]
Clear = Annotated[float | None, typer.Option("--clear-threshold", help="Score under which the condition ends.")]
OnDelay = Annotated[str | None, typer.Option("--on-delay", help="How long before raising: '3' frames or '1.5s'.")]
OffDelay = Annotated[str | None, typer.Option("--off-delay", help="How long before clearing: '5' frames or '2s'.")]
SeverityOption = Annotated[str | None, typer.Option("--severity", help="low, medium, high or critical.")]
ActionOption = Annotated[str | None, typer.Option("--action", help="none, notify or stop.")]
Mode = Annotated[
    str | None, typer.Option("--mode", help="live (default), or shadow: judged and counted, not published.")
]
Episodes = Annotated[
    str | None, typer.Option("--episodes", help="object (default): an alert per object in view; query: one for all.")
]
ObjectSize = Annotated[
    float | None, typer.Option("--object-size", help="Share of the frame that one object (a plate) spans; 0.35.")
]
Latch = Annotated[
    bool | None, typer.Option("--latch/--no-latch", help="A cleared alert stays open until it is acknowledged.")
]
Realarm = Annotated[
    str | None, typer.Option("--realarm", help="Raise again what is still true after '60s', '10m'; 'never' ends that.")
]
ScheduleOption = Annotated[
    str | None,
    typer.Option("--schedule", help="Hours of duty: 'mon-fri 06:00-22:00 Europe/Berlin'; 'always' ends that."),
]
Rate = Annotated[float | None, typer.Option("--rate", help="Frames per second to score at most.")]
Author = Annotated[str | None, typer.Option("--author", help="Who asks; kept with the query.")]
Force = Annotated[
    bool, typer.Option("--force", help="Take it in though it costs more than a worker has time for; kept with it.")
]


@contextmanager
def _registry(config: Path | None, redis: str | None) -> Iterator[QueryRegistry]:
    registry = QueryRegistry(load(RoleSettings, flags={"redis.url": redis}, file=config).redis)
    try:
        yield registry
    finally:
        registry.close()


def _parsed(name: str, text: str | None, parse: Callable[[str], Any]) -> Any:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise BadQuery(f"--{name} {text!r}: {error}") from error


def _region(text: str) -> tuple[float, ...]:
    parts = tuple(float(part) for part in text.split(","))
    if len(parts) != 4:
        raise ValueError("write four numbers in 0..1: 'x0,y0,x1,y1'")
    return parts


def _tiles(text: str) -> tuple[int, int]:
    columns, cross, rows = text.partition("x")
    if not (cross and columns.isdigit() and rows.isdigit()):
        raise ValueError("write columns x rows, e.g. '2x2'")
    return int(columns), int(rows)


def _realarm(text: str) -> float | None:
    if text == NO_REALARM:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)\s*", text)
    if not match:
        raise ValueError("write a span such as '60s', '10m' or '1h', or 'never'")
    return float(match[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[match[2]]


def query_changes(
    *,
    text: str | None = None,
    camera: list[str] | None = None,
    region: str | None = None,
    tiles: str | None = None,
    expect: str | None = None,
    threshold: float | None = None,
    clear_threshold: float | None = None,
    on_delay: str | None = None,
    off_delay: str | None = None,
    severity: str | None = None,
    action: str | None = None,
    rate: float | None = None,
    author: str | None = None,
    mode: str | None = None,
    episodes: str | None = None,
    object_size: float | None = None,
    latch: bool | None = None,
    realarm: str | None = None,
    schedule: str | None = None,
) -> dict[str, Any]:
    """Flags as an operator writes them → fields of a standing query; flags not given are left out.

    Raises BadQuery naming the flag, the value and the form it should have.
    """
    changes = {
        "text": text,
        "cameras": tuple(camera) if camera else None,
        "region": _parsed("region", region, _region),
        "tiles": _parsed("tiles", tiles, _tiles),
        "expect": expect,
        "raise_threshold": threshold,
        "clear_threshold": clear_threshold,
        "on_delay": _parsed("on-delay", on_delay, Delay.parse),
        "off_delay": _parsed("off-delay", off_delay, Delay.parse),
        "severity": severity,
        "action": action,
        "rate": rate,
        "author": author,
        "mode": mode,
        "episodes": episodes,
        "object_size": object_size,
        "latch": latch,
        "realarm_interval": _parsed("realarm", realarm, _realarm),
        "schedule": _parsed("schedule", schedule, Schedule.parse) if schedule != NO_SCHEDULE else None,
    }
    ended = {"realarm_interval"} if realarm == NO_REALARM else set()
    ended |= {"schedule"} if schedule == NO_SCHEDULE else set()
    return {key: value for key, value in changes.items() if value is not None or key in ended}


def new_query(identifier: str | None, changes: dict[str, Any]) -> StandingQuery:
    """A query as it is first added; without an id one is made from its text (``"missing bolt"`` → ``missing-bolt``).

    Raises BadQuery naming each wrong field and its value.
    """
    now = datetime.now(UTC)
    if identifier == CAMERA_BLIND:
        raise BadQuery(
            f"id {identifier!r} belongs to the system's own alarm of a camera that sees nothing; choose another"
        )
    slug = re.sub(r"[^a-z0-9]+", "-", str(changes.get("text", "")).lower()).strip("-")[:48].strip("-")
    return parse_query({"id": identifier or slug or "query", "created": now, "changed": now, **changes})


LEAST_WIDTHS = {"id": 12, "text": 10, "cameras": 7}
"""Columns that may take several lines, and what the others leave them in a terminal of 80."""


def queries_table(queries: list[StandingQuery], revision: int, reports: Reports) -> Table:
    """The registry as a table; its states are those of now, refusals as the running workers report them."""
    now = datetime.now(UTC)
    table = Table(title=f"Standing queries (revision {revision})", title_justify="left", pad_edge=False)
    for column in ("id", "text", "cameras", "raise/clear", "on/off", "state", "rev"):
        least = LEAST_WIDTHS.get(column)
        table.add_column(column, no_wrap=least is None, overflow="fold", min_width=least)
    for query in queries:
        table.add_row(
            query.id,
            escape(query.text),
            escape(" ".join(query.cameras)),
            f"{query.raise_threshold:.2f}/{query.clears_below:.2f}",
            "/".join(str(delay).replace(" frames", "f") for delay in (query.on_delay, query.off_delay)),
            state_cell(query, uptake(query, reports), now=now),
            str(query.revision),
        )
    return table


@app.command("add")
def add(
    text: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    identifier: Annotated[
        str | None, typer.Option("--id", help="Id of the query; default: made from the text.")
    ] = None,
    camera: Cameras = None,
    region: Region = None,
    tiles: Tiles = None,
    expect: Expect = None,
    threshold: Threshold = None,
    clear_threshold: Clear = None,
    on_delay: OnDelay = None,
    off_delay: OffDelay = None,
    severity: SeverityOption = None,
    action: ActionOption = None,
    rate: Rate = None,
    mode: Mode = None,
    episodes: Episodes = None,
    object_size: ObjectSize = None,
    latch: Latch = None,
    realarm: Realarm = None,
    schedule: ScheduleOption = None,
    author: Author = None,
    force: Force = False,
    config: ConfigFile = None,
    redis: RedisUrl = None,
) -> None:
    """Adds a standing query; every worker takes it up within seconds, without a restart.

    Refused, with the numbers, when it would cost a running worker more than it has time for. Says when the model of a
    running worker cannot take it, and why: then it is kept, and not watched.

    Example: simvg query add "missing bolt" --camera 'line-*' --threshold 0.8 --on-delay 3
    """
    changes = query_changes(
        text=text, camera=camera, region=region, tiles=tiles, expect=expect, threshold=threshold,
        clear_threshold=clear_threshold, on_delay=on_delay, off_delay=off_delay, severity=severity, action=action,
        rate=rate, author=author, mode=mode, episodes=episodes, object_size=object_size, latch=latch, realarm=realarm,
        schedule=schedule,
    )  # fmt: skip
    with _registry(config, redis) as registry:
        query = new_query(identifier, changes)

        def write(forced: str | None, set_revision: int) -> StandingQuery:
            return registry.add(query.model_copy(update={"forced": forced}), set_revision=set_revision)

        added = write_admitted(registry, query, write, force=force, console=console)
        told = f"added [bold]{added.id}[/] “{escape(added.text)}” for {escape(' '.join(added.cameras))}"
        console.print(told, highlight=False, soft_wrap=True)
        tell_uptake(registry, added, console)


@app.command("list")
def list_queries(
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of a table.")] = False,
    config: ConfigFile = None,
    redis: RedisUrl = None,
) -> None:
    """Lists the standing queries, why a running worker's model cannot take one, and what the workers have time for.
    Names stored queries that cannot be read, with what is wrong; with --json to standard error.

    Example: simvg query list
    """
    with _registry(config, redis) as registry:
        snapshot, reports = registry.snapshot(), registry.reports()
    if as_json:
        for query in snapshot.queries:
            told = query.model_dump(mode="json") | {"uptake": asdict(uptake(query, reports))}
            typer.echo(json.dumps(told, ensure_ascii=False))
        for broken in snapshot.broken:
            typer.echo(broken.fault, err=True)
    else:
        console.print(queries_table(list(snapshot.queries), snapshot.revision, reports))
        lines = [line for query in snapshot.queries for line in refusal_lines(query, uptake(query, reports))]
        mark = "[bold red]BROKEN, nobody watches for it:[/]"
        lines += [f"{mark} {escape(broken.fault)}" for broken in snapshot.broken]
        for line in [*lines, *workers_lines(reports)]:
            console.print(line, highlight=False, soft_wrap=True)


@app.command("show")
def show(query_id: QueryId, config: ConfigFile = None, redis: RedisUrl = None) -> None:
    """Shows one query with all its fields, as JSON.

    Example: simvg query show missing-bolt
    """
    with _registry(config, redis) as registry:
        typer.echo(json.dumps(registry.get(query_id).model_dump(mode="json"), indent=2))


@app.command("edit")
def edit(
    query_id: QueryId,
    text: Annotated[str | None, typer.Option("--text", help="New words.")] = None,
    camera: Cameras = None,
    region: Region = None,
    tiles: Tiles = None,
    expect: Expect = None,
    threshold: Threshold = None,
    clear_threshold: Clear = None,
    on_delay: OnDelay = None,
    off_delay: OffDelay = None,
    severity: SeverityOption = None,
    action: ActionOption = None,
    rate: Rate = None,
    mode: Mode = None,
    episodes: Episodes = None,
    object_size: ObjectSize = None,
    latch: Latch = None,
    realarm: Realarm = None,
    schedule: ScheduleOption = None,
    author: Author = None,
    revision: Annotated[
        int | None,
        typer.Option("--revision", help="Refuse unless the query is at this revision; default: its present one."),
    ] = None,
    force: Force = False,
    config: ConfigFile = None,
    redis: RedisUrl = None,
) -> None:
    """Changes fields of a query, and closes its open alerts; a change that somebody else made meanwhile is never
    overwritten. What is so already changes nothing.

    Refused, with the numbers, when it would then cost a running worker more than it has time for. Says when the model
    of a running worker cannot take it.

    Example: simvg query edit missing-bolt --threshold 0.85
    """
    changes = query_changes(
        text=text, camera=camera, region=region, tiles=tiles, expect=expect, threshold=threshold,
        clear_threshold=clear_threshold, on_delay=on_delay, off_delay=off_delay, severity=severity, action=action,
        rate=rate, author=author, mode=mode, episodes=episodes, object_size=object_size, latch=latch, realarm=realarm,
        schedule=schedule,
    )  # fmt: skip
    if not changes:
        raise BadQuery(f"nothing to change in {query_id!r}: give at least one field, e.g. --threshold 0.8")
    with _registry(config, redis) as registry:
        _change(registry, query_id, revision, changes, "changed", force=force)


def _change(
    registry: QueryRegistry, query_id: str, revision: int | None, changes: dict[str, Any], done: str, *, force: bool
) -> None:
    current = registry.get(query_id)
    wanted = parse_query(current.model_dump() | changes)
    if wanted == current and revision in (None, current.revision):  # a new revision would close its open alerts
        told = f"[bold]{current.id}[/] “{escape(current.text)}” is so already: it stays at revision {current.revision}"
        console.print(told, highlight=False, soft_wrap=True)
        return
    expected = revision if revision is not None else current.revision

    def write(forced: str | None, set_revision: int | None) -> StandingQuery:
        return registry.update(query_id, expected, changes | {"forced": forced}, set_revision=set_revision)

    if wanted.enabled:
        changed = write_admitted(registry, wanted, write, force=force, console=console)
    else:
        changed = write(current.forced, None)
    told = f"{done} [bold]{changed.id}[/] “{escape(changed.text)}”, now revision {changed.revision}"
    console.print(told, highlight=False, soft_wrap=True)
    tell_uptake(registry, changed, console)


@app.command("pause")
def pause(query_id: QueryId, config: ConfigFile = None, redis: RedisUrl = None) -> None:
    """Stops watching a query without removing it; a raised alert of it is closed.

    Example: simvg query pause missing-bolt
    """
    with _registry(config, redis) as registry:
        _change(registry, query_id, None, {"enabled": False}, "paused", force=False)


@app.command("resume")
def resume(query_id: QueryId, force: Force = False, config: ConfigFile = None, redis: RedisUrl = None) -> None:
    """Watches a paused query again. Refused, with the numbers, when a running worker has no time for it.

    Example: simvg query resume missing-bolt
    """
    with _registry(config, redis) as registry:
        _change(registry, query_id, None, {"enabled": True}, "resumed", force=force)


@app.command("rm")
def remove(query_id: QueryId, config: ConfigFile = None, redis: RedisUrl = None) -> None:
    """Removes a query, also one that cannot be read any more; a raised alert of it is closed.

    Example: simvg query rm missing-bolt
    """
    with _registry(config, redis) as registry:
        try:
            revision = registry.get(query_id).revision
        except BadQuery:  # nobody can have changed what nobody can read
            revision = None
        registry.remove(query_id, revision)
    console.print(f"removed [bold]{escape(query_id)}[/]", highlight=False)
