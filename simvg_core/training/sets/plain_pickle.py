"""Pickles of plain values, read without running anything that is in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from simvg_core.training.sets.errors import SetFormatError, UnsafePickleError


class _PlainUnpickler(pickle.Unpickler):
    """Knows no class and no function, so that a file can build lists, dicts, texts and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        raise UnsafePickleError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafePickleError(f"it asks for an object from outside, {pid!r}")


def read_plain_pickle(path: Path) -> Any:
    """The value in a pickle of lists, dicts, texts and numbers. Texts of Python 2 are read as UTF-8.

    Raises:
        UnsafePickleError: the file asks for a class, a function or anything else that is not plain.
        SetFormatError: it is missing or broken.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8", errors="surrogateescape").load()
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f"{path} is not read: {error}, and a file of references holds plain values only. "
            "Get it from its makers again; if you made it yourself, store plain lists, dicts, texts and numbers."
        ) from error
    # a broken stream of opcodes raises nearly anything
    except Exception as error:
        raise SetFormatError(f"{path} cannot be read as a pickle ({error}); get it anew.") from error
