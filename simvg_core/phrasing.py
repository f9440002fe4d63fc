"""How a text is put, apart from what it says: questions, orders, short forms and the order of its parts. Free of torch.

"Is there a cap on the left?" asks for the cap on the left, and so do "alarm if there is a cap on the left" and "on the
left there is a cap".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from simvg_core.sayings import REMEMBERED, meaning, names_fastener, nouns
from simvg_core.sides import SCREEN, place_last
from simvg_core.spelling import NUMBER_WORD, in_full, in_words, plain

_SHORT = {f"{verb}nt": f"{verb} not" for verb in ("is", "are", "was", "were", "has", "have", "does", "do")} | {
    "theres": "there is",
    "thats": "that is",
    "wheres": "where is",
}
_SILENT = (
    re.compile(r"\bfar (?=left|right)"),
    re.compile(r"\b(?:some (?:(?:kind|sort) of |of )?(?:the )?(?=.)|please )| please$"),
    re.compile(rf"(?<=\w) (?:in|on) {SCREEN}$"),
    re.compile(r"(?<=\w )no (?=\d+\b(?! \w{2,}s\b))"),  # "label no. 7"
)
"""Words that say nothing of what is meant."""
_OUT = re.compile(r"\b(?:came|fell|dropped|fallen|has fallen|has come|is) out\b(?! of)")
_OUT_AT_THE_END = re.compile(r"\b(\w+) out$")
_MISSING_SOME = re.compile(rf"missing (?:the )?({NUMBER_WORD}|10|[2-9]) (?=[a-z])")
_WHERE_IS = re.compile(r"where (?:is|are) (?=.)")
_ON_PLATE = re.compile(
    r"\b(?!(?:left|right|top|bottom|upper|lower|sides?|half|part|corners?|edges?|borders?|middle|cent(?:er|re)|hand|oil"
    r"|bored|colou?r|one|all|both|some|none|any|each|not)\b)(\w+) (?:on|in|of|from) (?:the |an? )?"
    r"(?:plate|panel|surface)s?"
    r"(?=$| (?:is|are|has|have|on|at|in|to|left|right|above|below|under|next|near|close|beside|that|which"
    r"|with|without|where)\b)"
)
"""Where everything lies; the model takes "bolt on the plate" for a mixture of both."""
_LYING = frozenset({"crooked", "dirt", "loose", "missing", "skewed", "tilted"})
"""Words before that, beside the names of things."""
_IS_THERE = re.compile(r"(?:(?:is|are) )?(.+?) (?:is |are )?there")
_ME = r"(?: (?:me|us|know|the line|line|the belt|belt|the machine|operator))*"
_ALARM = (
    r"(?:(?:raise|sound|give|send|trigger) (?:an? |the )?)?"
    rf"(?:alarm|alert|warning|warn|notify|tell|stop|halt|reject|report|let){_ME}"
)
_STOPPED = rf"(?:{_ALARM}(?: (?:the |this )?(?:plate|panel|part|piece|product|conveyor))?)"
_NAMED = r"(?= (?:an?|any|the|all|every|each|missing|loose|tilted|crooked|wrong|scratch\w*|dent\w*|stain\w*)\b)"
"""What follows words that are orders only ahead of it: a warning label is a label, a mark on the plate a mark."""
_ORDER = re.compile(
    rf"(?:{_STOPPED} (?:if|when|whenever)|{_ALARM} (?:on|for|about|of|at|in case of)"
    rf"|(?:(?:can|do|could) you |i want to )?(?:find|detect|show|see|know|highlight|locate|identify){_ME}"
    rf"(?: (?:out )?(?:if|when|whenever))?|(?:alarm|alert|report){_ME}"
    rf"|(?:flag|list|mark|reject|search|spot|warn|warning){_NAMED}"
    r"|(?:look|looking|search|searching|watch) (?:out )?for|if|when|whenever)"
    r" (?!(?:unless|whether|that|out) )(?=.)"
)
_AND_ALARM = re.compile(rf"((?:{_STOPPED} )?(?:if|when|whenever) .+?)(?: then| and)? {_STOPPED}")
_WANTED = re.compile(
    r"(?:(?:check|ensure|verify|confirm|inspect|make (?:sure|certain))(?: (?:that|if|whether|for))?"
    r"|(?:see|find out|detect|monitor|control|examine)(?: that| whether)"
    r"|(?:monitor|control|examine)(?: if| for|(?= (?:the|missing|loose|crooked)\b))"
    rf"|(?:{_ALARM} )?unless) (?=.)"
)
_SILENCE = re.compile(rf"(?:(?:do not|never|no) {_ALARM}|ignore|skip)\b")
_SHOULD = re.compile(
    r"(?!.*\bwhere\b)(.+?)(?:(?<! that)(?<! which) (?:is|are) .+?)? "
    r"(?:should|must|shall|(?:has|have|needs?|ought|(?:is|are)(?: supposed)?) to) (not )?(?:be|sit|sits|lie) (.+)"
)
ORDERS = frozenset({
    "alarm", "alert", "certain", "check", "confirm", "control", "detect", "do", "ensure", "examine", "find", "for",
    "has", "have", "if", "ignore", "inspect", "make", "monitor", "must", "need", "needs", "notify", "on", "ought",
    "reject", "see", "shall", "should", "skip", "stop", "supposed", "sure", "that", "unless", "verify", "warn", "when",
    "whether",
})  # fmt: skip
"""Words of orders for what should be so, or should raise no alarm."""
_THERE = re.compile(r"(?:(?:is|are) there|there (?:is|are)) (?=.)")
_ASKING = re.compile(r"(?:is|are) (?=.)")
_DENIED = re.compile(r"\b(?:not|no|all|both|each|every|should|must|shall|to|that|which)\b")
"""With them a thing that "is there" is more than the thing."""


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
    full = _MISSING_SOME.sub(lambda found: in_words(f"{found[1]} missing "), full)
    if meaning(full) is not None:
        return full
    full = _OUT.sub("has fallen out", place_last(_WHERE_IS.sub("", full)))
    full = _OUT_AT_THE_END.sub(lambda found: f"{found[1]} has fallen out" if nouns(found[1]) else found[0], full)
    full = _ON_PLATE.sub(_lying, in_words(_THERE.sub("", full, count=1)))
    found = _IS_THERE.fullmatch(full)
    # a bolt that is there is refused by name: the model takes it for the hole without one
    return found[1] if found and nouns(found[1]) and not names_fastener(found[1]) and not _DENIED.search(full) else full


def _lying(found: re.Match[str]) -> str:
    """What lies on a plate, where that is one of training's things."""
    return found[1] if nouns(found[1]) or found[1] in _LYING else found[0]


def silences(words: str) -> bool:
    """Whether a stated text says what should raise no alarm: "do not stop for scratches"."""
    return _SILENCE.match(words) is not None


def is_order(words: str) -> bool:
    """Whether plain words only say what is to be done: "then stop the line"."""
    return re.fullmatch(rf"(?:then )?(?:please )?{_STOPPED}", words) is not None


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
