"""How often a query looks: at most `rate` frames per second of capture time. Pure."""

from __future__ import annotations


class Pacer:
    """Which of a row of frames are due, per key.

    Due times lie on a grid, so a rate of 2 on a camera of 5 frames/s takes 2 per second on average, not every third.
    """

    def __init__(self) -> None:
        self._next_ns: dict[tuple[str, ...], int] = {}

    def due(self, key: tuple[str, ...], rate: float | None, captured_ns: int) -> bool:
        """Whether the frame captured then should be scored; a frame that is due moves the next due time on."""
        if rate is None:
            return True
        period = round(1e9 / rate)
        next_ns = self._next_ns.get(key, captured_ns)
        if captured_ns < next_ns and next_ns - captured_ns <= period:  # further off: the clock was set back
            return False
        self._next_ns[key] = next_ns + period if 0 <= captured_ns - next_ns < period else captured_ns + period
        return True

    def forget(self, camera: str) -> None:
        """Drops what is known of a camera (the first part of the keys)."""
        self._next_ns = {key: ns for key, ns in self._next_ns.items() if key[0] != camera}
