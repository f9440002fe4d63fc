"""What a text says of a thing: "is missing", "loose", "that is red". Which words say it, and of which thing.

Operators write "the bolt left of the label is missing", and it is the bolt that is missing.
"""

from __future__ import annotations

from simvg_core.lineworld.vocabulary import MISSING
from simvg_core.sayings import is_name, meaning, nouns
from simvg_core.singular import of_one
from simvg_core.trained import COLORS, as_trained, trained

NEGATIONS = frozenset({
    "0", "arent", "doesnt", "dont", "hasnt", "havent", "isnt", "lacking", "lacks", "never", "neither", "no", "none",
    "nor", "not", "nothing", "wasnt", "werent", "without", "zero",
})  # fmt: skip
ABSENT = frozenset({"absent", "fallen", "forgot", "forgotten", "gone", "lost", "missing"})
CONDITIONS = frozenset({
    "askew", "broken", "crooked", "damaged", "dented", "dirty", "empty", "fastened", "inclined", "leaning", "level",
    "loose", "misaligned", "rotated", "scratched", "skewed", "slanted", "slanting", "stained", "straight", "tight",
    "tightened", "tilted", "tipped", "turned", "unfastened", "unscrewed", "untightened", "vacant",
})  # fmt: skip
STATES = ABSENT | CONDITIONS | COLORS
ARTICLES = frozenset({"a", "an", "any", "the"})
_VERBS = frozenset({"is", "are", "was", "were", "has", "have", "sits", "sit", "came", "leans", "lean"})
_RELATIVES = frozenset({"that", "which", "whose", "where", "who"})
_DENYING = frozenset({"not", "without"})
_TAILS = frozenset({"with", "of", "in", "at"})
"""What they begin is said of the thing before them, unless training says it of the other thing alone."""


def said_so(words: str) -> tuple[str, str] | None:
    """A text that says something of a thing → what it is about, and what it says of it; None of any other, or where
    both are a name."""
    return None if is_name(of_one(words)) else divided(words) or state_behind(words)


def divided(words: str) -> tuple[str, str] | None:
    """A sentence → what it is about, and what it says of it from its verb on; None where it is none."""
    about, so = _cut(words, _VERBS)
    if len(so) < 2 or about == ["there"] or about[0] in _VERBS or not _RELATIVES.isdisjoint(about):
        return None
    return " ".join(about), " ".join(so)


def state_behind(words: str) -> tuple[str, str] | None:
    """A thing with a state behind it, "bolt missing" or "hole without a bolt" → both; None where there is none."""
    thing, so = _cut(words, _DENYING)
    if len(so) < 2:
        thing, so = words.split()[:-1], words.split()[-1:]
    if not STATES.union(_DENYING).issuperset(so[:1]) or ARTICLES.issuperset(thing) or not _RELATIVES.isdisjoint(thing):
        return None
    return " ".join(thing), " ".join(so)


def is_predicate(words: str) -> bool:
    """Whether words say something of a thing before them, and name none."""
    first, *more = words.split()
    return (first in _VERBS and bool(more)) or state_behind(f"it {words}") == ("it", words)


def tail_behind(words: str) -> tuple[str, str] | None:
    """A thing with more behind it, "cap of the wrong colour" → both; None where there is nothing."""
    thing, tail = _cut(words, _TAILS)
    return (" ".join(thing), " ".join(tail)) if tail else None


def relative_clause(words: str) -> str | None:
    """The clause that a text ends with: "that is red"."""
    return " ".join(_cut(words, _RELATIVES)[1]) or None


def _cut(words: str, at: frozenset[str]) -> tuple[list[str], list[str]]:
    """What stands before the first of these words behind a text's own first one, and all from it on; nothing where
    there is none."""
    parts = words.split()
    place = next((place for place, word in enumerate(parts) if place and word in at), len(parts))
    return parts[:place], parts[place:]


def said_of(part: str, so: str) -> str:
    """Both as one text, in words that training says where it says any: "red cap" of a "cap" that "is red"."""
    sentence = f"{part} {so}"
    said = next((text for text in (sentence, f"{part} is {so}") if meaning(text) is not None), None)
    return said or as_trained(sentence)


def state_and_color(part: str) -> tuple[str, str] | None:
    """A thing of a colour that something is so of, "crooked white label" → "crooked label" and "white label", which
    training says of it one by one; None of any other."""
    words = part.split()
    colors = [word for word in words if word in COLORS]
    state = trained(" ".join(word for word in words if word not in COLORS)) if len(colors) == 1 else None
    said = None if state is None or trained(part) is not None else meaning(state)
    if state is None or said is None or not (said.concept.state or said.concept.kinds <= MISSING):
        return None
    named = [thing for noun in nouns(state) if meaning(thing := f"{colors[0]} {noun}") is not None]
    return (state, named[0]) if named else None


def turned(words: str) -> bool:
    """Whether a text turns a meaning round in words that training never said: it would be taken for its opposite."""
    return not NEGATIONS.isdisjoint(words.split()) and trained(words) is None
