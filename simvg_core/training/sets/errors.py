"""Errors of data sets on disk.

SetError (an InputError)
├── SetNotFoundError     nothing at the path is a data set, or its images are nowhere
├── SetSplitError        the set has no such split, or a record of that name
├── SetFormatError       a file of the set is broken or has another shape than its format
└── UnsafePickleError    a pickle that asks for more than plain values
"""

from __future__ import annotations

from simvg_core.errors import InputError


class SetError(InputError):
    """A data set that cannot be read."""


class SetNotFoundError(SetError):
    """Nothing at the path is a data set of a known format, or the folder of its images is not found."""


class SetSplitError(SetError):
    """The set has no split or record of that name."""


class SetFormatError(SetError):
    """A file of the set is missing, broken, or has another shape than its format says."""


class UnsafePickleError(SetError):
    """A pickle that asks for classes or functions; it is not executed."""
