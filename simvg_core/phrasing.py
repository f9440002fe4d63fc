"""How a text is put, apart from what it says: questions, orders and short forms. Free of torch.

"Is there a cap on the left?" asks for the cap on the left, and so does "alarm if there is a cap on the left".
"""

from __future__ import annotations

import re

from simvg_core.counted import in_words
from simvg_core.sayings import meaning
from simvg_core.words import clean_text

_SHORT = {f"{verb}nt": f"{verb} not" for verb in ("is", "are", "was", "were", "has", "have", "does", "do")} | {
    "theres": "there is",
    "thats": "that is",
}
_ORDER = re.compile(r"(?:alarm|alert|warn|notify|tell|check|stop)(?: me)? (?:if|when|whether) (?=.)")
_THERE = re.compile(r"(?:(?:is|are) there|there (?:is|are)) (?=.)")
_ASKING = re.compile(r"(?:is|are) (?=.)")


def plain(text: str) -> str:
    """In lower case, without marks, with numbers of things in words."""
    return in_words(" ".join(clean_text(text).split()))


def stated(words: str) -> str:
    """A plain text without an order ahead of it, without "there is", and with its short forms in full."""
    full = _ORDER.sub("", " ".join(_SHORT.get(word, word) for word in words.split()), count=1)
    return full if meaning(full) is not None else _THERE.sub("", full, count=1)


def answered(words: str) -> str | None:
    """What a question asks about, with what may be so of it behind it: "the cap on the left red"; None of any other."""
    found = _ASKING.match(words)
    return None if found is None else words[found.end() :]
