"""Texts of known words that a model must not be asked, because its answer would be that to another question.

A model that has read only what training says takes "no label" and "missing label" for "label", of two things in one
text it finds the first, and numbers it cannot compare. Free of torch.
"""

from __future__ import annotations

import re

from simvg_core.predicates import ABSENT, NEGATIONS, is_said
from simvg_core.reading import EXTREME_IN, WORDS, read
from simvg_core.sayings import is_name, names_fastener, names_tool, nouns
from simvg_core.words import clean_text

_COMPARING = frozenset({"more", "less", "fewer", "than", "least", "most", "greater", "larger", "smaller", "bigger"})
_COMPARED = re.compile(
    r"[<>≤≥]|\b(?:more|less|fewer|greater|larger|smaller|bigger|longer) than\b|\bat (?:least|most)\b"
)
_LISTED = re.compile(r"[,;/\n]")
_NUMBERED = re.compile(r"\bno (?=\d)")  # "label no. 7"
_DENIERS = ("no", "without", "zero", "0", "lacks", "lacking")
_ARTICLES = frozenset({"a", "an", "any", "the"})
_OF_ABSENCE = ABSENT | NEGATIONS | _ARTICLES | {
    "are", "been", "does", "exist", "has", "have", "is", "installed", "present", "there", "visible", "was", "were",
}  # fmt: skip


def refusal(text: str) -> str | None:
    """Why a text that a model is asked in parts should not be asked, with what to write instead; None if it may be."""
    if _COMPARED.search(text.lower()):
        return (
            f"the model cannot compare numbers or sizes ({text!r}); name the thing, or how many are meant: "
            "“two bolts” gives no more boxes than that"
        )
    listed = _listed(text)
    if listed is not None:
        return f"{text!r} names several things ({listed}), of which the model finds the first; write a query for each"
    said = read(text)
    return said.unclear or next(filter(None, map(_absence, said.parts)), None)


def understood(word: str) -> bool:
    """Whether a refusal tells more of a word than that a model does not know it."""
    return not word.isalpha() or word in _COMPARING | NEGATIONS | ABSENT | WORDS


def _listed(text: str) -> str | None:
    """The things that a text lists, where it lists any."""
    lists = [_LISTED.split(text)]
    lists += [part.split(" or ") for part in read(text).parts if not is_said(EXTREME_IN.sub("", _plain(part)))]
    for things in lists:
        named = [one for one in (_plain(thing) for thing in things) if nouns(one)]
        if len(named) > 1:
            return ", ".join(f"“{one}”" for one in named)
    return None


def _absence(part: str) -> str | None:
    """Why a text that says what a thing is not, or that it is not there, should not be asked; None of any other."""
    plain = _NUMBERED.sub("", _plain(part))
    words = plain.split()
    if is_said(EXTREME_IN.sub("", plain)):
        return None
    denied = not NEGATIONS.isdisjoint(words)
    absent = not ABSENT.isdisjoint(words) and bool(nouns(plain)) and not names_fastener(plain) and not names_tool(plain)
    if not (denied or absent):
        return None
    thing = _denied(words) or (nouns(plain)[0] if absent else None)
    if thing is None:
        remedy = "say what is so instead, as in “loose bolt” or “straight label”"
    elif names_fastener(thing):
        remedy = "write “missing bolt” or “missing screw” for a place that is empty"
    else:
        remedy = f"ask for “{thing}” and expect it to be there (--expect present)"
    return f"the model takes {part!r} for its opposite or for something else: it cannot judge what is denied; {remedy}"


def _denied(words: list[str]) -> str | None:
    """The thing of which a text says that it is not there."""
    place = next((place for place, word in enumerate(words) if word in _DENIERS), None)
    behind = [] if place is None else words[place + 1 :]
    while behind and behind[0] in _ARTICLES:
        behind = behind[1:]
    thing = " ".join(behind)
    if nouns(thing):
        return thing
    thing = " ".join(word for word in words if word not in _OF_ABSENCE)
    return thing if is_name(thing) else None


def _plain(text: str) -> str:
    return " ".join(clean_text(text).split())
