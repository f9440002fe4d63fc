"""Errors of the model package.

SimVGError
├── ConfigurationError      a setting of the model is out of range or contradicts another
├── InputError              pixels, text or labels the model cannot take
│   ├── ImageError          a frame or pixel tensor of a wrong type, shape or size
│   ├── TextError           a text that is empty after cleaning, or too long
│   └── QueryIndexError     a standing query that does not exist
├── CheckpointError         a weights file that is broken, unsafe, or made for another model
│   └── MismatchError       its keys or shapes are not the model's; names each
├── DivergenceError         a training run whose gradients are no longer finite
└── RenderError             the renderer cannot start, was given more than it holds, or a process of it failed

Each message names the bad value and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence


class SimVGError(Exception):
    """Base of every error raised by simvg_core."""


class ConfigurationError(SimVGError, ValueError):
    """A model setting is out of range or contradicts another one."""


class InputError(SimVGError, ValueError):
    """An input the model cannot take."""


class ImageError(InputError):
    """A frame or pixel tensor of a wrong type, shape or size."""


class TextError(InputError):
    """A text that is empty after cleaning, or longer than the model reads."""


class QueryIndexError(InputError, IndexError):
    """A standing query index outside the compiled set."""


class CheckpointError(SimVGError):
    """A weights file that is broken, unsafe, or made for another model."""


class MismatchError(CheckpointError):
    """A weights file whose keys or shapes are not the model's. `keys`: all of them, by what is wrong."""

    def __init__(self, message: str, keys: dict[str, list[str]]) -> None:
        super().__init__(message)
        self.keys = keys


class DivergenceError(SimVGError, ArithmeticError):
    """A training run whose gradients are no longer finite."""


class RenderError(SimVGError):
    """The renderer cannot start, was given more than it holds, or one of its processes failed."""


LISTED = 20
"""Names that a message gives before it only counts."""


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are; "none"."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "none") + more
