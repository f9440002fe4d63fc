"""What a training run says: JSON lines on disk, and TensorBoard where it is installed."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from simvg_core.errors import ConfigurationError
from simvg_core.training.folder import writing

log = logging.getLogger(__name__)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; without its last one where that is not finished, as a full disk or a lost machine leaves it.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line.strip()]


class RunLog:
    """Appends to RUN/log.jsonl; use as a context manager.

    Args:
        step: where the run goes on. What a killed one drew of later steps, TensorBoard no longer shows.
        silent: for all processes of a run but the first.

    Raises:
        ConfigurationError: on use, where the disk is full, or another run writes into the folder.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, step: int = 0, silent: bool = False) -> None:
        self.path = folder / "log.jsonl"
        self.settings, self.silent = settings, silent
        self.board = None if silent else _board(folder, step + 1)
        self.held: IO[bytes] | None = None

    def __enter__(self) -> RunLog:
        if not self.silent:
            self.held = _hold(self.path)
            _finish(self.path)
        self.note("settings", **self.settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.board is not None:
            self.board.close()
        if self.held is not None:
            self.held.close()

    def note(self, what: str, **fields: Any) -> None:
        """One line."""
        if self.silent:
            return
        line = json.dumps({"what": what, "at": round(time.time(), 1), **fields}, default=str)
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def scalars(self, what: str, step: int, **values: float | None) -> None:
        """One line of numbers; also drawn by TensorBoard. None = not asked, or not finite, which JSON cannot say."""
        if self.silent:
            return
        rounded = {
            name: None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
            for name, value in values.items()
        }
        self.note(what, step=step, **rounded)
        log.info("%s %d %s", what, step, rounded)
        if self.board is not None:
            for name, value in values.items():
                if value is not None:
                    self.board.add_scalar(f"{what}/{name}", value, step)


def _hold(path: Path) -> IO[bytes]:
    """The log, locked until it is closed or its process ends: two runs in one folder would break each other's files."""
    with writing(path):
        file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ConfigurationError(
            f"another run writes into {path.parent}; wait for its end, or name another folder with output."
        ) from error
    except OSError:
        log.warning("%s cannot be locked on this file system: see that no other run writes into its folder.", path)
    return file


def _finish(path: Path) -> None:
    """Takes an unfinished last line off, so that the next one begins on its own."""
    with path.open("rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("TensorBoard is not installed, so the curves are only in log.jsonl; pip install tensorboard.")
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step if step > 1 else None)
