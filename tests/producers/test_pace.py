"""Playing recordings in time."""

from __future__ import annotations

from threading import Event

from producers.clock import CaptureClock
from producers.pace import Pace

SECOND = 1_000_000_000


class Time(Event):
    """A clock that stands still but for the waiting done on it."""

    def __init__(self) -> None:
        super().__init__()
        self.ns = 1_000 * SECOND
        self.set_back_ns = 0
        self.clock = CaptureClock(lambda: self.ns - self.set_back_ns, lambda: self.ns)

    def wait(self, timeout: float | None = None) -> bool:
        self.ns += round((timeout or 0) * SECOND)
        return False


def test_own_rate_waits_for_each_frame() -> None:
    """Frames come when they are due, and carry the times at which they were due."""
    time = Time()
    pace = Pace(time.clock, time, as_fast_as_possible=False)
    start = pace.at(0.0)
    assert pace.at(0.5) == start + SECOND // 2
    assert time.ns >= start + SECOND // 2 - 1000


def test_as_fast_as_possible_waits_for_nothing() -> None:
    """Capture times keep the recording's spacing while no time passes."""
    time = Time()
    pace = Pace(time.clock, time, as_fast_as_possible=True)
    start = pace.at(0.0)
    assert [pace.at(seconds) - start for seconds in (1.0, 2.0)] == [SECOND, 2 * SECOND]
    assert time.ns == 1_000 * SECOND


def test_late_player_does_not_hurry_after() -> None:
    """After a long halt the recording goes on from now, with its own spacing."""
    time = Time()
    pace = Pace(time.clock, time, as_fast_as_possible=False)
    pace.at(0.0)
    time.ns += 60 * SECOND
    resumed = pace.at(0.1)
    assert resumed >= time.ns - SECOND
    assert pace.at(0.2) == resumed + SECOND // 10


def test_wall_clock_that_was_set_back_does_not_halt_the_player() -> None:
    """Frames go on at the recording's own spacing, with capture times of the new wall clock."""
    time = Time()
    pace = Pace(time.clock, time, as_fast_as_possible=False)
    pace.at(0.0)
    pace.at(3.0)
    time.set_back_ns = 60 * SECOND
    began = time.ns
    times = [pace.at(seconds) for seconds in (6.0, 9.0)]
    assert abs(time.ns - began - 6 * SECOND) < SECOND // 100
    assert times[1] - times[0] == 3 * SECOND
    assert abs(times[1] - (time.ns - 60 * SECOND)) < SECOND // 100
