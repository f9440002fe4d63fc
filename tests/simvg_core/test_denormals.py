"""Numbers too small to matter are zero while a model runs, and only then."""

from __future__ import annotations

import platform
import threading

import numpy as np
import pytest

from simvg_core.denormals import flushed

TINY = np.full(4, 1e-40, np.float32)
# Elsewhere nothing is to happen.
SUPPORTED = platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"


def kept() -> bool:
    return bool((TINY * np.float32(0.5)).any())


def test_tiny_numbers_are_zero_in_the_block() -> None:
    """Also nested, and as before after an error."""
    assert kept()
    with flushed():
        assert kept() is not SUPPORTED
        with flushed():
            assert kept() is not SUPPORTED
        assert kept() is not SUPPORTED
    assert kept()
    with pytest.raises(ValueError, match="within"), flushed():
        raise ValueError("within")
    assert kept()


def test_other_threads_go_on_as_they_were() -> None:
    """Those that were there before the block."""
    go, told = threading.Event(), []
    thread = threading.Thread(target=lambda: (go.wait(10), told.append(kept())))
    thread.start()
    with flushed():
        go.set()
        thread.join()
    assert told == [True]
