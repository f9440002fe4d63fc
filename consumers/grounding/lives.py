"""Which workers have run with one cache folder: what a killed one left open in Kafka, the next one that starts ends.

One whose id was given comes back under it and sees to that itself; the default id comes only once. A worker with such
an id has a file, which is locked for as long as its process lives, whatever ends that.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from consumers.grounding.settings import WorkerSettings

_LOCK = ".lock"


class Lives:
    """The workers of one group on one Kafka, as the folder ``cache_dir`` knows them."""

    def __init__(self, settings: WorkerSettings) -> None:
        group = "\n".join((settings.kafka.bootstrap, settings.kafka.prefix, settings.group))
        self._folder = settings.cache_dir / f"lives-{hashlib.sha256(group.encode()).hexdigest()[:12]}"
        self._name = None if "worker_id" in settings.model_fields_set else settings.worker_id
        self._held: dict[str, int] = {}  # descriptors: a file that nobody refers to any more would be closed

    def begin(self) -> list[str]:
        """Ids of workers whose process is gone, to be seen to and :meth:`forgotten <forget>`.

        This one lives until :meth:`close`. Raises OSError: the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _LOCK).open("w") as lock:  # one at a time: a file is not yet locked when it is made
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._name is not None:
                (self._folder / self._name).touch()
            for path in self._folder.iterdir():
                if path.name != _LOCK:
                    self._hold(path)
        return sorted(name for name in self._held if name != self._name)

    def forget(self, name: str) -> None:
        """What the worker left open is ended."""
        (self._folder / name).unlink(missing_ok=True)
        os.close(self._held.pop(name))

    def close(self) -> None:
        """Whoever starts next may end what is open."""
        while self._held:
            os.close(self._held.popitem()[1])

    def _hold(self, path: Path) -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)  # its worker runs
        else:
            self._held[path.name] = file
