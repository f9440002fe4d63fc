"""What a worker tells the registry of itself: the queries that run there, what they cost, and which it cannot take."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pydantic import ConfigDict, Field

from infra.contracts import Contract, Severity
from infra.cost import Prices

logger = logging.getLogger(__name__)

NAMED = 100
"""Queries that a report names, refused or read in parts, of however many."""
REASON_CHARACTERS = 300
"""A longer reason is cut; a report is written every few seconds."""


class Load(Contract):
    """How much a worker can do, and how much it is asked to do. Measured by the worker; times are shares of its own."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer worker may say more

    prices: Prices
    budget: float = Field(gt=0, description="share of the worker's time that queries may cost")
    cameras: dict[str, float] = Field(description="frames per second of each camera seen in the last minute")
    rate: float | None = Field(default=None, gt=0, description="frames per second that the worker scores at most")
    cost: float = Field(ge=0, description="what its queries cost when each is asked as often as it should be")
    busy: float = Field(ge=0, description="share of its time that it really worked of late")
    sampling: dict[Severity, float] = Field(
        default_factory=dict, description="severities that are looked at less often now, and the share of looks left"
    )


class WorkerReport(Contract):
    """Value of `P:workers:ID`. Of workers of an older form only the revision is known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    revision: int = Field(ge=0, description="revision of the query set that the worker runs")
    load: Load | None = None
    refused: dict[str, str] | None = Field(
        default=None,
        description="why its model cannot take a query, by query id, the first ones; None: an older worker, not saying",
    )
    refused_more: int = Field(default=0, ge=0, description="queries besides that its model cannot take")
    readings: dict[str, str] = Field(
        default_factory=dict,
        description="what its model takes a query to say that is asked in parts, by query id, the first ones",
    )

    @classmethod
    def of(
        cls,
        revision: int,
        load: Load | None = None,
        refused: Mapping[str, str] | None = None,
        readings: Mapping[str, str] | None = None,
    ) -> WorkerReport:
        """A report of bounded size, whatever the number of queries and the length of the reasons."""
        named = None if refused is None else _first(refused)
        return cls(
            revision=revision,
            load=load,
            refused=named,
            refused_more=len(refused or ()) - len(named or ()),
            readings=_first(readings or {}),
        )

    @classmethod
    def read(cls, worker: str, value: bytes) -> WorkerReport | None:
        """A report as it is stored; a bare number is one of the older form. None, and a warning: it is none at all."""
        try:
            return cls(revision=int(value)) if value.strip().isdigit() else cls.model_validate_json(value)
        except ValueError as error:  # also a number of thousands of digits
            logger.warning("report of a worker cannot be read: %s", error, extra={"worker": worker})
            return None


def _first(told: Mapping[str, str]) -> dict[str, str]:
    return {query: _cut(words) for query, words in sorted(told.items())[:NAMED]}


def _cut(reason: str) -> str:
    return reason if len(reason) <= REASON_CHARACTERS else reason[: REASON_CHARACTERS - 1] + "…"


Reports = Mapping[str, WorkerReport]


def cameras_seen(reports: Reports) -> set[str]:
    """The cameras that running workers have frames of, as far as they tell."""
    return {camera for report in reports.values() if report.load is not None for camera in report.load.cameras}
