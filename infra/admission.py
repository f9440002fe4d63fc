"""Whether the workers that run now have time for a set of standing queries. Pure.

The cost is predicted from what the workers measured (`infra/cost.py`), per worker with its own cameras, for a camera's
frames are scored by one worker. Cameras of which no frames came in the last minute are unknown, and cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from infra.contracts import StandingQuery
from infra.cost import cost, demand_of
from infra.errors import OverBudget
from infra.reports import Load, Reports

SLACK = 1e-9
"""A change that makes the set no dearer is taken in, whatever the set costs; so far equal costs may differ."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a change of the set means for one worker; ``before``, ``after`` and ``budget`` are shares of its time."""

    worker: str
    before: float
    after: float
    budget: float
    load: Load

    @property
    def over(self) -> bool:
        """Whether the change makes a set dearer that the worker then has no time for."""
        return self.after > self.budget and self.after > self.before + SLACK

    def __str__(self) -> str:
        prices = self.load.prices
        rates = ", ".join(f"{camera} {fps:.3g}/s" for camera, fps in sorted(self.load.cameras.items())[:4])
        more = len(self.load.cameras) - 4
        return (
            f"worker {self.worker}: {self.before:.2f} now, {self.after:.2f} with it, budget {self.budget:.2f} of its "
            f"time (measured: {prices.pass_s * 1e3:.3g} ms a view, {prices.pair_s * 1e3:.3g} ms a query and view, "
            f"{prices.frame_s * 1e3:.3g} ms a frame; "
            f"{rates or 'no camera'}{f' and {more} more' if more > 0 else ''})"
        )


def predicted_cost(queries: Iterable[StandingQuery], load: Load) -> float:
    """What a set of queries costs a worker with its cameras, every query being asked as often as it should be."""
    asked, total = list(queries), 0.0
    for camera, fps in load.cameras.items():
        demand = demand_of(query for query in asked if query.watches(camera))
        total += cost(demand, fps if load.rate is None else min(fps, load.rate), load.prices)
    return total


def forecast(before: Iterable[StandingQuery], after: Iterable[StandingQuery], reports: Reports) -> list[Forecast]:
    """What a change means for each worker that has measured itself, by worker id."""
    old, new = list(before), list(after)
    return [
        Forecast(
            worker, predicted_cost(old, report.load), predicted_cost(new, report.load), report.load.budget, report.load
        )
        for worker, report in sorted(reports.items())
        if report.load is not None
    ]


def replaced(queries: Iterable[StandingQuery], query: StandingQuery) -> list[StandingQuery]:
    """The set with this query in place of the one with its id."""
    return [other for other in queries if other.id != query.id] + [query]


def refusal(query: StandingQuery, forecasts: Iterable[Forecast]) -> OverBudget | None:
    """The error with the numbers and the remedies, when a worker would have no time for the query."""
    over = [one for one in forecasts if one.over]
    if not over:
        return None
    return OverBudget(
        f"query {query.id!r} costs more than {'a worker has' if len(over) == 1 else f'{len(over)} workers have'} time "
        f"for: {'; '.join(map(str, over))}. Lower its --rate, cut fewer --tiles, name fewer cameras, start another "
        "worker, or take it in anyway with --force: then queries of lower severity are looked at less often"
    )
