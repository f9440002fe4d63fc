"""How many things a text asks for, where its words say so: one for "the largest cap", two for "both bolts"."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simvg_core.phrasing import phrase
from simvg_core.spelling import NUMBER_WORD, NUMBERS, plain

EXTREME_WORDS = frozenset({
    "leftmost", "rightmost", "topmost", "bottommost", "uppermost", "lowermost", "innermost", "outermost", "frontmost",
    "rearmost", "highest", "lowest", "largest", "biggest", "smallest", "tallest", "shortest", "longest", "widest",
    "narrowest", "thickest", "thinnest", "nearest", "closest", "farthest", "furthest", "brightest", "darkest",
})  # fmt: skip
_SINGULAR = frozenset({"as", "has", "is", "its", "pincers", "pliers", "scissors", "this", "tongs", "was"})
"""Words that end like a plural and are none."""
_WORD = re.compile(r"[a-z]+")
_ALONG = re.compile(
    r"\b(?:with|without|of|on|at|in|from|to|that|which|whose|where|above|below|under|underneath|beneath|next|near|close"
    r"|beside|adjacent|behind)\b|(?<!\bthere )\b(?:is|are|has|have|was|were)\b"
)
"""From here on a text tells of other things, or what is so of its own."""
_ASKING = re.compile(r"^(?:is|are) ")
_CLOSEST = re.compile(
    r"(?:(?!\b(?:left|right) of\b|\b(?:above|below|under|underneath|beneath|next|near|close|beside|adjacent)\b).)+"
    r" (?:nearest|closest)(?= (?:to|the|an?|any|both)\b)"
)
"""Of what is related so there is one; not of what else is said to be beside that."""
_NUMBER = re.compile(rf"\b({NUMBER_WORD})\b(?:(?: of)? the\b| of\b)? *")
_ALL = np.iinfo(np.intp).max


def at_most(text: str) -> int | None:
    """How many things a text can mean; None where it does not say.

    A number says it, and so does an extreme, of which there is one: but not in a text with a plural ("the largest
    caps"). Only that of the thing itself counts, not that of another ("bolt left of the largest cap").
    """
    said = _ASKING.sub("", phrase(text).stated)
    closest = _CLOSEST.match(said)
    thing = _ALONG.split(said if closest is None else closest[0], maxsplit=1)[0]
    number = _NUMBER.search(thing)
    if number is not None:
        return NUMBERS[number[1]]
    words = _WORD.findall(thing)
    if closest is None and EXTREME_WORDS.isdisjoint(words):
        return None
    plural = any(word.endswith("s") and not word.endswith("ss") and word not in _SINGULAR for word in words)
    return None if plural else 1


def uncounted(text: str) -> str:
    """A text without its number: what is looked for in a picture that may show fewer, or others, than are meant."""
    words = plain(text)
    if at_most(text) is None or _NUMBER.search(words) is None:
        return text
    return _NUMBER.sub("", words, count=1).strip() or text


def limits(texts: Sequence[str]) -> NDArray[np.intp] | None:
    """(N,) the most boxes that answer each of N texts; None where no text says how many."""
    found = [at_most(text) for text in texts]
    if all(most is None for most in found):
        return None
    return np.array([_ALL if most is None else most for most in found], np.intp)
