"""One of a thing in place of several: "loose bolt" of "two loose bolts". Free of torch.

Training says a plural only of two or more, operators of any: a model that is asked for "scratches" finds none where
there is one.
"""

from __future__ import annotations

import re
from functools import cache

from simvg_core.counted import EXTREME_WORDS
from simvg_core.lineworld.vocabulary import CONCEPTS
from simvg_core.lineworld.wordings import further_names
from simvg_core.sayings import NAME_ENDS
from simvg_core.spelling import NUMBER_WORD, without_article

_AGREEING = {"are": "is", "were": "was", "have": "has", "sit": "sits", "lean": "leans", "them": "it"}
_COUNTED = re.compile(rf"\b(?:{NUMBER_WORD})\b")


def of_one(words: str) -> str:
    """The first thing that a text names as one, with the verb that belongs to it, without article and number; the text
    as it stands where that thing is one already, or where it is one of several of its like ("the largest caps")."""
    bare = without_article(words)
    if bare in _names():
        return _names()[bare]
    parts = bare.split()
    if not EXTREME_WORDS.isdisjoint(parts):
        return words
    first = next((place for place, word in enumerate(parts) if word in _nouns()), len(parts))
    while first + 1 < len(parts) and parts[first + 1] in _nouns():  # "bolt holes"
        first += 1
    if first == len(parts) or parts[first] not in _singulars() or _told_before(parts[:first]):
        return words
    end = next((place for place, word in enumerate(parts) if place > first and word in _AGREEING), len(parts))
    return " ".join((*parts[:first], _singulars()[parts[first]], *parts[first + 1 : end], *map(_agreed, parts[end:])))


def each_as_one(words: str) -> str:
    """Every thing that a text names as one: "holes without bolts" as "hole without bolt"."""
    return " ".join(_singulars().get(word, _agreed(word)) for word in words.split())


def _agreed(word: str) -> str:
    return _AGREEING.get(word, word)


def _told_before(words: list[str]) -> bool:
    """Whether the thing belongs to one before it, or is counted in a way that is not read: "plate with two holes"."""
    return not NAME_ENDS.isdisjoint(words) or _COUNTED.search(" ".join(words)) is not None


@cache
def _names() -> dict[str, str]:
    """Whole names by their plurals."""
    return {
        several: one
        for concept in CONCEPTS
        for one, several in concept.names + concept.held_out + further_names(concept)
        if several != one
    }


@cache
def _singulars() -> dict[str, str]:
    """Nouns by their plurals."""
    return {plural: one for one, plural in _pairs() if plural != one}


@cache
def _nouns() -> frozenset[str]:
    return frozenset(word for pair in _pairs() for word in pair)


@cache
def _pairs() -> frozenset[tuple[str, str]]:
    """The words in which a name in the singular and its plural differ; that before the name's end where they do not."""
    found = set()
    for concept in CONCEPTS:
        for name in concept.names + concept.held_out + further_names(concept):
            one, several = (form.split() for form in name)
            end = next((place for place, word in enumerate(one) if word in NAME_ENDS), len(one))
            found.add((one[end - 1], several[end - 1]))
            if "or" in one:
                found.add((one[-1], several[-1]))
    return frozenset(found)
