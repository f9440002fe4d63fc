"""The media time of a recording without the jumps that recordings have where they were put together."""

from __future__ import annotations

LONGEST_GAP_SECONDS = 10.0
LONGEST_GAP_FRAMES = 10
"""A step in media time over both of these is a cut: no picture was taken so slowly, and nobody waits for hours."""
STEP_BACK_FRAMES = 5
"""A smaller one is a time stamp that is a little off, not a cut."""


class Timeline:
    """Turns a frame's media time into the time it is played at: the same up to the first cut, then one frame after the
    last at each cut. What it gives never runs backward."""

    def __init__(self, period: float) -> None:
        """``period``: seconds of one frame at the recording's mean rate."""
        self._period = period
        self._longest = max(LONGEST_GAP_SECONDS, LONGEST_GAP_FRAMES * period)
        self._shift = 0.0
        self._last: float | None = None

    def at(self, seconds: float) -> float:
        """``seconds``: media time of the frame that follows the last one asked for."""
        last, played = self._last, seconds + self._shift
        if last is not None and not -STEP_BACK_FRAMES * self._period <= played - last <= self._longest:
            self._shift += last + self._period - played
            played = last + self._period
        self._last = played if last is None else max(last, played)
        return self._last
