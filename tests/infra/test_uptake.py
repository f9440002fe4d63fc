"""What the reports of running workers say of a query."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infra.contracts import StandingQuery
from infra.reports import WorkerReport
from infra.uptake import Uptake, reasons, uptake

MADE = datetime(2026, 1, 1, tzinfo=UTC)
QUERY = StandingQuery(id="q", text="quux", revision=5, created=MADE, changed=MADE)


def test_nobody_runs() -> None:
    """Without workers nobody says anything."""
    assert uptake(QUERY, {}) == Uptake(refused={})


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (WorkerReport.of(5, refused={}), Uptake(refused={}, taken=("w0",))),
        (WorkerReport.of(7, refused={"q": "no"}), Uptake(refused={"w0": "no"})),
        (WorkerReport.of(7, refused={"other": "no"}), Uptake(refused={}, taken=("w0",))),
        (WorkerReport.of(4, refused={"q": "no"}), Uptake(refused={}, pending=("w0",))),
        (WorkerReport.of(5), Uptake(refused={}, untold=("w0",))),
        (WorkerReport(revision=5, refused={"a": "no"}, refused_more=1), Uptake(refused={}, untold=("w0",))),
    ],
    ids=["taken", "refused", "another refused", "former words refused", "older worker", "more than named"],
)
def test_one_worker(report: WorkerReport, expected: Uptake) -> None:
    """What a worker refuses counts for the words it has seen; what it does not say is not made up."""
    assert uptake(QUERY, {"w0": report}) == expected


def test_what_models_take_it_to_say_is_told_once() -> None:
    """Of the workers that ask it as it is now; one that asks it as it stands has nothing to tell."""
    reports = {
        "w0": WorkerReport.of(5, refused={}, readings={"q": "“cap”, left of “gear”", "other": "“nut”, on the left"}),
        "w1": WorkerReport.of(5, refused={}, readings={"q": "“cap”, left of “gear”"}),
        "w2": WorkerReport.of(5, refused={}),
        "w3": WorkerReport.of(4, refused={}, readings={"q": "“cap”, above “gear”"}),
    }
    assert uptake(QUERY, reports).readings == ("“cap”, left of “gear”",)


def test_paused_query_is_nobodys() -> None:
    """It is neither asked nor refused."""
    paused = QUERY.model_copy(update={"enabled": False})
    assert uptake(paused, {"w0": WorkerReport.of(7, refused={"q": "no"})}) == Uptake(refused={})


def test_workers_with_one_reason_are_named_together() -> None:
    """Ten workers with one model say it once."""
    assert reasons({}) == []
    assert reasons({"w0": "no", "w1": "never", "w2": "no"}) == [
        "the model of workers w0, w2 cannot take it: no",
        "the model of worker w1 cannot take it: never",
    ]
