"""How a text is put, apart from what it says: questions, orders and short forms. Free of torch.

"Is there a cap on the left?" asks for the cap on the left, and so does "alarm if there is a cap on the left".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from simvg_core.sayings import REMEMBERED, meaning
from simvg_core.spelling import in_full, in_words, plain

_SHORT = {f"{verb}nt": f"{verb} not" for verb in ("is", "are", "was", "were", "has", "have", "does", "do")} | {
    "theres": "there is",
    "thats": "that is",
}
_SILENT = (
    re.compile(r"\bfar (?=left|right)"),
    re.compile(r"\b(?:some (?:(?:kind|sort) of |of )?(?:the )?(?=.)|please )| please$"),
)
"""Words that say nothing of what is meant."""
_ME = r"(?: (?:me|us|know|the line|line|the belt|belt|the machine|operator))*"
_ALARM = (
    r"(?:(?:raise|sound|give|send|trigger) (?:an? |the )?)?"
    rf"(?:alarm|alert|warning|warn|notify|tell|stop|halt|reject|report|let){_ME}"
)
_ORDER = re.compile(
    rf"(?:{_ALARM} (?:if|when|whenever|on|for|about|of|at|in case of)|(?:alarm|alert|report|find|detect|show){_ME}"
    r"|(?:look|search|watch) for|if|when|whenever) (?!unless )(?=.)"
)
_AND_ALARM = re.compile(rf"((?:if|when|whenever) .+?)(?: then)? {_ALARM}")
_WANTED = re.compile(
    r"(?:(?:check|ensure|verify|confirm|inspect|make (?:sure|certain))(?: (?:that|if|whether|for))?"
    rf"|(?:{_ALARM} )?unless) (?=.)"
)
_SILENCE = re.compile(rf"(?:(?:do not|never|no) {_ALARM}|ignore|skip)\b")
_SHOULD = re.compile(
    r"(?!.*\bwhere\b)(.+?)(?:(?<! that)(?<! which) (?:is|are) .+?)? "
    r"(?:should|must|shall|(?:has|have|needs?|ought|(?:is|are)(?: supposed)?) to) (not )?(?:be|sit|sits|lie) (.+)"
)
ORDERS = frozenset({
    "alarm", "alert", "certain", "check", "confirm", "do", "ensure", "for", "has", "have", "if", "ignore", "inspect",
    "make", "must", "need", "needs", "notify", "on", "ought", "reject", "shall", "should", "skip", "stop", "supposed",
    "sure", "that", "unless", "verify", "warn", "when", "whether",
})  # fmt: skip
"""Words of orders for what should be so, or should raise no alarm."""
_THERE = re.compile(r"(?:(?:is|are) there|there (?:is|are)) (?=.)")
_ASKING = re.compile(r"(?:is|are) (?=.)")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text in the forms in which all that judge it read it."""

    text: str  # as it was written, with "w/" in full
    words: str  # `plain`
    stated: str  # without an order, "there is" and short forms
    wanted: str | None  # what there should be, where it says that


@lru_cache(REMEMBERED)
def phrase(text: str) -> Phrase:
    """Of a text as it was written."""
    full, words = in_full(text), plain(text)
    said = _stated(words)
    return Phrase(full, words, said, _wanted(said))


def _stated(words: str) -> str:
    """A plain text without an order ahead of it, without "there is", and with its short forms in full."""
    full = " ".join(_SHORT.get(word, word) for word in words.split())
    for silent in _SILENT:
        full = silent.sub("", full)
    full = told[1] if (told := _AND_ALARM.fullmatch(full)) else full
    if (order := _ORDER.match(full)) is not None:
        full = in_words(full[order.end() :])
    return full if meaning(full) is not None else _THERE.sub("", full, count=1)


def silences(words: str) -> bool:
    """Whether a stated text says what should raise no alarm: "do not stop for scratches"."""
    return _SILENCE.match(words) is not None


def _wanted(words: str) -> str | None:
    """What a stated text says that there should be: "the label is straight" of "check that the label is straight"; None
    of any other."""
    if (order := _WANTED.match(words)) is not None:
        return _stated(words[order.end() :])
    found = None if meaning(words) is not None else _SHOULD.fullmatch(words)
    if found is None:
        return None
    about, negation, so = found.groups(default="")
    return f"{negation}{so}" if about == "there" else f"{about} is {negation}{so}"


def answered(words: str) -> str | None:
    """What a question asks about, with what may be so of it behind it: "the cap on the left red"; None of any other."""
    found = _ASKING.match(words)
    return None if found is None else words[found.end() :]
