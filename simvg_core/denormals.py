"""Numbers too small to matter, taken as zero while a model runs.

A softmax over hundreds of patches leaves most of them with weights below 1e-38, which x86 processors, Intel's above
all, multiply many times slower than others: of the shipped model the gate took five times as long, the query pass a
fifth longer and the frame pass a tenth. Answers differ by less than such a number. (Intel 64 and IA-32 Architectures
Software Developer's Manual, volume 1, section 10.2.3: flush-to-zero and denormals-are-zeros.)
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

_ENVIRONMENT = 32
"""Bytes of glibc's fenv_t on x86-64; the last four are the register MXCSR."""
_MXCSR = 28
_ZERO = 0x8040
"""Its bits flush-to-zero and denormals-are-zeros."""


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """For this thread, in the block; then as before. Nothing happens on other processors, and on systems other than
    Linux with glibc."""
    library = _library()
    if library is None:
        yield
        return
    before = ctypes.create_string_buffer(_ENVIRONMENT)
    library.fegetenv(before)
    now = ctypes.create_string_buffer(before.raw, _ENVIRONMENT)
    struct.pack_into("I", now, _MXCSR, struct.unpack_from("I", before, _MXCSR)[0] | _ZERO)
    library.fesetenv(now)
    try:
        yield
    finally:
        library.fesetenv(before)


@cache
def _library() -> Any:
    """The C library's functions on the floating-point environment; None where it is not the one that is meant."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.libc_ver()[0] != "glibc":
        return None
    try:
        return ctypes.PyDLL("libm.so.6")
    except OSError:
        return None
