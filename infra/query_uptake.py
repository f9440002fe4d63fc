"""The uptake at the terminal: whether anybody watches for a query, and why not."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape

from infra.contracts import StandingQuery
from infra.errors import RegistryError
from infra.queries import QueryRegistry
from infra.uptake import Uptake, named, reasons, uptake

PATIENCE_S = 3.0
"""A worker that lives takes a change over within a second or so; one that hangs is not waited for."""
POLL_S = 0.1


def state_cell(query: StandingQuery, found: Uptake) -> str:
    """State of a query in one word, with markup."""
    if not query.enabled:
        return "[yellow]paused[/]"
    if not found.refused:
        return "active"
    return "[red]partly refused[/]" if found.taken else "[red]refused[/]"


def refusal_lines(query: StandingQuery, found: Uptake) -> list[str]:
    """A line with markup for each reason why a query is refused; none when it is not."""
    if found.taken:
        mark = f"PARTLY REFUSED, asked by {named(found.taken)}"
    else:
        mark = "REFUSED" if found.pending or found.untold else "REFUSED, nobody watches for it"
    about = f"[bold red]{escape(mark)}:[/] [bold]{escape(query.id)}[/] “{escape(query.text)}”"
    return [f"{about}; {escape(reason)}" for reason in reasons(found.refused)]


def tell_uptake(registry: QueryRegistry, query: StandingQuery, console: Console) -> None:
    """Says what the running workers do with a query that was just written; nothing when none runs or it is paused.

    Waits a moment for workers that run an older set.
    """
    if not query.enabled:
        return
    try:
        found = _settled(registry, query)
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
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _settled(registry: QueryRegistry, query: StandingQuery) -> Uptake:
    """The uptake once no running worker is behind, or when patience ends."""
    by = time.monotonic() + PATIENCE_S
    while True:
        found = uptake(query, registry.reports())
        if not found.pending or time.monotonic() >= by:
            return found
        time.sleep(POLL_S)
