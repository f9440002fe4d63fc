"""What the training's vocabulary says word by word, and what of it a text names. Free of torch.

The model was taught names ("hole without a bolt") and sentences ("the bolt is not tight"). Words that turn a meaning
round ("no", "not", "missing") it knows in these alone: anywhere else it takes them for their opposite, or for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache

from simvg_core.lineworld.designations import WORDS as DESIGNATIONS
from simvg_core.lineworld.language import parse
from simvg_core.lineworld.meaning import Meaning
from simvg_core.lineworld.vocabulary import CONCEPTS, FASTENERS, MISSING, TOOLS
from simvg_core.lineworld.wordings import further_names, further_statements

REMEMBERED = 20_000
_ARTICLES = frozenset({"a", "an", "any", "the", "all", "both"})
_NUMBERS = frozenset({"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", *map(str, range(2, 11))})
_TYPE = re.compile(r"[a-z]?[1-9]\d?")
NAME_ENDS = frozenset({
    "at", "behind", "bored", "for", "in", "left", "lying", "not", "of", "on", "or", "that", "to", "where", "whose",
    "with", "without",
})  # fmt: skip
"""A name's noun stands before the first of them."""


@lru_cache(REMEMBERED)
def meaning(words: str) -> Meaning | None:
    """Of a name or sentence that training says, in lower case, with or without article and number, and with at most
    one designation ("M6"); None of any other text."""
    return next(filter(None, (parse(form) for one in without_designation(words) for form in _forms(one))), None)


def is_name(words: str) -> bool:
    """Whether training calls something so: "bolt that is not tight", not "the bolt is not tight"."""
    forms = {form for one in without_designation(words) for form in _forms(one)}
    return meaning(words) is not None and forms.isdisjoint(_sentences())


def nouns(words: str) -> list[str]:
    """The things that a text names, in order: "label" of "the crooked label"."""
    return [word for word in words.split() if word in _nouns(None)]


def names_fastener(words: str) -> bool:
    """Whether a text names a bolt, screw or fastener: what training says to be missing."""
    return not _nouns(FASTENERS).isdisjoint(words.split())


def names_tool(words: str) -> bool:
    """Whether a text names a tool: a forgotten one is there."""
    return not _nouns(TOOLS).isdisjoint(words.split())


def names_plate(words: str) -> bool:
    """Whether a text is the name of what other things lie on."""
    said = meaning(words)
    return said is not None and said.concept.key == "plate"


def says_missing(words: str) -> bool:
    """Whether a text is one of those for what should be there and is not."""
    said = meaning(words)
    return said is not None and said.concept.kinds <= MISSING


def is_fault(words: str) -> bool:
    """Whether a text in training's words is for what should not be there: a defect, or a tool."""
    said = meaning(words)
    return names_tool(words) or (said is not None and said.concept.defect)


def _forms(words: str) -> Iterator[str]:
    """As it stands, without articles and number, and with an article: sentences have their own."""
    yield words
    parts = words.split()
    while parts and (parts[0] in _ARTICLES or (parts[0] in _NUMBERS and parts[1:2] != ["sided"])):
        parts.pop(0)
    bare = " ".join(parts)
    yield from (bare, f"a {bare}", f"the {bare}")


def without_designation(words: str) -> Iterator[str]:
    """A text as it stands, and without each of the designations in it."""
    yield words
    parts = words.split()
    for place, word in enumerate(parts):
        if word in _DESIGNATIONS or _TYPE.fullmatch(word):
            yield " ".join(parts[:place] + parts[place + 1 :])
            if place and word.isdigit() and len(parts[place - 1]) == 1:  # "A-17" is two words
                yield " ".join(parts[: place - 1] + parts[place + 1 :])


_DESIGNATIONS = frozenset(DESIGNATIONS)


@cache
def _sentences() -> frozenset[str]:
    return frozenset(
        sentence
        for concept in CONCEPTS
        for sentence in concept.statements + concept.statements_held_out + further_statements(concept)
    )


@cache
def _nouns(kinds: frozenset[str] | None) -> frozenset[str]:
    """The last words of names, of things of these kinds alone or of all."""
    found = set()
    for concept in CONCEPTS:
        if kinds is None or concept.kinds <= kinds:
            for name in concept.names + concept.held_out + further_names(concept):
                for form in name:
                    words = form.split()
                    end = next((place for place, word in enumerate(words) if word in NAME_ENDS), len(words))
                    found.add(words[end - 1])
    return frozenset(found - {"head", "heads"})  # "hex head" is a bolt, and so is "bolt, hex head"
