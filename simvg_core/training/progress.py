"""Where a run is, and how that is written down."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from simvg_core.training.folder import writing

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run is; saved with every checkpoint."""

    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    round_tasks: list[tuple[int, list[str]]] | None = None  # what is left of the current round
    folders: list[str] = field(default_factory=list)  # of rendered sets, which `round_tasks` names by their places
    heard: dict[str, int] = field(default_factory=dict)  # words of the texts asked, and how often

    @classmethod
    def of(cls, saved: dict[str, Any], folders: Sequence[str]) -> Progress:
        """From `asdict`, perhaps of an earlier version; `folders`: those of the run that goes on. Where they are others
        than those of the checkpoint, what is left of its round would be taken from the wrong sets, and a new one is
        drawn.

        Raises TypeError where that made no progress.
        """
        progress = cls(**{name: value for name, value in saved.items() if name != "best"})  # which nothing used
        for name in ("step", "epoch"):
            if not isinstance(value := saved.get(name), int):
                raise TypeError(f"{name} is {value!r}")
        if progress.round_tasks and "folders" in saved and progress.folders != list(folders):
            log.warning("the rendered sets are others than the checkpoint's, so that a new round is drawn from them.")
            progress.round_tasks = None
        progress.folders = list(folders)
        return progress


def write_state(state: dict[str, Any], path: Path) -> None:
    """A checkpoint; replaced in one move, so that a kill leaves the old or the new one.

    Raises:
        ConfigurationError: the disk is full, or lets nothing be written; the old one stays.
    """
    part = path.with_suffix(".part")
    try:
        with writing(path, RuntimeError):  # torch's for a disk that fills up
            torch.save(state, part)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # of a full disk, the first thing to give back
