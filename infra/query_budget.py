"""The budget at the terminal: a query that no worker has time for is not written, unless it is forced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from infra.admission import Forecast, forecast, refusal, replaced
from infra.contracts import Severity, StandingQuery
from infra.errors import QuerySetChanged, RegistryError
from infra.queries import QueryRegistry
from infra.reports import Reports, WorkerReport

_ATTEMPTS = 50  # of so many operators, or calls of a script, at once each comes through

Write = Callable[[str | None, int], StandingQuery]


def write_admitted(
    registry: QueryRegistry, query: StandingQuery, write: Write, *, force: bool, console: Console
) -> StandingQuery:
    """Checks the set as it would be with this query against what the running workers measured of themselves, and writes
    the query if there is time for it, or with ``force``. Returns what ``write`` returns.

    ``write(forced, set_revision)``: ``forced`` is what is to be kept with the query: the numbers over which it was
    forced, None when there is time for it, or when no worker has measured itself, which is said. It raises
    QuerySetChanged when the set is no more at ``set_revision``: then the set is checked anew, so that of several
    operators none finds room that another has just taken. Raises OverBudget, RegistryError.
    """
    for _ in range(_ATTEMPTS):
        found = registry.snapshot()
        forecasts = forecast(found.queries, replaced(found.queries, query), registry.reports())
        refused = refusal(query, forecasts)
        if refused is not None and not force:
            raise refused
        numbers = "; ".join(str(one) for one in forecasts if one.over)
        kept = query.forced if any(one.after > one.budget for one in forecasts) else None
        try:
            written = write(numbers or kept, found.revision)
        except QuerySetChanged:
            continue
        _tell(forecasts, numbers, console)
        return written
    raise RegistryError(f"the registry at {registry.address} changes too fast to write query {query.id!r}; try again")


def _tell(forecasts: Sequence[Forecast], numbers: str, console: Console) -> None:
    """Says what was not checked, and what was not heeded."""
    if not forecasts:
        console.print(
            "no worker has reported what it has time for: the cost of the query is not checked",
            style="yellow",
            soft_wrap=True,
        )
    elif not any(one.load.cameras for one in forecasts):
        told = "no worker has seen a camera of late: the cost of the query is not checked"
        console.print(told, style="yellow", soft_wrap=True)
    if numbers:
        console.print(f"taken in over the budget: {escape(numbers)}", style="yellow", highlight=False, soft_wrap=True)


def workers_lines(reports: Reports) -> list[str]:
    """A line for each running worker: what it runs, what that costs, how much its model cannot take, and what is looked
    at less often."""
    if not reports:
        return ["[bold red]no worker has reported of late:[/] while none runs, nobody watches for any of these"]
    lines = []
    for worker, report in sorted(reports.items()):
        line = f"worker {worker}: revision {report.revision}"
        if report.load is None:
            lines.append(f"{line}, has measured no cost{_refused(report)}")
            continue
        load, prices = report.load, report.load.prices
        line += (
            f", cost {load.cost:.2f} of budget {load.budget:.2f}, busy {load.busy:.2f}, {len(load.cameras)} cameras, "
            f"{prices.pass_s * 1e3:.3g} ms a view, {prices.pair_s * 1e3:.3g} ms a query and view, "
            f"{prices.frame_s * 1e3:.3g} ms a frame"
        )
        lines.append(line + _refused(report) + _sampled(load.sampling))
    return lines


def _refused(report: WorkerReport) -> str:
    count = len(report.refused or ()) + report.refused_more
    if not count:
        return ""
    more = f", {report.refused_more} of them named in its log only" if report.refused_more else ""
    return f"; REFUSES {count} quer{'y' if count == 1 else 'ies'}{more}"


def _sampled(sampling: Mapping[Severity, float]) -> str:
    if not sampling:
        return ""
    kept = (f"{severity} {'not at all' if not share else f'at {share:.3g}'}" for severity, share in sampling.items())
    return f"; OVERLOADED, looks at queries of severity {', '.join(kept)}"
