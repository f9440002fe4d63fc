"""Folders that long work will write into."""

from __future__ import annotations

import tempfile
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
