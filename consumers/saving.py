"""Where a command is to write what it reads: looked at before it reads, so that nothing is read in vain."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import SettingsError


def require_file(out: Path, *, suffixes: Collection[str] = ()) -> None:
    """Passes a path that a file can be written to, with one of the suffixes if any are given (in small letters).

    Raises SettingsError naming the path.
    """
    if suffixes and out.suffix.lower() not in suffixes:
        raise SettingsError(f"--out {out} is no name of a picture; end it with {' or '.join(suffixes)}")
    if out.is_dir():
        raise SettingsError(f"--out {out} is a folder; name a file in it")
    if not out.parent.is_dir():
        raise SettingsError(f"--out {out}: there is no folder {out.parent}; make it first, or name another")


def require_folder(out: Path) -> None:
    """Passes a path that is a folder or can become one. Raises SettingsError naming the path that is a file."""
    for path in (out, *out.parents):
        if path.exists():
            if not path.is_dir():
                raise SettingsError(f"--out {out}: {path} is a file, and a folder is needed; name another")
            return


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """What the system has against writing there comes as SettingsError, naming the path."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"--out {out} cannot be written: {error.strerror or error}") from error
