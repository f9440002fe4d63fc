"""Thinning a stream out."""

from __future__ import annotations

import pytest

from producers.rate import RateLimit

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("source_fps", "limit", "kept"),
    [
        pytest.param(25, 5, 50, id="fifth"),
        pytest.param(25, 10, 100, id="uneven"),
        pytest.param(5, 5, 50, id="same"),
        pytest.param(5, 30, 50, id="slower-source"),
    ],
)
def test_rate_is_kept(source_fps: int, limit: float, kept: int) -> None:
    """Ten seconds of a stream come down to the limit, evenly."""
    rate = RateLimit(limit)
    times = [SECOND + frame * SECOND // source_fps for frame in range(10 * source_fps)]
    assert sum(rate.keeps(time) for time in times) == pytest.approx(kept, abs=1)


def test_unpunctual_frames_are_kept() -> None:
    """A frame that comes a little early does not cost a whole period."""
    rate = RateLimit(10)
    times = [SECOND + frame * SECOND // 10 + (-1) ** frame * SECOND // 100 for frame in range(50)]
    assert all(rate.keeps(time) for time in times)


def test_clock_that_was_set_back_does_not_stop_the_stream() -> None:
    """After a jump of the clock the next frame is kept."""
    rate = RateLimit(10)
    assert rate.keeps(1_000 * SECOND)
    assert rate.keeps(10 * SECOND)
