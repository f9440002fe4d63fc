"""What a training run says: JSON lines on disk, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from types import TracebackType
from typing import Any

log = logging.getLogger(__name__)


class RunLog:
    """Appends to RUN/log.jsonl; use as a context manager. `silent` for all processes of a run but the first."""

    def __init__(self, folder: Path, settings: dict[str, Any], silent: bool = False) -> None:
        self.path = folder / "log.jsonl"
        self.settings, self.silent = settings, silent
        self.board = None if silent else _board(folder)

    def __enter__(self) -> RunLog:
        self.note("settings", **self.settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.board is not None:
            self.board.close()

    def note(self, what: str, **fields: Any) -> None:
        """One line."""
        if self.silent:
            return
        line = json.dumps({"what": what, "at": round(time.time(), 1), **fields}, default=str)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def scalars(self, what: str, step: int, **values: float | None) -> None:
        """One line of numbers; also drawn by TensorBoard. None = not asked."""
        if self.silent:
            return
        rounded = {name: None if value is None else float(f"{value:.5g}") for name, value in values.items()}
        self.note(what, step=step, **rounded)
        log.info("%s %d %s", what, step, rounded)
        if self.board is not None:
            for name, value in values.items():
                if value is not None:
                    self.board.add_scalar(f"{what}/{name}", value, step)


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("TensorBoard is not installed, so the curves are only in log.jsonl; pip install tensorboard.")
        return None
    return SummaryWriter(str(folder / "tensorboard"))
