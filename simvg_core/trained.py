"""What training says in almost the words of a text: "hole without a bolt" of "holes without bolts". Free of torch.

Articles, numbers, plurals and verbs that only lead on tell nothing of what is meant, and nor does it matter whether
what is so of a thing stands before or behind it. Words that turn a meaning round do, and keep their place.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from simvg_core.lineworld.meaning import Meaning
from simvg_core.lineworld.vocabulary import COLOR_WORDS, CONCEPTS, Concept
from simvg_core.lineworld.wordings import further_names, further_statements
from simvg_core.sayings import REMEMBERED, is_name, meaning, without_designation
from simvg_core.singular import each_as_one, of_one
from simvg_core.spelling import NUMBER_WORD

_SILENT = frozenset({"a", "all", "an", "any", "both", "is", "that", "the", "was", "which"})
COLORS = frozenset(word for words in COLOR_WORDS.values() for word in words)
_LIKE = {
    "sticker": "label",
    "tag": "label",
    "decal": "label",
    "fault": "flaw",
    "has": "with",
    "lacks": "without",
    "lacking": "without",
}
_IN_ORDER = frozenset({
    "at", "behind", "for", "from", "in", "left", "lying", "no", "not", "of", "on", "out", "should", "to",
    "where", "whose", "with", "without",
})  # fmt: skip
"""Words beside which the order of the others tells: a hole without a bolt is no bolt without a hole."""
_LEADING = re.compile(rf"(?:there (?:is|are) )?(?:(?:{NUMBER_WORD}) )?")
_COUNTED = re.compile(rf"^(?:the )?(?:{NUMBER_WORD}) (?=\w+s\b)")
_COLOR = rf"(?:{'|'.join(sorted(COLORS))})"
_IN_COLOR = (
    (re.compile(rf"(?:the )?colou?r of (.+?) is ({_COLOR})$"), r"\2 \1"),
    (re.compile(rf"\b(?:(?:has|in|of|with)(?: the| an?)? )?({_COLOR})(?: in)? colou?r(?:ed)?\b"), r"\1"),
    (re.compile(rf"\b(?:(?:in|of|with)(?: the| an?)?(?: colou?r)?|has(?: the)? colou?r|colou?red) ({_COLOR})$"), r"\1"),
)
"""Red in colour, red coloured, of red colour: training says "red"."""
_WRONG = re.compile(r"(?:(?:an?|the) )?(?:wrong (\w+)|(\w+) (?:is )?wrong)")
_BEEN = re.compile(r"\b(?:has|have|had)( not)? been\b")


@lru_cache(REMEMBERED)
def trained(words: str) -> str | None:
    """What training says of a text in lower case: the text itself where it says it so, else the nearest that means the
    same; None of any other text."""
    if meaning(words) is not None:
        return words
    said = (_texts().get(_key(one)) for one in without_designation(words))
    return next(filter(None, said), None) or _with_color(words) or _of_wrong_color(words)


@lru_cache(REMEMBERED)
def as_trained(words: str) -> str:
    """A text as training says it, of one thing where it names several; as it stands where training says it so, or says
    nothing like it.

    A sentence is as true of one thing as of several: "bolts are missing" stays.
    """
    one = of_one(words)
    if meaning(words) is not None:
        return one if is_name(words) and meaning(one) == meaning(words) else _COUNTED.sub("", words)
    return trained(words) or trained(one) or one


@lru_cache(REMEMBERED)
def trained_meaning(words: str) -> Meaning | None:
    """What a text means that training says in almost its words, without a designation; None of any other, those that
    are kept for the benchmark among them: nothing that knows what they mean may answer there."""
    found = _texts().get(_key(words))
    return None if found is None else meaning(found)


def plain_name(concept: Concept) -> str:
    """What the things of a concept are called whatever their state: "cap" of "cap of the wrong colour"."""
    return next(one.names[0][0] for one in CONCEPTS if one.kinds == concept.kinds and one.state is None)


def _of_wrong_color(words: str) -> str | None:
    """ "Cap of the wrong colour" of "wrong cap": nothing else can be wrong of what training has in a wrong colour."""
    found = _WRONG.fullmatch(of_one(words))
    said = found and meaning(found[1] or found[2])
    if not said or said.concept.state is not None:
        return None
    wrong = (one for one in CONCEPTS if one.kinds == said.concept.kinds and one.state == "wrong_color")
    return next((one.names[0][0] for one in wrong), None)


def _with_color(words: str) -> str | None:
    """ "Red cap" of "the cap is red" and of "red coloured cap"."""
    for said, simply in _IN_COLOR:
        words = said.sub(simply, words)
    parts = [word for word in of_one(words).split() if word not in _SILENT]
    colors = [word for word in parts if word in COLORS]
    name = " ".join((*colors, *(word for word in parts if word not in COLORS)))
    return name if len(colors) == 1 and _IN_ORDER.isdisjoint(parts) and is_name(name) else None


def _key(words: str) -> tuple[str, ...]:
    plain = _BEEN.sub(lambda found: found[1] or "", _LEADING.sub("", each_as_one(words), count=1))
    parts = [_LIKE.get(word, word) for word in plain.split() if word not in _SILENT]
    return tuple(parts if not _IN_ORDER.isdisjoint(parts) else sorted(parts))


@cache
def _texts() -> dict[tuple[str, ...], str]:
    """By key, the first text that has it; those that are kept for the benchmark are never said."""
    found: dict[tuple[str, ...], str] = {}
    for concept in CONCEPTS:
        names = [one for one, _ in concept.names + further_names(concept)]
        for text in (*names, *concept.statements, *further_statements(concept)):
            found.setdefault(_key(text), text)
    return found
