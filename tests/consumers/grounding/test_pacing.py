"""How often a query looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.grounding.pacing import Pacer
from infra.values import MAX_RATE, MIN_RATE

SECOND = 1_000_000_000


def test_no_rate_means_every_frame() -> None:
    """Without a rate all frames are due."""
    pacer = Pacer()
    assert all(pacer.due(("c", "q"), None, n) for n in range(5))


def test_rate_is_kept_on_average() -> None:
    """Two of five frames per second are due at rate 2, not every third."""
    pacer = Pacer()
    assert sum(pacer.due(("c", "q"), 2.0, n * SECOND // 5) for n in range(50)) == 20


def test_clock_set_back_does_not_blind() -> None:
    """A camera clock that jumps back an hour does not stop the query for an hour."""
    pacer = Pacer()
    assert pacer.due(("c",), 1.0, 7200 * SECOND)
    assert pacer.due(("c",), 1.0, 3600 * SECOND)


def test_fastest_rate_takes_every_frame() -> None:
    """The highest rate that a query may have leaves out no frame of any camera."""
    pacer = Pacer()
    assert all(pacer.due(("c",), MAX_RATE, n * SECOND // 1000) for n in range(50))


def test_slowest_rate_looks_again() -> None:
    """The lowest rate that a query may have is one frame in 1000 s."""
    pacer = Pacer()
    due = [n for n in range(0, 3001, 100) if pacer.due(("c",), MIN_RATE, n * SECOND)]
    assert due == [0, 1000, 2000, 3000]


@given(st.lists(st.integers(1, 3 * SECOND), min_size=1, max_size=60), st.floats(0.2, 20), st.data())
def test_who_begins_later_takes_the_same_frames(gaps: list[int], rate: float, data: st.DataObject) -> None:
    """A restarted worker, or a replay of a part, looks at the frames that were looked at, but for its first span."""
    times = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    begin = data.draw(st.integers(0, len(times) - 1))
    first, second = Pacer(), Pacer()
    whole = [now for now in times if first.due(("c",), rate, now)]
    part = [now for now in times[begin:] if second.due(("c",), rate, now)]
    span = round(1e9 / rate)
    assert [n for n in part if n // span > times[begin] // span] == [
        n for n in whole if n // span > times[begin] // span
    ]


@given(st.lists(st.integers(1, 3 * SECOND), max_size=60), st.floats(0.2, 20))
def test_never_over_the_rate(gaps: list[int], rate: float) -> None:
    """In any stretch there are at most rate × seconds + 2 frames due."""
    pacer, now, due = Pacer(), 0, list[int]()
    for gap in gaps:
        now += gap
        if pacer.due(("c",), rate, now):
            due.append(now)
    for first in range(len(due)):
        for last in range(first, len(due)):
            assert last - first + 1 <= rate * (due[last] - due[first]) / SECOND + 2
