"""`simvg query …` says whether the running workers take a query, in a real Redis."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from infra import query_uptake
from infra.cost import Prices
from infra.errors import RegistryUnavailable
from infra.queries import QueryRegistry
from infra.reports import Load, WorkerReport
from tests.query_terminal import run

AHEAD = 99
"""A revision that no query here comes to, so that the report holds for each."""


def run_well(*arguments: str) -> str:
    """A refused query is no error of the command."""
    return run(*arguments, exit_code=0)


def rows(shown: str) -> dict[str, list[str]]:
    """Cells of the table by query id."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    return {row[0]: row for row in cells}


def test_without_workers_nothing_is_said(registry: QueryRegistry) -> None:
    """Nobody can be asked: the query goes in as before, and is not waited for."""
    added = run_well("add", "bolt")
    assert "added bolt" in added
    assert "taken" not in added and "REFUSED" not in added
    assert rows(run_well("list"))["bolt"][5] == "active"


def test_refused_query_is_kept_and_told(registry: QueryRegistry) -> None:
    """By adding, by each change of it, and by both forms of the list, with the reason as it is; not while paused."""
    reason = "the model does not know 'quux' [bold]"
    registry.report_worker("w0", WorkerReport.of(AHEAD, refused={"strange": reason}), 60)
    line = f"REFUSED, nobody watches for it: strange “quux”; the model of worker w0 cannot take it: {reason}"
    added = run_well("add", "quux", "--id", "strange")
    assert line in added and "simvg query edit strange --text" in added
    assert registry.get("strange").enabled
    assert "taken by worker w0" in run_well("add", "bolt")
    assert line in run_well("edit", "strange", "--threshold", "0.7")
    shown = run_well("list")
    assert line in shown and "worker w0: revision 99, has measured no cost; REFUSES 1 query" in shown
    assert (rows(shown)["strange"][5], rows(shown)["bolt"][5]) == ("refused", "active")
    told = {one["id"]: one["uptake"] for one in map(json.loads, run_well("list", "--json").splitlines())}
    assert told["strange"] == {"refused": {"w0": reason}, "taken": [], "pending": [], "untold": [], "readings": []}
    assert told["bolt"] == {"refused": {}, "taken": ["w0"], "pending": [], "untold": [], "readings": []}
    assert "REFUSED" not in run_well("pause", "strange")
    assert rows(run_well("list"))["strange"][5] == "paused"
    assert line in run_well("resume", "strange")


def test_an_operator_sees_how_a_text_was_read(registry: QueryRegistry) -> None:
    """When it is added and edited, and in the list for programs."""
    said = "the leftmost “cap [red]”, left of “gear”"
    registry.report_worker("w0", WorkerReport.of(AHEAD, refused={}, readings={"caps": said}), 60)
    for shown in (run_well("add", "leftmost cap", "--id", "caps"), run_well("edit", "caps", "--threshold", "0.7")):
        assert "taken by worker w0" in shown
        assert f"read as {said}" in shown
    assert "read as" not in run_well("add", "bolt")
    told = {one["id"]: one["uptake"]["readings"] for one in map(json.loads, run_well("list", "--json").splitlines())}
    assert told == {"caps": [said], "bolt": []}


def test_workers_that_differ_are_told_apart(registry: QueryRegistry) -> None:
    """Two models, of which one knows the words."""
    registry.report_worker("w0", WorkerReport.of(AHEAD, refused={"strange": "no"}), 60)
    registry.report_worker("w1", WorkerReport.of(AHEAD, refused={}), 60)
    assert "PARTLY REFUSED, asked by worker w1: strange “quux”; the model of worker w0 cannot take it: no" in run_well(
        "add", "quux", "--id", "strange"
    )
    assert rows(run_well("list"))["strange"][5] == "partly refused"


def test_what_workers_do_not_say_is_not_made_up(registry: QueryRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not take the change over in time, one of an older form, and one that refuses too many to name."""
    monkeypatch.setattr(query_uptake, "PATIENCE_S", 0.0)
    registry.report_worker("busy", WorkerReport.of(0, refused={"strange": "what it was before"}), 60)
    registry.report_worker("old", WorkerReport.of(AHEAD), 60)
    registry.report_worker(
        "overrun", WorkerReport.of(AHEAD, refused={f"a-{number:03}": "no" for number in range(102)}), 60
    )
    added = run_well("add", "quux", "--id", "strange")
    assert "not taken over yet by worker busy; see `simvg query list`" in added
    assert "not known whether it is asked by workers old, overrun" in added
    assert "taken by" not in added and "REFUSED" not in added
    assert "REFUSES 102 queries, 2 of them named in its log only" in run_well("list")


def test_registry_that_goes_away_leaves_the_query_written(
    registry: QueryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read of the workers afterwards is said, and is no failure of the addition."""
    read, answers = QueryRegistry.reports, iter((True, False))

    def reports(self: QueryRegistry) -> object:
        if not next(answers):
            raise RegistryUnavailable("Redis cannot be reached")
        return read(self)

    monkeypatch.setattr(QueryRegistry, "reports", reports)
    assert "whether the workers take it is not known: Redis cannot be reached" in run_well("add", "bolt")
    assert registry.get("bolt").text == "bolt"


def hours(*, begin_in_h: int) -> str:
    """Two hours of every day that began, or begin, so many hours from now."""
    begin = datetime.now(UTC) + timedelta(hours=begin_in_h)
    return f"{begin:%H:%M}-{begin + timedelta(hours=2):%H:%M}"


def test_what_cannot_raise_an_alert_now_is_not_called_active(registry: QueryRegistry) -> None:
    """A query in shadow mode, or outside its hours; inside them it is active. Its hours are said as they were read."""
    now, later = hours(begin_in_h=-1), hours(begin_in_h=5)
    run_well("add", "bolt", "--mode", "shadow")
    assert f"on duty mon,tue,wed,thu,fri,sat,sun {now} UTC; on duty now" in run_well("add", "nut", "--schedule", now)
    added = run_well("add", "cap", "--schedule", later)
    assert f"on duty mon,tue,wed,thu,fri,sat,sun {later} UTC; off duty now" in added
    states = {id: row[5] for id, row in rows(run_well("list")).items()}
    assert (states["bolt"], states["nut"], states["cap"]) == ("shadow", "active", "off duty")
    assert "Europe/Berlin" in run_well("edit", "bolt", "--schedule", "mon-fri 06:00-22:00 Europe/Berlin")
    registry.report_worker("w0", WorkerReport.of(AHEAD, refused={"bolt": "no"}), 60)
    assert rows(run_well("list"))["bolt"][5] == "refused"
    assert "on duty" not in run_well("edit", "bolt", "--schedule", "always")


def test_camera_that_no_worker_has_seen_is_told(registry: QueryRegistry) -> None:
    """By each pattern that matches none of the cameras that running workers report; not when they report none."""

    def report(**cameras: float) -> None:
        load = Load(prices=Prices(pass_s=0.001, pair_s=0.001), budget=0.9, cameras=cameras, cost=0.1, busy=0.1)
        registry.report_worker("w0", WorkerReport.of(AHEAD, load, refused={}), 60)

    report(lime=1.0)
    told = "no running worker has seen a camera that matches"
    assert told not in run_well("add", "bolt", "--camera", "li*")
    added = run_well("add", "nut", "--camera", "lime", "--camera", "line-[12]")
    assert f"{told} line-[12]\n" in added and f"{told} lime" not in added
    assert f"{told} lemon" in run_well("edit", "bolt", "--camera", "lemon")
    report()
    assert told not in run_well("edit", "bolt", "--camera", "lemons")
