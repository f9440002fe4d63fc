"""What a set of queries costs, and when it is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.admission import forecast, predicted_cost, refusal, replaced
from infra.contracts import Severity, StandingQuery
from infra.cost import Demand, Prices, cost, demand_of
from infra.reports import Load, WorkerReport

MADE = datetime(2026, 1, 1, tzinfo=UTC)
PRICES = Prices(pass_s=0.02, pair_s=0.001)


def query(id: str, text: str = "red", **changes: object) -> StandingQuery:
    return StandingQuery.model_validate({"id": id, "text": text, "created": MADE, "changed": MADE} | changes)


def load(budget: float = 0.9, **cameras: float) -> Load:
    return Load(prices=PRICES, budget=budget, cameras=cameras, cost=0.0, busy=0.0)


def test_nothing_asked_costs_nothing() -> None:
    """Without queries, or without frames, a worker has nothing to do."""
    assert cost(Demand(), 30.0, PRICES) == 0.0
    assert cost(demand_of([query("a")]), 0.0, PRICES) == 0.0


def test_cost_is_frames_times_views_and_pairs() -> None:
    """10 frames/s x (5 views x 20 ms + (1 + 4) pairs x 1 ms)."""
    demand = demand_of([query("a"), query("b", tiles=(2, 2))])
    assert demand.size == (5, 5)
    assert cost(demand, 10.0, PRICES) == pytest.approx(10 * (5 * 0.02 + 5 * 0.001))


def test_what_is_shared_is_paid_once() -> None:
    """Queries of one view share its pass; those of the same text, whatever their thresholds, share the pair too."""
    demand = demand_of([query("a"), query("b", raise_threshold=0.9), query("c", text="blue")])
    assert demand.size == (1, 2)


def test_rates_count_where_they_are_lower() -> None:
    """A query at 2 frames/s costs 2 passes a second; beside one that asks every frame, only its own pairs."""
    slow, all_ = query("a", rate=2.0), query("b", text="blue")
    assert cost(demand_of([slow]), 10.0, PRICES) == pytest.approx(2 * 0.021)
    assert cost(demand_of([slow, all_]), 10.0, PRICES) == pytest.approx(10 * 0.021 + 2 * 0.001)
    assert cost(demand_of([slow, query("c", text="blue", rate=3.0)]), 4.0, PRICES) == pytest.approx(
        4 * 0.02 + 5 * 0.001
    )


def test_a_frame_costs_something_besides_its_views() -> None:
    """Once for every frame of which anything is asked."""
    demand = demand_of([query("a", tiles=(2, 1)), query("b", rate=1.0)])
    prices = Prices(pass_s=0.02, pair_s=0.001, frame_s=0.1)
    assert cost(demand, 10.0, prices) == pytest.approx(cost(demand, 10.0, PRICES) + 10 * 0.1)
    assert cost(demand_of([query("b", rate=1.0)]), 10.0, prices) == pytest.approx(0.1 + 0.021)


def test_looked_at_less_often_costs_less() -> None:
    """A view that only a sampled severity needs is passed less often; one that a critical query needs is not."""
    low, critical = query("a", severity="low"), query("b", text="blue", severity="critical")
    half = {Severity.LOW: 0.5}
    assert cost(demand_of([low]), 10.0, PRICES, half) == pytest.approx(5 * 0.021)
    assert cost(demand_of([low, critical]), 10.0, PRICES, half) == pytest.approx(10 * 0.021 + 5 * 0.001)


asked = st.lists(
    st.builds(
        lambda number, text, rate, tiles, severity: query(
            f"q{number}", text, rate=rate, tiles=(tiles, 1), severity=severity
        ),
        st.integers(0, 20),
        st.sampled_from(("red", "blue", "green")),
        st.sampled_from((None, 1.0, 2.5, 40.0)),
        st.integers(1, 3),
        st.sampled_from(list(Severity)),
    ),
    max_size=6,
)


@given(asked, asked, st.floats(0.1, 60))
def test_more_queries_never_cost_less(some: list[StandingQuery], more: list[StandingQuery], fps: float) -> None:
    """Nothing that is added makes a set cheaper, and no set costs more than asking all of it on every frame."""
    few, all_ = demand_of(some), demand_of([*some, *more])
    assert cost(few, fps, PRICES) <= cost(all_, fps, PRICES) + 1e-9
    assert cost(all_, fps, PRICES) <= fps * PRICES.seconds(1, *all_.size) + 1e-9


def test_five_thousand_queries_are_refused_with_the_numbers() -> None:
    """The set that is over says by how much, with what was measured and what to do; another camera set goes in."""
    queries = [query(f"q{number}", f"bolt {number}", cameras=("line-*",)) for number in range(5000)]
    reports = {
        "w0": WorkerReport(revision=1, load=load(**{"line-1": 10.0, "line-2": 5.0})),
        "w1": WorkerReport(revision=1),
    }
    error = refusal(query("last"), forecast([], queries, reports))
    assert error is not None
    message = str(error)
    assert "worker w0: 0.00 now, 75.30 with it, budget 0.90" in message
    assert "20 ms a view, 1 ms a query and view, 0 ms a frame; line-1 10/s, line-2 5/s" in message
    assert "--rate" in message and "--tiles" in message and "another worker" in message and "--force" in message
    elsewhere = [query("press", cameras=("press-*",))]
    assert refusal(elsewhere[0], forecast([], elsewhere, reports)) is None


def test_a_change_that_makes_it_no_dearer_is_taken_in() -> None:
    """A set that is over the budget already can be made cheaper or renamed, not dearer."""
    queries = [query("a", tiles=(3, 3)), query("b")]
    reports = {"w0": WorkerReport(revision=1, load=load(**{"line-1": 10.0}))}
    for change in (query("a", tiles=(3, 2)), query("a", tiles=(3, 3), text="blue bolt", author="me")):
        assert refusal(change, forecast(queries, replaced(queries, change), reports)) is None
    dearer = query("b", tiles=(2, 1))
    assert refusal(dearer, forecast(queries, replaced(queries, dearer), reports)) is not None


def test_the_rate_of_a_worker_limits_the_cost() -> None:
    """A worker told to score 2 frames/s of a camera pays for 2."""
    limited = load(**{"line-1": 10.0}).model_copy(update={"rate": 2.0})
    assert predicted_cost([query("a")], limited) == pytest.approx(2 * 0.021)
