"""What a role does when it is told to end."""

from __future__ import annotations

import signal
from threading import Event
from types import FrameType


def stop_on_signals() -> Event:
    """Set by the first SIGINT or SIGTERM; the second ends the process at once."""
    stop = Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return stop
