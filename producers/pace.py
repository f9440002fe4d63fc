"""Playing recordings at their own rate, or as fast as they are taken."""

from __future__ import annotations

from threading import Event

from producers.clock import CaptureClock

LATE_NS = 1_000_000_000
"""A player that is later than this behind its recording goes on from now instead of hurrying after it; one that is
earlier than this, because the wall clock was set back, does not wait for the old time to come again."""


class Pace:
    """Turns media time into capture time, and waits for it where the recording plays at its own rate.

    Capture times keep the recording's own spacing in both modes, so delays in seconds mean the same. As fast as
    possible, they run ahead of the wall clock.
    """

    def __init__(self, clock: CaptureClock, stop: Event, *, as_fast_as_possible: bool) -> None:
        self._clock = clock
        self._stop = stop
        self._hurry = as_fast_as_possible
        self._start_ns: int | None = None
        self._last_seconds = 0.0

    def at(self, seconds: float) -> int:
        """Waits until ``seconds`` of media time are due (or ``stop`` is set); returns their capture time in ns."""
        now = self._clock.now()
        if self._start_ns is None:
            self._start_ns, self._last_seconds = now - int(seconds * 1e9), seconds
        due = self._start_ns + int(seconds * 1e9)
        if self._hurry:
            return due
        longest = max(int((seconds - self._last_seconds) * 1e9), 0)  # the last frame was due already
        self._last_seconds = seconds
        if now - due > LATE_NS:
            self._start_ns += now - due
            return now
        if due - now > longest + LATE_NS:
            self._start_ns += now + longest - due
            due = now + longest
        if due > now:
            self._stop.wait((due - now) / 1e9)
        return due
