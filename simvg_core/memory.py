"""What the allocator of this process does with freed memory. Imports nothing of the model."""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Mapping

logger = logging.getLogger(__name__)

# glibc mallopt: blocks up to 32 MiB (its maximum) come from the heap, and the heap is not given back.
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8
_LARGEST_BLOCK, _NEVER = 32 << 20, 2**31 - 1
_HEAPS = 2


@functools.cache
def keep_memory() -> bool:
    """Tells the allocator of this process to keep freed memory; False where it is not glibc's."""
    done = _mallopt({_MMAP_THRESHOLD: _LARGEST_BLOCK, _TRIM_THRESHOLD: _NEVER})
    logger.debug("freed memory stays with the process: %s", done)
    return done


@functools.cache
def few_heaps() -> bool:
    """Gives all threads of this process two heaps together instead of one each; False where it is not glibc's.

    Pictures are decoded in one thread, looked at in another and freed in a third: what lies free in the heap of one is
    no use to the others, and comes from the system again, page by page, with every frame. Takes effect on heaps that
    do not exist yet: call it before most threads begin.
    """
    done = _mallopt({_ARENA_MAX: _HEAPS})
    logger.debug("two heaps for all threads: %s", done)
    return done


def _mallopt(choices: Mapping[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    answers = [mallopt(choice, value) for choice, value in choices.items()]
    return all(answers)
