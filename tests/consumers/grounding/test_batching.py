"""Batches by size or deadline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.grounding.batching import Batcher


def test_empty_is_never_due() -> None:
    """Without an item there is nothing to wait for."""
    batcher: Batcher[int] = Batcher(2, 0.1)
    assert not batcher.due(1e9)
    assert batcher.wait(0.0) is None
    assert batcher.take() == []


def test_full_batch_goes_at_once() -> None:
    """The size makes a batch due before its deadline."""
    batcher: Batcher[int] = Batcher(2, 10.0)
    batcher.add(1, now=0.0)
    assert not batcher.due(0.0)
    assert batcher.wait(4.0) == 6.0
    batcher.add(2, now=0.0)
    assert batcher.wait(0.0) == 0.0


def test_deadline_runs_from_the_first_item() -> None:
    """A lone item waits for the deadline only, and later items do not move it."""
    batcher: Batcher[int] = Batcher(8, 0.5)
    batcher.add(1, now=1.0)
    batcher.add(2, now=1.4)
    assert not batcher.due(1.49)
    assert batcher.due(1.5)
    assert batcher.take() == [1, 2]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans())), st.integers(1, 5), st.floats(0, 1))
def test_every_item_comes_out_once_in_order(steps: list[tuple[float, bool]], size: int, deadline: float) -> None:
    """Whatever the times, items come out in order, once, in batches of at most the size, none later than due."""
    batcher: Batcher[int] = Batcher(size, deadline)
    now, out, added = 0.0, list[int](), 0
    for passed, add in steps:
        now += passed
        if add:
            batcher.add(added, now)
            added += 1
        if batcher.due(now):
            batch = batcher.take()
            assert 0 < len(batch) <= size
            out += batch
        assert len(batcher) < size
    while batch := batcher.take():
        out += batch
    assert out == list(range(added))
