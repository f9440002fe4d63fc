"""Capture times."""

from __future__ import annotations

from producers.clock import CaptureClock

SECOND = 1_000_000_000


class Clocks:
    """A wall clock and a monotonic one, moved by hand."""

    def __init__(self) -> None:
        self.wall = 1_000_000 * SECOND
        self.monotonic = 5 * SECOND
        self.capture = CaptureClock(lambda: self.wall, lambda: self.monotonic)

    def advance(self, ns: int) -> int:
        self.wall += ns
        self.monotonic += ns
        return self.capture.now()


def test_time_is_the_wall_clock_s() -> None:
    """Undisturbed, the capture clock is the wall clock."""
    clocks = Clocks()
    assert clocks.advance(SECOND) == clocks.wall


def test_time_always_advances() -> None:
    """Two frames never have the same capture time, even when no time passes between them."""
    clocks = Clocks()
    first = clocks.advance(SECOND)
    assert clocks.capture.now() > first


def test_small_correction_is_followed_slowly() -> None:
    """A wall clock set back by a second slows the capture clock and never turns it back."""
    clocks = Clocks()
    before = clocks.advance(SECOND)
    clocks.wall -= SECOND
    times = [clocks.advance(SECOND // 10) for _ in range(2000)]
    assert before < times[0] and times == sorted(times)
    assert abs(times[-1] - clocks.wall) < SECOND // 100


def test_large_correction_is_taken_at_once() -> None:
    """A clock that was plainly wrong is set, and capture times are right from then on."""
    clocks = Clocks()
    clocks.wall += 3600 * SECOND
    assert clocks.advance(SECOND) == clocks.wall
    clocks.wall -= 7200 * SECOND
    assert clocks.advance(SECOND) == clocks.wall
