"""Whether the running workers take a standing query: what their model cannot take is kept, and not watched. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.contracts import StandingQuery
from infra.reports import Reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptake:
    """What the running workers say of a query at its present revision. Nothing of a paused one.

    Attributes:
        refused: By worker, why its model cannot take the query.
        taken: Workers that ask it.
        pending: Workers that run an older set of queries.
        untold: Workers that do not say: of an older form, or with more refused queries than a report names.
        readings: What the models of those that ask it in parts take it to say, each once.
    """

    refused: Mapping[str, str]
    taken: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()


def uptake(query: StandingQuery, reports: Reports) -> Uptake:
    """What the workers' reports say of a query."""
    refused: dict[str, str] = {}
    taken: list[str] = []
    pending: list[str] = []
    untold: list[str] = []
    readings: dict[str, None] = {}
    for worker, report in sorted(reports.items() if query.enabled else ()):
        if report.refused is None:
            untold.append(worker)
        elif report.revision < query.revision:  # what it refuses may be the query as it was before
            pending.append(worker)
        elif query.id in report.refused:
            refused[worker] = report.refused[query.id]
        else:
            (untold if report.refused_more else taken).append(worker)
            if query.id in report.readings:
                readings[report.readings[query.id]] = None
    return Uptake(
        refused=refused,
        taken=tuple(taken),
        pending=tuple(pending),
        untold=tuple(untold),
        readings=tuple(readings),
    )


def reasons(refused: Mapping[str, str]) -> list[str]:
    """A phrase for each reason why a query is refused, with the workers whose reason it is."""
    workers: dict[str, list[str]] = {}
    for worker, reason in refused.items():
        workers.setdefault(reason, []).append(worker)
    return [f"the model of {named(names)} cannot take it: {reason}" for reason, names in workers.items()]


def named(workers: Sequence[str]) -> str:
    """Some workers in words."""
    return f"worker{'s' if len(workers) > 1 else ''} {', '.join(workers)}"
