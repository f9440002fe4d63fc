"""The known word that somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like another one; None where none is near, or the word is known."""
    found = difflib.get_close_matches(word, sorted(known), n=1)
    return found[0] if found and found[0] != word else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'line-1'?)"``; empty where `nearest` knows none."""
    near = nearest(word, known)
    return "" if near is None else f" (did you mean {near!r}?)"
