"""What training says may be so of which thing: bolts are loose, labels crooked; no label is loose. Free of torch.

A model that reads "loose connector" takes it for "connector", and "wrong label" for a crooked one.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from simvg_core.lineworld.vocabulary import CONCEPTS, MISSING, SIZE_WORDS, Concept
from simvg_core.lineworld.wordings import further_names, further_statements
from simvg_core.predicates import CONDITIONS, NEGATIONS
from simvg_core.sayings import meaning, names_tool, nouns
from simvg_core.singular import each_as_one
from simvg_core.trained import COLORS

_JUDGED = CONDITIONS | {"wrong"}
_SAID = _JUDGED | {"aligned", "lying", "open", "out", "threaded"}
"""And what says of some things what they are, or how they lie: a threaded hole, a bolt that is coming out."""
_WHITHER = frozenset({"lying", "out"})
"""What is so of the thing before them: "cap out of its hole"."""
SIZES = {word: ("smallest" if size == "small" else "largest") for size, words in SIZE_WORDS.items() for word in words}
"""By the word for a size, the utmost of it, which is told by comparing boxes."""
_MEASURED = frozenset({("damaged", "plate"), ("damaged", "surface"), ("out", "label")})
"""Not said by training, and answered with what is meant all the same: scratches and dents."""
_THINGS = (
    "bolt", "screw", "nut", "washer", "hole", "cap", "connector", "label", "cable", "gear", "plate", "tool", "scratch",
    "dent", "stain",
)  # fmt: skip
"""Keys of concepts that together have all that training shows."""


@cache
def things() -> str:
    """What training shows, in words: "bolts, screws, … and stains"."""
    names = {concept.key: concept.names[0][1] for concept in CONCEPTS}
    *first, last = (names[key] for key in _THINGS)
    return f"{', '.join(first)} and {last}"


def untaught(words: str) -> tuple[str, str] | None:
    """A word for what is so, and the thing of which training never says it; None where a text has no such word, or
    where one of the things in it may be so."""
    parts = each_as_one(words).split()
    things = nouns(" ".join(parts))
    for place, state in enumerate(parts):
        if state == "lying" and names_tool(" ".join(parts)):
            continue  # a tool is out of place wherever it lies
        if state in _SAID and things and not any((state, _kind(thing)) in _pairs() for thing in things):
            ahead = nouns(" ".join(parts[:place]))
            if state in _WHITHER and ahead:
                return state, ahead[-1]
            behind = (thing for thing in nouns(" ".join(parts[place:])) if meaning(thing) is not None)
            return state, next(behind, things[0])
    return _of_no_kind(parts, things)


def _of_no_kind(words: list[str], things: list[str]) -> tuple[str, str] | None:
    """A colour or size, and the thing of whose kind training says none: of a red cable, or a big scratch."""
    said = [meaning(thing) for thing in things]
    concepts = [one.concept for one in said if one is not None]
    if not concepts or len(concepts) < len(things):
        return None
    color = next((word for word in words if word in COLORS), None)
    if color is not None and not any(one.colored for one in concepts):
        return color, things[-1]
    size = next((word for word in words if word in SIZES), None)
    return None if size is None or any(one.sized for one in concepts) else (size, things[-1])


@cache
def one_thing(first: str, second: str) -> bool:
    """Whether two nouns, one behind the other, name one thing: "bolt hole" and "sticker label", not "bolt washer"."""
    return _kind(first) == _kind(second) or (first, second) in _compounds()


@cache
def states_of(thing: str) -> tuple[str, ...]:
    """Names, else sentences, for the states of a thing that training has: one for each."""
    kind = _kind(thing)
    found: list[str | None] = []
    for concept in CONCEPTS:
        if concept.kinds <= MISSING:
            continue
        texts = (text for text in _texts(concept) if not _JUDGED.isdisjoint(text.split()) and " or " not in text)
        found.append(next((text for text in texts if kind in map(_kind, nouns(text))), None))
    return tuple(filter(None, found))


def _kind(noun: str) -> str:
    """The concept's key: a lid is a cap."""
    said = meaning(noun)
    return noun if said is None else said.concept.key


def _texts(concept: Concept) -> list[str]:
    names = [one for one, _ in concept.names + concept.held_out + further_names(concept)]
    return [*names, *concept.statements, *concept.statements_held_out, *further_statements(concept)]


@cache
def _pairs() -> frozenset[tuple[str, str]]:
    """(what is so, kind of the thing that it is said of)."""
    texts = [text.split() for concept in CONCEPTS for text in _texts(concept)]
    plain = [each_as_one(" ".join(words)) for words in texts if NEGATIONS.isdisjoint(words)]
    return _MEASURED | {
        (state, _kind(noun)) for text in plain for state in _SAID.intersection(text.split()) for noun in _heads(text)
    }


def _heads(words: str) -> list[str]:
    """The things that a text names, of compounds the last one: "hole" of "empty bolt hole"."""
    parts = words.split()
    return [noun for noun, behind in pairwise((*parts, "")) if nouns(noun) and not nouns(behind)]


@cache
def _compounds() -> frozenset[tuple[str, str]]:
    """Nouns that stand one behind the other where training names one thing."""
    texts = (each_as_one(text).split() for concept in CONCEPTS for text in _texts(concept))
    return frozenset((one, after) for words in texts for one, after in pairwise(words) if nouns(one) and nouns(after))
