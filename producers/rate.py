"""Keeping a stream at or under a rate."""

from __future__ import annotations

SLACK = 0.25
"""A frame may come this part of a period early: cameras are not punctual."""


class RateLimit:
    """Says which frames to keep so that at most ``fps`` a second remain, evenly spread over capture time."""

    def __init__(self, fps: float) -> None:
        self._period_ns = 1e9 / fps
        self._due: float | None = None

    def keeps(self, captured_ns: int) -> bool:
        period = self._period_ns
        if self._due is None or abs(captured_ns - self._due) > 2 * period:
            self._due = captured_ns  # the first, or the clock or the camera made a jump
        if captured_ns < self._due - SLACK * period:
            return False
        self._due += period
        return True
