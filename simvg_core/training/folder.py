"""Folders that long work writes into."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simvg_core.errors import ConfigurationError


def make_folder(folder: Path, setting: str) -> Path:
    """The folder, made where it is not there; `setting` is what names it.

    Raises:
        ConfigurationError: it cannot be made, or nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"nothing can be written into {folder} ({error.strerror}); name another folder with {setting}."
        ) from error
    return folder


@contextmanager
def writing(path: Path, *also: type[Exception]) -> Iterator[None]:
    """For what a run writes as it goes; `also` are what a library raises, beside OSError, for a disk that fills up.

    Raises:
        ConfigurationError: the disk is full, or lets nothing be written.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except kinds as error:
        told = error.strerror if isinstance(error, OSError) else None
        why = told or f"is the disk full? {str(error).splitlines()[0]}"
        raise ConfigurationError(
            f"{path} cannot be written ({why}); make room on its disk, then go on with --resume."
        ) from error
