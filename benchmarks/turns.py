"""Processes that take turns on the same cores: one runs, the others are stopped in the middle of what they do.

What a shared machine gives changes within seconds. Cases that take turns of a second or two, forty times over, get the
same share of its good and bad moments; one after the other for ten seconds each, they differed by 30 % between rounds.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress


class Turns:
    """Processes by name and id; see :func:`turns`."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._spans: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}

    def begin(self) -> None:
        """All stop. Raises SystemExit, here as in a turn, when one has ended."""
        for name in self._processes:
            self._signal(name, signal.SIGSTOP)

    def take(self, rounds: int, turn_s: float) -> None:
        """Each has a turn in every round, in every other round in reverse order."""
        names = list(self._processes)
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                begun = time.time()
                self._signal(name, signal.SIGCONT)
                time.sleep(turn_s)
                self._signal(name, signal.SIGSTOP)
                self._spans[name].append((begun, time.time()))

    def run_s(self, name: str, until: float | None = None) -> float:
        """Seconds that it has run in its turns, up to a moment (seconds since 1970) or in all."""
        spans = self._spans[name]
        return sum(max(0.0, (end if until is None else min(end, until)) - begun) for begun, end in spans)

    def end(self) -> None:
        """All run again, so that they can be told to end."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        try:
            os.kill(self._processes[name], number)
        except ProcessLookupError as error:
            raise SystemExit(f"{name} has ended; see what it says above") from error


@contextmanager
def turns(processes: Mapping[str, int]) -> Iterator[Turns]:
    """All are stopped but for their turns, and run again in the end, whatever happens."""
    taken = Turns(processes)
    try:
        taken.begin()
        yield taken
    finally:
        taken.end()
