"""`simvg query …` against what running workers measured, in a real Redis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from infra import query_cli
from infra.cost import Prices
from infra.errors import OverBudget
from infra.queries import QueryRegistry
from infra.query_cli import new_query
from infra.reports import Load, Reports, WorkerReport
from infra.settings import RedisSettings
from infra.values import Box
from tests.query_terminal import run

LOAD = Load(
    prices=Prices(pass_s=0.02, pair_s=0.001),
    budget=0.9,
    cameras={"line-1": 10.0, "line-2": 10.0},
    cost=0.4,
    busy=0.38,
    sampling={"low": 0.25, "medium": 0.0},
)


def test_without_a_report_the_cost_is_not_checked_and_that_is_said(registry: QueryRegistry) -> None:
    """No worker, or one of an older form: the query goes in, and the operator knows that nobody counted."""
    assert "not checked" in run("add", "bolt", "--tiles", "8x8")
    assert registry.get("bolt").forced is None


def test_a_query_over_the_budget_is_refused_and_nothing_is_written(registry: QueryRegistry) -> None:
    """One fits; tiles that are too many do not, by adding, editing or resuming, and the numbers are told."""
    registry.report_worker("w0", WorkerReport.of(1, LOAD), 60)
    assert "not checked" not in run("add", "bolt")
    numbers = r"worker w0: 0\.42 now, 13\.86 with it, budget 0\.90"
    with pytest.raises(OverBudget, match=numbers):
        run("add", "screw", "--tiles", "8x4", "--region", "0,0,1,0.9")
    with pytest.raises(OverBudget, match=r"0\.42 now, 1\.68 with it"):
        run("edit", "bolt", "--tiles", "2x2")
    assert [(query.id, query.tiles) for query in registry.list()] == [("bolt", (1, 1))]
    run("pause", "bolt")
    run("edit", "bolt", "--tiles", "2x2")
    with pytest.raises(OverBudget):
        run("resume", "bolt")


def test_what_is_said_of_workers_is_one_line_and_once(
    registry: QueryRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also in a narrow terminal, and where a program reads it; there is no log line that says it again."""
    monkeypatch.setattr(query_cli.console, "_width", 80)
    assert "the cost of the query is not checked\n" in run("add", "bolt")
    registry.report_worker("w0", WorkerReport.of(1, LOAD), 60)
    told = run("edit", "bolt", "--tiles", "2x2", "--force")
    assert told.count("0.42 now, 1.68 with it, budget 0.90 of its time (measured: 20 ms a view, 1 ms a query") == 1
    assert not caplog.records
    (line,) = [one for one in run("list").splitlines() if one.startswith("worker w0")]
    assert line.endswith("OVERLOADED, looks at queries of severity low at 0.25, medium not at all")


def test_a_list_without_a_worker_says_that_nobody_watches(registry: QueryRegistry) -> None:
    """Queries are active, and that alone would look as if all was well."""
    run("add", "bolt")
    assert "no worker has reported of late: while none runs, nobody watches" in run("list")
    registry.report_worker("w0", WorkerReport.of(1, LOAD), 60)
    assert "nobody watches" not in run("list")


def test_forced_is_taken_in_and_recorded(registry: QueryRegistry) -> None:
    """--force keeps the numbers with the query until the set fits again."""
    registry.report_worker("w0", WorkerReport.of(1, LOAD), 60)
    assert "taken in over the budget" in run("add", "bolt", "--tiles", "2x2", "--force")
    forced = registry.get("bolt").forced
    assert forced is not None and "1.68 with it, budget 0.90" in forced
    run("edit", "bolt", "--threshold", "0.7")
    assert registry.get("bolt").forced == forced
    run("edit", "bolt", "--rate", "1")
    assert registry.get("bolt").forced is None


@pytest.fixture
def write_meanwhile(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has another operator add a query between the next check and the writing that follows it."""

    def prepare(text: str, region: Box) -> None:
        asked, others = QueryRegistry.reports, [new_query(None, {"text": text, "region": region})]

        def meanwhile(self: QueryRegistry) -> Reports:
            while others:
                other = QueryRegistry(redis_settings)
                other.add(others.pop())
                other.close()
            return asked(self)

        monkeypatch.setattr(QueryRegistry, "reports", meanwhile)

    return prepare


TOP = ("--region", "0,0,1,0.5")


@pytest.mark.parametrize("command", [("add", "screw", *TOP), ("resume", "paused")], ids=lambda command: command[0])
def test_of_two_operators_at_once_one_finds_the_room_taken(
    registry: QueryRegistry, write_meanwhile: Callable[..., None], command: tuple[str, ...]
) -> None:
    """There is time for one view more: a query that is written between another's check and its writing takes it."""
    run("add", "bolt")
    run("add", "nut", "--id", "paused", *TOP)
    run("pause", "paused")
    registry.report_worker("w0", WorkerReport.of(1, LOAD), 60)
    write_meanwhile("washer", (0.5, 0.0, 1.0, 1.0))
    with pytest.raises(OverBudget, match=r"worker w0: 0\.84 now, 1\.26 with it, budget 0\.90"):
        run(*command)
    assert [query.id for query in registry.list() if query.enabled] == ["bolt", "washer"]


def test_of_two_operators_at_once_both_are_served_when_there_is_room(
    registry: QueryRegistry, write_meanwhile: Callable[..., None]
) -> None:
    """The set is checked anew with what was written meanwhile, and nobody is told of it."""
    run("add", "bolt")
    registry.report_worker("w0", WorkerReport.of(1, LOAD), 60)
    write_meanwhile("washer", (0.0, 0.0, 1.0, 1.0))
    assert "added screw" in run("add", "screw", *TOP)
    assert [query.id for query in registry.list()] == ["bolt", "screw", "washer"]


def test_list_shows_what_workers_have_time_for(registry: QueryRegistry, redis_settings: RedisSettings) -> None:
    """Cost, budget and what is looked at less often, by worker; a worker of an older form has its revision."""
    registry.report_worker("w0", WorkerReport.of(7, LOAD), 60)
    client = redis.Redis.from_url(redis_settings.url)
    client.set(f"{redis_settings.prefix}:workers:old", 5, ex=60)
    client.set(f"{redis_settings.prefix}:workers:strange", "{", ex=60)
    client.close()
    shown = run("list")
    costs = "20 ms a view, 1 ms a query and view, 0 ms a frame"
    assert f"worker w0: revision 7, cost 0.40 of budget 0.90, busy 0.38, 2 cameras, {costs}" in shown
    assert "OVERLOADED, looks at queries of severity low at 0.25, medium not at all" in shown
    assert "worker old: revision 5, has measured no cost" in shown
    assert registry.workers() == {"w0": 7, "old": 5}
    assert registry.reports()["old"] == WorkerReport(revision=5)
