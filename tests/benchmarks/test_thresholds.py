"""How the thresholds at which a query passes are told."""

from __future__ import annotations

import pytest

from benchmarks.thresholds import THRESHOLDS, ranges


@pytest.mark.parametrize(
    ("passed", "told"),
    [
        ((), "never"),
        ((0.3,), "0.3"),
        (THRESHOLDS, "0.1 … 0.99"),
        ((0.1, 0.15, 0.25, 0.3, 0.99), "0.1 … 0.15, 0.25 … 0.3, 0.99"),
    ],
    ids=["none", "one", "all", "gaps"],
)
def test_a_threshold_that_fails_between_others_is_seen(passed: tuple[float, ...], told: str) -> None:
    """The lowest and the highest alone would tell of one range."""
    assert ranges(passed) == told
