"""Telling people about dropped frames: the first at once, then a sum now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from producers.ledger import DropReason, Ledger

log = structlog.get_logger(__name__)

EVERY_SECONDS = 10.0


class Drops:
    """Books a dropped frame and logs it, at most once in ``every`` seconds per reason. Frames left out because a lower
    rate was asked for are booked only."""

    def __init__(
        self,
        camera: str,
        ledger: Ledger,
        *,
        every: float = EVERY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._camera = camera
        self._ledger = ledger
        self._every = every
        self._monotonic = monotonic
        self._logged: dict[str, float] = {}

    def __call__(self, reason: DropReason, detail: str, frames: int = 1) -> None:
        """``detail``: what happened and what helps, without credentials."""
        total = self._ledger.dropped(reason, frames)
        now = self._monotonic()
        if reason == "rate" or now - self._logged.get(reason, -self._every) < self._every:
            return
        self._logged[reason] = now
        log.warning("frame dropped", camera=self._camera, reason=reason, total=total, detail=detail)
