"""Media times of recordings that were put together."""

from __future__ import annotations

import pytest

from producers.timeline import Timeline


@pytest.mark.parametrize(
    ("period", "times", "played"),
    [
        pytest.param(0.5, [], [], id="empty"),
        pytest.param(0.5, [0.0, 0.5, 1.0, 9.0], [0.0, 0.5, 1.0, 9.0], id="gap"),
        pytest.param(0.5, [100.0, 100.5], [100.0, 100.5], id="late-beginning"),
        pytest.param(0.5, [0.0, 0.5, 7200.0, 7200.5], [0.0, 0.5, 1.0, 1.5], id="jump-ahead"),
        pytest.param(0.5, [60.0, 60.5, 0.0, 0.5, 60.0], [60.0, 60.5, 61.0, 61.5, 62.0], id="jump-back-and-ahead"),
        pytest.param(0.5, [0.0, 1.0, 0.5, 1.5], [0.0, 1.0, 1.0, 1.5], id="out-of-turn"),
        pytest.param(60.0, [0.0, 60.0, 120.0, 600.0], [0.0, 60.0, 120.0, 600.0], id="time-lapse"),
    ],
)
def test_cuts_are_closed(period: float, times: list[float], played: list[float]) -> None:
    """A jump is one frame long; everything else is as it was, and no time runs backward."""
    timeline = Timeline(period)
    assert [timeline.at(seconds) for seconds in times] == played
