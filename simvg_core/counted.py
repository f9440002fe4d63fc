"""How many things a text asks for, where its words say so: one for "the largest cap", two for "both bolts"."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_NUMBERS = {
    "two": 2, "both": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10
}  # fmt: skip
"""Not "one": "one bolt is missing" is true where two are."""
_EXTREMES = frozenset({
    "leftmost", "rightmost", "topmost", "bottommost", "uppermost", "lowermost", "innermost", "outermost", "frontmost",
    "rearmost", "highest", "lowest", "largest", "biggest", "smallest", "tallest", "shortest", "longest", "widest",
    "narrowest", "thickest", "thinnest", "nearest", "closest", "farthest", "furthest", "brightest", "darkest",
})  # fmt: skip
_SINGULAR = frozenset({"as", "has", "is", "its", "pincers", "pliers", "scissors", "this", "tongs", "was"})
"""Words that end like a plural and are none."""
_WORD = re.compile(r"[a-z]+")
_ALL = np.iinfo(np.intp).max


def at_most(text: str) -> int | None:
    """How many things a text can mean; None where it does not say.

    A number says it, and so does an extreme, of which there is one: but not in a text with a plural ("the largest
    caps").
    """
    words = _WORD.findall(text.lower())
    number = next((_NUMBERS[word] for word in words if word in _NUMBERS), None)
    if number is not None or _EXTREMES.isdisjoint(words):
        return number
    plural = any(word.endswith("s") and not word.endswith("ss") and word not in _SINGULAR for word in words)
    return None if plural else 1


def limits(texts: Sequence[str]) -> NDArray[np.intp] | None:
    """(N,) the most boxes that answer each of N texts; None where no text says how many."""
    found = [at_most(text) for text in texts]
    if all(most is None for most in found):
        return None
    return np.array([_ALL if most is None else most for most in found], np.intp)
