"""The uptake at the terminal: whether anybody watches for a query, and why not."""

from __future__ import annotations

import fnmatch
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape

from infra.contracts import StandingQuery
from infra.errors import RegistryError
from infra.queries import QueryRegistry
from infra.reports import Reports, cameras_seen
from infra.uptake import Uptake, named, reasons, uptake

PATIENCE_S = 3.0
"""A worker that lives takes a change over within a second or so; one that hangs is not waited for."""
POLL_S = 0.1


def state_cell(query: StandingQuery, found: Uptake, *, now: datetime) -> str:
    """State of a query in a word or two, with markup: active is only what can raise an alert now."""
    if not query.enabled:
        return "[yellow]paused[/]"
    if found.refused:
        return "[red]partly refused[/]" if found.taken else "[red]refused[/]"
    if query.mode == "shadow":
        return "[yellow]shadow[/]"
    return "active" if is_on_duty(query, now) else "[yellow]off duty[/]"


def is_on_duty(query: StandingQuery, now: datetime) -> bool:
    """Whether the hours of its schedule, if it has one, let it raise alerts now."""
    return query.schedule is None or query.schedule.covers(now)


def duty_lines(query: StandingQuery, *, now: datetime) -> list[str]:
    """A line with its hours as they were read, and the zone that they are in; none for a query without a schedule."""
    if query.schedule is None:
        return []
    state = "on duty now" if is_on_duty(query, now) else "[yellow]off duty now[/]"
    if not query.enabled:
        state = "[yellow]paused[/]"
    return [f"on duty {query.schedule}; {state}"]


def unseen_lines(query: StandingQuery, reports: Reports) -> list[str]:
    """A line with markup for each camera pattern of the query that matches no camera of a running worker; none where
    the workers report no cameras at all."""
    seen = cameras_seen(reports)
    return [
        f"[yellow]no running worker has seen a camera that matches[/] {escape(pattern)}"
        for pattern in query.cameras
        if seen and not any(fnmatch.fnmatchcase(camera, pattern) for camera in seen)
    ]


def refusal_lines(query: StandingQuery, found: Uptake) -> list[str]:
    """A line with markup for each reason why a query is refused; none when it is not."""
    if found.taken:
        mark = f"PARTLY REFUSED, asked by {named(found.taken)}"
    else:
        mark = "REFUSED" if found.pending or found.untold else "REFUSED, nobody watches for it"
    about = f"[bold red]{escape(mark)}:[/] [bold]{escape(query.id)}[/] “{escape(query.text)}”"
    return [f"{about}; {escape(reason)}" for reason in reasons(found.refused)]


def tell_uptake(registry: QueryRegistry, query: StandingQuery, console: Console) -> None:
    """Says of a query that was just written when it is on duty, and what the running workers do with it: nothing of
    them when none runs or it is paused.

    Waits a moment for workers that run an older set.
    """
    for line in duty_lines(query, now=datetime.now(UTC)):
        console.print(line, highlight=False, soft_wrap=True)
    if not query.enabled:
        return
    try:
        found, reports = _settled(registry, query)
    except RegistryError as error:  # the query is written all the same
        console.print(f"whether the workers take it is not known: {escape(str(error))}", style="yellow", soft_wrap=True)
        return
    lines = refusal_lines(query, found)
    if lines:
        lines.append(f"write it in other words with `simvg query edit {query.id} --text …`")
    elif found.taken:
        lines.append(f"[green]taken[/] by {escape(named(found.taken))}")
        lines += [f"read as {escape(said)}" for said in found.readings]
    if found.pending:
        lines.append(f"[yellow]not taken over yet[/] by {escape(named(found.pending))}; see `simvg query list`")
    if found.untold:
        lines.append(f"[yellow]not known[/] whether it is asked by {escape(named(found.untold))}; see the log there")
    lines += unseen_lines(query, reports)
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _settled(registry: QueryRegistry, query: StandingQuery) -> tuple[Uptake, Reports]:
    """The uptake once no running worker is behind, or when patience ends, and the reports that tell it."""
    by = time.monotonic() + PATIENCE_S
    while True:
        reports = registry.reports()
        found = uptake(query, reports)
        if not found.pending or time.monotonic() >= by:
            return found, reports
        time.sleep(POLL_S)
