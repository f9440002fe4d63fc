"""Which frames are to be scored, and for which queries, before they cost anything."""

from __future__ import annotations

from collections.abc import Callable

from consumers.grounding.frames import Frame
from consumers.grounding.ledger import SkipReason
from consumers.grounding.overload import Overload
from consumers.grounding.pacing import LookPacer
from consumers.grounding.plan import Plan
from consumers.grounding.settings import WorkerSettings


class Intake:
    """Asks of every frame: watched, in time, due, and is there time for it? Used by one thread but :meth:`expired`."""

    def __init__(self, settings: WorkerSettings, overload: Overload, clock_ns: Callable[[], int]) -> None:
        self._settings = settings
        self._overload = overload
        self._clock_ns = clock_ns
        self._pacer = LookPacer(settings.rate)

    def asked(self, frame: Frame, plan: Plan) -> tuple[SkipReason | None, frozenset[str]]:
        """Which queries the frame is to be scored for, or why it is not."""
        looks = plan.looks(frame.camera)
        if not looks:
            return "no_query", frozenset()
        if self.expired(frame):
            return "expired", frozenset()
        due = self._pacer.due(frame.camera, looks, frame.header.captured_ns)
        kept = self._overload.keep(frame, plan, due)
        return (None, kept) if kept else ("overload" if due else "rate", kept)

    def expired(self, frame: Frame) -> bool:
        """Whether the frame is older than it, or the settings, allow."""
        now, header = self._clock_ns(), frame.header
        if header.expires_ns is not None and now > header.expires_ns:
            return True
        return self._settings.expiry_s is not None and now - header.captured_ns > self._settings.expiry_s * 1e9
