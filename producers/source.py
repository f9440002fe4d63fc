"""What every source of frames offers to the capture."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Protocol

from producers.frame import Shot


class Source(Protocol):
    """One place that frames come from. Building a source connects to nothing and opens nothing."""

    @property
    def shown(self) -> str:
        """The source's address without user name, password or query: the only form fit for logs and errors."""

    @property
    def live(self) -> bool:
        """True: a camera, reconnected for ever when lost. False: a recording, which ends, and fails if unreadable."""

    def shots(self, stop: Event) -> Iterator[Shot]:
        """Opens the source and yields its frames in order until it ends or ``stop`` is set.

        A corrupt frame is a shot without image. Raises CameraError when the source cannot be opened or is lost; the
        iterator releases the source when it is closed.
        """
