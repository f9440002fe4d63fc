"""Which looks are left out, by priority, and when."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumers.grounding.plan import Look
from consumers.grounding.shedding import FULL, HALVINGS, HOLD_SECONDS, LOST, Measured, Sampler, Shedder, ladder
from infra.contracts import Severity, StandingQuery
from infra.cost import RANK, Prices, cost, demand_of
from infra.regions import views_of

MADE = datetime(2026, 1, 1, tzinfo=UTC)
PRICES = Prices(pass_s=0.02, pair_s=0.001)
BUDGET = 0.9
BY_RANK = sorted(Severity, key=RANK.__getitem__)
few = settings(max_examples=20)


def queries_of(found: list[tuple[Severity, int, float | None]]) -> list[StandingQuery]:
    """One of each severity, number of tiles and rate."""
    return [
        StandingQuery(
            id=f"q{number}",
            text=f"bolt {number}",
            tiles=(tiles, 1),
            severity=severity,
            rate=rate,
            created=MADE,
            changed=MADE,
        )
        for number, (severity, tiles, rate) in enumerate(found)
    ]


asked = st.lists(
    st.tuples(st.sampled_from(BY_RANK), st.integers(1, 8), st.sampled_from((None, 0.5, 4.0))), min_size=1, max_size=8
).map(queries_of)


class Plant:
    """A worker that is as busy as its sampled queries make it, whose prices are ``truth`` times the predicted ones."""

    def __init__(self, queries: list[StandingQuery], fps: float, truth: float = 1.0) -> None:
        self.demand, self.fps, self.truth = demand_of(queries), fps, truth
        self.shedder = Shedder(BUDGET)
        self.shedder.asked(frozenset(query.severity for query in queries))
        self.now = 0.0

    def cost(self, sampling: Mapping[Severity, float]) -> float:
        return cost(self.demand, self.fps, PRICES, sampling)

    def pass_time(self, moments: int, step: float = 1.0) -> list[Mapping[Severity, float]]:
        """The sampling after each moment, ``step`` seconds apart."""
        found = []
        for _ in range(moments):
            load = self.truth * self.cost(self.shedder.sampling)
            moment = Measured(cost=self.cost, busy=min(load, 1.0), lost=max(0.0, 1 - 1 / load) if load else 0.0)
            self.shedder.decide(moment, self.now)
            self.now += step
            found.append(self.shedder.sampling)
        return found


@given(st.sets(st.sampled_from(BY_RANK)))
def test_steps_take_from_the_lower_first(present: set[Severity]) -> None:
    """From step to step no share grows, no severity keeps less than a lower one, and critical ones keep all."""
    steps = ladder(present)
    assert steps[0] == {}
    for before, after in itertools.pairwise(steps):
        shares = [after.get(severity, 1.0) for severity in BY_RANK if severity in present]
        assert shares == sorted(shares)
        assert all(after.get(severity, 1.0) <= before.get(severity, 1.0) for severity in BY_RANK)
        assert Severity.CRITICAL not in after and before != after
    assert all(steps[-1][severity] == 0.0 for severity in present - {Severity.CRITICAL})


@few
@given(asked, st.floats(0.5, 60))
@example(queries_of([(Severity.LOW, 1, None), (Severity.LOW, 3, None), (Severity.CRITICAL, 8, 4.0)]), 44.0)
def test_what_is_left_fits_the_budget(queries: list[StandingQuery], fps: float) -> None:
    """Some moments into an overload the predicted cost is within the budget, or only critical ones are left.

    A severity is not left out altogether by a worker that keeps up with a last look of each: above the budget there are
    then only the fewest looks of every severity, and next to no frame gives way.
    """
    plant = Plant(queries, fps)
    overloaded = plant.cost({}) > 1.05
    first, sampling = plant.pass_time(1)[0], plant.pass_time(5)[-1]
    assert first == {}
    if overloaded:
        left = {query.severity for query in queries if sampling.get(query.severity, 1.0) > 0.0}
        fewest = all(sampling.get(severity) == 0.5**HALVINGS for severity in left - {Severity.CRITICAL})
        keeps_up = fewest and 1 - 1 / max(plant.cost(sampling), 1.0) <= LOST
        assert plant.cost(sampling) <= BUDGET or left <= {Severity.CRITICAL} or keeps_up
    if plant.cost({}) < FULL:
        assert sampling == {}


@few
@given(asked, st.floats(0.5, 60), st.floats(0.3, 3.0))
def test_it_ends_although_the_prediction_is_wrong(queries: list[StandingQuery], fps: float, truth: float) -> None:
    """With prices that are too low or too high it takes longer; then little is lost, but while a step is tried."""
    plant = Plant(queries, fps, truth)
    fits = 0
    for sampling in plant.pass_time(60)[-40:]:
        left = {query.severity for query in queries if sampling.get(query.severity, 1.0) > 0.0}
        fits += truth * plant.cost(sampling) <= 1.03 or left <= {Severity.CRITICAL}
    assert fits >= 30


@few
@given(asked, st.floats(0.5, 60))
def test_it_is_deterministic(queries: list[StandingQuery], fps: float) -> None:
    """Equal moments give equal decisions."""
    assert Plant(queries, fps).pass_time(30) == Plant(queries, fps).pass_time(30)


@few
@given(asked, st.floats(0.5, 60))
def test_all_is_looked_at_again_when_the_load_falls(queries: list[StandingQuery], fps: float) -> None:
    """With half the budget free every look comes back, step by step."""
    plant = Plant(queries, fps)
    plant.pass_time(5)
    while plant.cost({}) > 0.5 * BUDGET:
        plant.fps /= 2
    assert plant.pass_time(2 * 16, HOLD_SECONDS)[-1] == {}


def test_steady_overload_does_not_flap() -> None:
    """Under a constant load that fits after sampling, nothing changes any more."""
    queries = [
        StandingQuery(id=s, text=s, tiles=tiles, severity=s, created=MADE, changed=MADE)
        for s, tiles in (("low", (2, 2)), ("critical", (4, 1)))
    ]
    plant = Plant(queries, fps=8.0)
    _, first, *rest = plant.pass_time(300)
    assert first == {Severity.LOW: 0.25} and all(sampling == first for sampling in rest)


def test_a_step_down_that_fails_is_tried_less_often() -> None:
    """Where the prediction promises time that there is not, the worker tries again after ever longer spans."""
    queries = [
        StandingQuery(id=s, text=s, tiles=tiles, severity=s, created=MADE, changed=MADE)
        for s, tiles in (("low", (2, 2)), ("critical", (4, 1)))
    ]
    plant = Plant(queries, fps=8.0, truth=2.0)
    plant.fps = 4.2
    found = plant.pass_time(600)
    tries = [n for n in range(1, len(found)) if found[n] != found[n - 1]]
    assert len([n for n in tries if n < 100]) > len([n for n in tries if n >= 500])


def look(id: str, severity: str, tiles: tuple[int, int] = (1, 1), rate: float | None = None) -> Look:
    query = StandingQuery(id=id, text=id, severity=severity, tiles=tiles, rate=rate, created=MADE, changed=MADE)
    return Look(query, views_of(query), {query.text: query.clears_below})


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 0.0625, 0.0])
def test_shares_are_kept_and_critical_ones_are_never_left_out(share: float) -> None:
    """Of 320 frames a sampled query gets its share, a critical one all; kept and left out make up what is due."""
    looks = (look("a", "critical"), look("b", "low"), look("c", "low", (2, 1)), look("d", "low", rate=1.0))
    sampler, counts = Sampler(), Counter[str]()
    due = {one.query.id for one in looks}
    for _ in range(320):
        kept, shed = sampler.keep("line-1", looks, due, {Severity.LOW: share} if share < 1 else {})
        assert kept | shed == due and not kept & shed and "a" in kept
        counts.update(kept)
    assert {id: counts[id] for id in due} == {"a": 320, **dict.fromkeys("bcd", round(320 * share))}


def test_looks_of_one_view_are_left_out_together_and_of_a_shared_one_in_turn() -> None:
    """A pass that only sampled queries need is saved; where a critical one needs it anyway the work is spread."""
    tiled = tuple(look(f"tile-{n}", "low", (2, 2)) for n in range(20))
    whole = tuple(look(f"whole-{n}", "low") for n in range(20))
    looks = (*tiled, *whole, look("all", "critical"))
    due, sampler = {one.query.id for one in looks}, Sampler()
    sizes = []
    for _ in range(16):
        kept, _ = sampler.keep("line-1", looks, due, {Severity.LOW: 0.25})
        assert len([id for id in kept if id.startswith("tile")]) in (0, 20)
        sizes.append(len([id for id in kept if id.startswith("whole")]))
    assert sum(sizes) == 80 and max(sizes) < 20


def test_a_changed_set_goes_on_where_it_was() -> None:
    """A query of a new severity does not make an overloaded worker ask everything again."""
    shedder = Shedder(BUDGET)
    shedder.asked(frozenset({Severity.LOW, Severity.CRITICAL}))
    moment = Measured(cost=lambda sampling: 3.0 * sampling.get(Severity.LOW, 1.0), busy=1.0, lost=0.5)
    assert [shedder.decide(moment, at) for at in (0.0, 1.0)] == [False, True]
    assert shedder.sampling == {Severity.LOW: 0.25}
    shedder.asked(frozenset({Severity.LOW, Severity.MEDIUM, Severity.CRITICAL}))
    assert shedder.sampling == {Severity.LOW: 0.25}
