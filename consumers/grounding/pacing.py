"""How often a camera and a query are looked at: at most `rate` frames per second of capture time. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.grounding.plan import Look


class Pacer:
    """Which of a row of frames are due, per key: the first in each span of 1/rate seconds of capture time.

    The spans are the same for everyone, whenever they begin to look, so that a restarted worker and a replay take the
    same frames; and a rate of 2 on a camera of 5 frames/s takes 2 per second on average, not every third.
    """

    def __init__(self) -> None:
        self._spans: dict[tuple[str, ...], int] = {}

    def due(self, key: tuple[str, ...], rate: float | None, captured_ns: int) -> bool:
        """Whether the frame captured then should be scored; a frame that is due takes its span."""
        if rate is None:
            return True
        span = captured_ns // round(1e9 / rate)
        last = self._spans.get(key)
        if last is not None and last - 1 <= span <= last:  # further back: the clock was set back
            return False
        self._spans[key] = span
        return True


class LookPacer:
    """Which queries look at a frame: at most ``rate`` frames a second of each camera, and of those as many as each
    query wants."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._pacer = Pacer()

    def due(self, camera: str, looks: Sequence[Look], captured_ns: int) -> frozenset[str]:
        """Ids of the queries that the frame is due for. Frames must come in the order of their camera."""
        if not self._pacer.due((camera,), self._rate, captured_ns):
            return frozenset()
        # Queries of one rate look at the same frames: their views are passed once, and the cost is what was predicted.
        rates = {look.query.rate for look in looks}
        now = {rate for rate in rates if self._pacer.due((camera, f"{rate}"), rate, captured_ns)}
        return frozenset(look.query.id for look in looks if look.query.rate in now)
