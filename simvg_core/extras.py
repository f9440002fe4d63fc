"""Libraries that only some commands need, by the extra of the package that brings them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

from simvg_core.errors import ConfigurationError

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "edge": ("onnxruntime",),
    "export": ("onnx", "onnxscript"),
    "render": ("av", "drjit", "mapbox_earcut", "mitsuba", "pyoidn"),
    "torch": ("safetensors", "scipy", "sentencepiece", "torch", "transformers"),
    "train": ("accelerate", "jinja2", "matplotlib", "PIL", "tensorboard", "torchvision"),
}
"""Extra → the top-level modules that it brings and that are imported here."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


@contextmanager
def extras(what: str, *names: str) -> Iterator[None]:
    """Raises ConfigurationError, with all of the extras that ``what`` needs, where a library of theirs is imported
    within it and not installed: named one by one they would send a reader from one missing library to the next."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").split(".")[0]
        if not any(library in LIBRARIES[name] for name in names):
            raise
        raise ConfigurationError(
            f"{what} needs {library}, which is not installed; run `pip install 'simvg-line[{','.join(names)}]'`"
        ) from error


def require(what: str, *names: str) -> None:
    """Raises ConfigurationError where a library of the extras is not installed: before processes are started that
    would each end with a traceback, and before hours of work whose last step needs it."""
    with extras(what, *names):
        for library in (library for name in names for library in LIBRARIES[name]):
            if find_spec(library) is None:
                raise ModuleNotFoundError(f"No module named {library!r}", name=library)


def needs(what: str, *names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """A command, with :func:`extras` around it."""

    def wrap(command: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(command)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with extras(what, *names):
                return command(*args, **kwargs)

        return run

    return wrap
