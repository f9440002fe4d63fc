"""Numbers of frames: what makes ``(camera, epoch, sequence)`` unique, and the same again on every replay.

An epoch is one numbering. A camera has one per process: its sequence goes on through every loss and reconnect, and
frames that are dropped leave gaps. A recording has one per playing: the sequence is the frame's index in the file,
and each round of a loop is a new epoch (``…``, ``….1``, ``….2``). Starting a process again makes a new epoch, so that
alerts of a second run are not taken for those of the first; a run with a given ``epoch`` gets the ids of the run
before.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from producers.frame import Shot


def new_epoch() -> str:
    """An epoch nobody used: the time in UTC and four random digits, ``20260131T120000Z-9f3a``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


class Numbering:
    """Gives every shot, lost ones included, its epoch and sequence."""

    def __init__(self, epoch: str | None = None) -> None:
        self._epoch = epoch or new_epoch()
        self._next = 0

    def number(self, shot: Shot) -> tuple[str, int]:
        """(epoch, sequence) of the next shot."""
        if shot.index is not None:
            return (f"{self._epoch}.{shot.playing}" if shot.playing else self._epoch), shot.index
        self._next += 1
        return self._epoch, self._next - 1
