"""A worker's watch over itself, on a clock of the test's own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest

from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from consumers.grounding.ledger import Ledger
from consumers.grounding.overload import Overload
from consumers.grounding.settings import Freshness
from infra.contracts import Severity, State
from tests.consumers.grounding.colour import ColourEngine
from tests.consumers.grounding.test_mailbox import frame
from tests.consumers.grounding.test_plan import plan, query

SECOND = 1_000_000_000
START = 1_764_000_000 * SECOND


def freshness(camera: str) -> Freshness:
    return "every" if camera.startswith("every") else "latest"


class Dear(ColourEngine):
    """Takes any text, each of which costs a millisecond of a view; its gate looks from 64 texts on."""

    gate_texts = 64

    def compile(self, texts: Sequence[str]) -> Mapping[str, str]:
        return {}

    def ground(self, views: Sequence[Pixels], texts: Sequence[Mapping[str, float]]) -> list[dict[str, Finding]]:
        time.sleep(0.001 * sum(map(len, texts)))
        return [{text: Finding(State.ABSENT, 0.1) for text in words} for words in texts]


class Plant:
    """A worker that gets 10 frames a second of each camera and needs 100 ms for each view of each."""

    def __init__(self, budget: float | None = 0.9, engine: ColourEngine | None = None) -> None:
        self.now, self.ledger, self.stalled, self.number = START, Ledger(), False, 0
        self.watch = Overload(
            engine or ColourEngine(),
            self.ledger,
            budget=budget,
            batch=1,
            rate=None,
            freshness_of=freshness,
            stalled=lambda: self.stalled,
            clock_ns=lambda: self.now,
        )
        self.plan = plan(
            query("stop", severity="critical", cameras=("line-1", "every-1")),
            query("look", "green", severity="low", region=(0.0, 0.0, 0.5, 1.0), tiles=(2, 2)),
        )
        self.watch.adopt(self.plan)

    def second(self) -> None:
        """One second in which the worker never waits, and half of the frames give way to newer ones."""
        for number in range(10):
            for camera in ("line-1", "every-1"):
                self.number += 1
                place = (0, self.number)
                come = frame(camera, self.number)
                header = come.header.model_copy(update={"captured_ns": self.now + number})
                self.watch.seen(type(come)(header, come.place, b"", self.now))
                self.ledger.fetched(camera, place)
                if number % 2 and camera == "line-1":
                    self.ledger.skipped(camera, place, "behind")
                else:
                    self.ledger.scored(camera, place)
        self.watch.begin(START)
        self.now += SECOND
        self.watch.end(START, 2, 10, 10)
        self.watch.step()


def test_an_overloaded_worker_samples_low_queries_of_cameras_under_latest_only() -> None:
    """The critical query is always asked, and under `every` all of them; the report says what is left out and why."""
    plant = Plant()
    due = frozenset({"stop", "look"})
    for _ in range(6):
        plant.second()
    assert set(plant.watch.sampling) == {Severity.LOW}
    asked = [plant.watch.keep(frame("line-1", n), plant.plan, due) for n in range(32)]
    assert all("stop" in kept for kept in asked) and not all("look" in kept for kept in asked)
    assert all(plant.watch.keep(frame("every-1", n), plant.plan, due) == due for n in range(32))
    load = plant.watch.load()
    assert load is not None and load.cost > load.budget and load.busy == 1.0
    assert load.cameras.keys() == {"line-1", "every-1"} and load.sampling == dict(plant.watch.sampling)


def test_what_calibration_found_of_a_query_is_not_forgotten_with_the_first_batch() -> None:
    """Else more queries would seem to cost nothing, and none would ever be refused."""
    plant = Plant(engine=Dear())
    plant.watch.calibrate()
    for _ in range(3):
        plant.second()
    load = plant.watch.load()
    assert load is not None and load.prices.pair_s > 0.0005


def test_what_the_gate_answers_costs_nothing() -> None:
    """A thousand queries of which it lets a twentieth pass are no thousand."""
    plant = Plant(engine=Dear())
    plant.watch.calibrate()
    plant.watch.adopt(plan(*(query(f"q-{n}", f"text {n}", cameras=("line-1",)) for n in range(1000))))
    plant.second()
    before = plant.watch.load()
    for _ in range(40):
        plant.watch.begin(START)
        plant.now += SECOND
        plant.watch.end(START, 2, 2, 100, (100, 2000))
    after = plant.watch.load()
    assert before is not None and after is not None and after.prices.gate_texts == 64
    assert after.prices.gate_share == pytest.approx(0.05)
    assert after.prices.pairs(1000, 1000) == pytest.approx(50) and after.prices.pairs(63, 63) == 63


def test_waiting_for_kafka_is_no_overload() -> None:
    """While results wait to be taken nothing is learnt and nothing left out: fewer looks would not help."""
    plant = Plant()
    plant.stalled = True
    for _ in range(6):
        plant.second()
    assert plant.watch.sampling == {} and plant.watch.load() is None


def test_without_a_budget_nothing_is_measured() -> None:
    """No calibration, no report, no look left out."""
    plant = Plant(budget=None)
    plant.watch.calibrate()
    for _ in range(6):
        plant.second()
    assert plant.watch.sampling == {} and plant.watch.load() is None


def test_cameras_with_critical_queries_go_first() -> None:
    """By the plan of now."""
    plant = Plant()
    assert plant.watch.first("line-1") and not plant.watch.first("line-2")
    plant.watch.adopt(plan(query("stop", severity="critical", cameras=("line-2",))))
    assert plant.watch.first("line-2") and not plant.watch.first("line-1")
