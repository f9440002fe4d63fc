"""The budget at the terminal: a query that no worker has time for is not written, unless it is forced."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape

from infra.admission import forecast, refusal, replaced
from infra.contracts import Severity, StandingQuery
from infra.queries import QueryRegistry
from infra.reports import Reports, WorkerReport


def admit(registry: QueryRegistry, query: StandingQuery, *, force: bool, console: Console) -> str | None:
    """Checks the set as it would be with this query against what the running workers measured of themselves.

    Returns what is to be kept with the query: the numbers over which it was forced, None when there is time for it, or
    when no worker has measured itself, which is said. Raises OverBudget.
    """
    queries = registry.snapshot().queries
    forecasts = forecast(queries, replaced(queries, query), registry.reports())
    if not forecasts:
        console.print(
            "no worker has reported what it has time for: the cost of the query is not checked",
            style="yellow",
            soft_wrap=True,
        )
        return None
    if not any(one.load.cameras for one in forecasts):
        told = "no worker has seen a camera of late: the cost of the query is not checked"
        console.print(told, style="yellow", soft_wrap=True)
    refused = refusal(query, forecasts)
    if refused is None:
        return query.forced if any(one.after > one.budget for one in forecasts) else None
    if not force:
        raise refused
    numbers = "; ".join(str(one) for one in forecasts if one.over)
    console.print(f"taken in over the budget: {escape(numbers)}", style="yellow", highlight=False, soft_wrap=True)
    return numbers


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
