"""Libraries that only some machines need, by the extra of the package that brings them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.errors import SettingsError


@contextmanager
def extra(name: str, *, module: str, package: str, what: str) -> Iterator[None]:
    """Imports within it raise SettingsError where the top-level ``module`` is not installed: ``what`` needs
    ``package``, and ``simvg-line[name]`` brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != module:
            raise
        raise SettingsError(
            f"{what} needs {package}, which is not installed; run `pip install 'simvg-line[{name}]'`"
        ) from error
