"""What training says may be so of which thing: bolts are loose, labels crooked; no label is loose. Free of torch.

A model that reads "loose connector" takes it for "connector", and "wrong label" for a crooked one.
"""

from __future__ import annotations

from functools import cache

from simvg_core.lineworld.vocabulary import CONCEPTS, MISSING, Concept
from simvg_core.lineworld.wordings import further_names, further_statements
from simvg_core.predicates import CONDITIONS, NEGATIONS
from simvg_core.sayings import meaning, nouns
from simvg_core.singular import each_as_one

_JUDGED = CONDITIONS | {"wrong"}
_SAID = _JUDGED | {"open", "threaded"}
"""And what says of some things what they are: a threaded hole."""
_MEASURED = frozenset({("damaged", "plate"), ("damaged", "surface")})
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
        if state in _SAID and things and not any((state, _kind(thing)) in _pairs() for thing in things):
            behind = (thing for thing in nouns(" ".join(parts[place:])) if meaning(thing) is not None)
            return state, next(behind, things[0])
    return None


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
        (state, _kind(noun)) for text in plain for state in _SAID.intersection(text.split()) for noun in nouns(text)
    }
