"""Texts that name nothing a model was taught: a state alone ("crooked"), or a word that training says in the names of
other things only ("motor", of "motor bolt"). The model takes them for whatever there is. Free of torch.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import islice, takewhile

from simvg_core.lineworld.designations import WORDS as DESIGNATIONS
from simvg_core.lineworld.vocabulary import CONCEPTS
from simvg_core.lineworld.wordings import further_names, further_statements
from simvg_core.predicates import ARTICLES, NEGATIONS, STATES
from simvg_core.reading import WORDS as PLACES
from simvg_core.reading import Reading
from simvg_core.sayings import names_plate, nouns
from simvg_core.spelling import NUMBERS, plain, without_article
from simvg_core.taught import SIZES

PRONOUNS = frozenset({"it", "its", "their", "them", "these", "they", "this", "those"})
LINKS = frozenset({"at", "behind", "by", "for", "from", "has", "in", "of", "on", "to", "where", "with"})
"""What leads from one thing to another that it is at, in or of."""
WHOLE = frozenset({"component", "material", "metal", "paint", "part", "piece", "product", "unit", "work"})
"""Words for all that is watched, with the things on it: "scratch in the paint" is a scratch."""
_NO_THINGS = frozenset({"area", "line", "pair", "place", "wheel", "wheels"})
"""Ends of names that name nothing alone: "place where a bolt should be"."""
_PARTS = frozenset({"end", "recess", "slot", "thread", "tooth"})
_BESIDE_NAMES = frozenset({*DESIGNATIONS, "machine"})
_LEADING = _BESIDE_NAMES | ARTICLES
_TYPE = re.compile(r"[a-z]?\d*")
_OFFERED = 3


def without_a_thing(part: str, words: str) -> str:
    """Why a part of a text that names no thing should not be asked, with names that training has for its words."""
    instead = ", ".join(f"“{name}”" for name in names_with(words))
    as_in = instead or "“red cap on the left”"
    return f"{part!r} does not name the thing that is looked for; write it, as in {as_in}"


def nothing_named(said: Reading, words: str) -> str | None:
    """Why a part of a text should not be asked that does not name what it is about, or says that it is at, in, of or a
    part of what the model was not taught."""
    judges = (_pronoun, _nameless, _part_of_a_thing, _beside_what_is_unknown)
    return next(filter(None, (judge(said, words) for judge in judges)), None)


def _pronoun(said: Reading, words: str) -> str | None:
    """Why a part of a text should not be asked that does not name what it is about."""
    told = words.split()
    word = next((word for word in told if word in PRONOUNS), None)
    word = told[-1] if told[-1:] in (["one"], ["ones"]) else word
    return word and f"what {word!r} stands for is not told in {said.part!r}; write the thing itself"


def _nameless(said: Reading, words: str) -> str | None:
    """Why a part of a text should not be asked whose words training says, and of no thing. A model that a plant has
    taught further is asked what has words of its own."""
    told = words.split()
    if not _NO_THINGS.issuperset(nouns(words)) or not all(map(_said, told)):
        return None
    word = next((word for word in reversed(told) if word in _BESIDE_NAMES), None)
    if word is None or names_with(words):  # "grease", of "grease stain"
        return without_a_thing(said.part, words)
    return f"{_untaught(word, said.part)}, as in “motor bolt”"


def _part_of_a_thing(said: Reading, words: str) -> str | None:
    """Of a text that would be answered with the whole thing: "gear tooth"."""
    thing, _, last = words.rpartition(" ")
    if last not in _PARTS or not nouns(thing):
        return None
    whole = said.with_part(thing)
    return f"the model was never taught the {last!r} of a thing ({said.part!r}); write “{whole}” for the whole"


def _beside_what_is_unknown(said: Reading, words: str) -> str | None:
    """Why a part of a text should not be asked that says of a thing that it is at, in or of what the model was taught
    beside names only, or has it: "bolt on the motor" would be answered with every bolt."""
    told = words.split()
    for place, link in enumerate(told):
        ahead, behind = told[:place], told[place + 1 :]
        if link not in LINKS:
            continue
        unknown = list(takewhile(_LEADING.__contains__, behind))
        rest = behind[len(unknown) :]
        if nouns(" ".join(ahead)) and not nouns(" ".join(rest[:1])) and (word := _beside_names(unknown)):
            return f"{_untaught(word, said.part)}; write “{said.with_part(' '.join(ahead + rest))}”"
        if ahead and names_plate(without_article(" ".join(behind))):  # everything lies there
            return _nameless(said, " ".join(ahead))
        named = not _LEADING.issuperset(ahead) or names_with(" ".join(ahead))
        if not named and nouns(" ".join(behind)) and (word := _beside_names(ahead)):
            return f"{_untaught(word, said.part)}; write “{said.with_part(without_article(' '.join(behind)))}”"
    return None


def _beside_names(words: list[str]) -> str | None:
    """The last of the words that stand beside names only; None where there is none, or all are for the whole."""
    found = [word for word in words if word in _BESIDE_NAMES]
    return None if WHOLE.issuperset(found) else found[-1]


def _untaught(word: str, part: str) -> str:
    return f"the model was taught nothing that is called {word!r} ({part!r}), and knows the word beside names only"


def _said(word: str) -> bool:
    """Whether a word is one of training's, or a type."""
    return word in _words() or _TYPE.fullmatch(word) is not None


def names_with(words: str) -> list[str]:
    """The first names of things that have all of these words, of each thing one; of some things."""
    told = frozenset(without_article(words).split())
    found = (next((name for name in names if told.issubset(name.split())), None) for names in _names() if told)
    return list(islice(filter(None, found), _OFFERED))


@cache
def _names() -> list[list[str]]:
    """What training calls one thing of each concept, short names first."""
    return [sorted((one for one, _ in each.names + further_names(each)), key=len) for each in CONCEPTS]


@cache
def _words() -> frozenset[str]:
    names = (form for one in CONCEPTS for name in one.names + one.held_out + further_names(one) for form in name)
    sentences = (text for one in CONCEPTS for text in (*one.statements, *further_statements(one)))
    said = {word for text in (*names, *sentences) for word in plain(text).split()}
    return frozenset(said.union(_LEADING, SIZES, NUMBERS, NEGATIONS, STATES, PLACES))
