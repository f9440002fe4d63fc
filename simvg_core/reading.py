"""What a text says in parts: what is looked for, in which place, beside what, and whether only the utmost one is meant.

"leftmost red cap" is an extreme of "red cap", "red cap left of the gear" relates it to "gear", "missing bolt in the
upper half" places it. A model is sure of the parts long before it has learned what the other words do to them, so one
with `composed_answers` is asked for the parts, and :mod:`.composing` does the rest.

Texts that can be read in several ways ("the cap left of the gear at the top") stay whole: they are the model's. Those
that would mislead whoever wrote them say so (`Reading.unclear`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from simvg_core.counted import NUMBER_WORD, at_most, in_words
from simvg_core.predicates import (
    divided,
    is_predicate,
    relative_clause,
    said_of,
    state_behind,
    tail_behind,
    turned,
)
from simvg_core.sayings import is_name, meaning, names_plate, says_missing
from simvg_core.words import clean_text

LEFT, RIGHT, TOP, BOTTOM, MIDDLE = "left", "right", "top", "bottom", "middle"
LEFT_OF, RIGHT_OF, ABOVE, BELOW, NEXT_TO = "left of", "right of", "above", "below", "next to"
ON, BEING = "on", "being"
"""A place on a thing, and being that thing itself."""
LEFTMOST, RIGHTMOST, TOPMOST, LOWEST = "leftmost", "rightmost", "topmost", "lowest"
LARGEST, SMALLEST = "largest", "smallest"
TEXTS = 20_000
"""Readings that are remembered: thousands of texts are asked with every frame."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text in parts. Without place, relation and extreme it is one part, the text itself."""

    part: str  # what is looked for
    place: tuple[str, ...] = ()  # sides that it lies at: ("top", "left"); ("middle",); of the anchor if that is ON
    relation: str | None = None
    anchor: Reading | None = None  # what the relation is to
    extreme: str | None = None
    whole: str | None = None  # the text in a model's words: for pictures with more parts than answers
    unclear: str | None = None  # why a text must not be asked: what would be found is not what it says

    @property
    def composed(self) -> bool:
        """Whether there is anything beside the part."""
        return bool(self.place or self.relation or self.extreme)

    @property
    def told(self) -> str:
        """What it says, in the model's words and those of the geometry: the leftmost “cap”, left of “gear”."""
        return f"the {self.extreme} {self._thing}" if self.extreme else self._thing

    @property
    def _thing(self) -> str:
        place = ", " + _PLACE_WORDS[self.place] if self.place else ""
        if self.relation == ON and self.anchor:
            return f"“{self.part}”{place} of {self.anchor.told}"
        beside = f", {self.relation} {self.anchor.told}" if self.relation and self.anchor else ""
        return f"“{self.part}”{place}{beside}"

    @property
    def rivals(self) -> bool:
        """Whether one thing that fits takes from another's score."""
        return bool(self.extreme) or self.relation == NEXT_TO or (self.anchor is not None and self.anchor.rivals)

    @property
    def bare(self) -> Reading:
        """Without wholes: for parts that were seen in other pictures than the whole would be."""
        return replace(self, whole=None, anchor=None if self.anchor is None else self.anchor.bare)

    @property
    def parts(self) -> tuple[str, ...]:
        """What a model is asked: the part, and those of the anchor."""
        return (self.part, *(() if self.anchor is None else self.anchor.parts))

    @property
    def wholes(self) -> tuple[str, ...]:
        """What it is asked as well where a part is there more often than it can answer: the whole, and the anchor's."""
        whole = () if self.whole is None else (self.whole,)
        return (*whole, *(() if self.anchor is None else self.anchor.wholes))


def _either(words: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {wording: meant for meant, wordings in words.items() for wording in wordings}


def _sides(side: str, *others: str) -> tuple[str, ...]:
    return tuple(f"{word}{more}" for word in (side, *others) for more in ("", " side", " half", " part", " hand side"))


_SIDES = _either({
    LEFT: _sides("left"), RIGHT: _sides("right"), TOP: _sides("top", "upper"), BOTTOM: _sides("bottom", "lower"),
    MIDDLE: ("middle", "center", "centre"),
})  # fmt: skip
_PLACES = {word: (side,) for word, side in _SIDES.items() if word not in ("upper", "lower")} | {
    f"{word} {side}{corner}": (meant, side)
    for word, meant in {"top": TOP, "upper": TOP, "bottom": BOTTOM, "lower": BOTTOM}.items()
    for side in (LEFT, RIGHT)
    for corner in ("", " corner")
}
_RELATIONS = _either({
    LEFT_OF: ("left of", "to the left of", "on the left of", "on the left side of"),
    RIGHT_OF: ("right of", "to the right of", "on the right of", "on the right side of"),
    ABOVE: ("above",),
    BELOW: ("below", "under", "underneath", "beneath"),
    NEXT_TO: ("next to", "nearest to", "closest to", "nearest", "close to", "near to", "near", "beside", "adjacent to"),
})  # fmt: skip
_EXTREMES = _either({
    LEFTMOST: ("leftmost",), RIGHTMOST: ("rightmost",), TOPMOST: ("topmost", "uppermost", "highest"),
    LOWEST: ("lowest", "lowermost", "bottommost"), LARGEST: ("largest", "biggest"), SMALLEST: ("smallest",),
})  # fmt: skip
# As training says them.
_PLACE_WORDS = {
    (LEFT,): "on the left", (RIGHT,): "on the right", (TOP,): "at the top", (BOTTOM,): "at the bottom",
    (MIDDLE,): "in the middle", (TOP, LEFT): "in the upper left corner", (TOP, RIGHT): "in the upper right corner",
    (BOTTOM, LEFT): "in the lower left corner", (BOTTOM, RIGHT): "in the lower right corner",
}  # fmt: skip


WORDS = frozenset(word for phrase in (*_PLACES, *_RELATIONS, *_EXTREMES) for word in phrase.split())
"""Words that are read here, and that a model need not know."""


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_FRAME = r" of the (?:picture|image|frame|view|screen)"
_AT = r" (?:on|at|in)(?: the)? "
_SIDE = _any_of(_PLACES)
# not "to the left": what is turned or leans to the left lies anywhere
_PLACED = re.compile(rf"(.+){_AT}({_SIDE})(?:{_FRAME})?")
_PLACED_SO = re.compile(rf"(.+){_AT}({_SIDE})(?:{_FRAME})? (?!of )(.+)")
_ON_PLATE = re.compile(rf"(.+) (?:on|at|in) the ({_SIDE}) of ((?:the |an? )?(?:\w+ ){{0,2}}(?:plate|panel)\b.*)")
_BEFORE = re.compile(rf"(?:all |both |any )?(?:the |a |an )?(?:(?:{NUMBER_WORD}) )?(?=.)")
_AHEAD = re.compile(
    rf"{_BEFORE.pattern}((?:top|upper|bottom|lower)(?: (?:left|right))?|left|right)(?: hand)?(?: side)? (.+)"
)
_TO_A_SIDE = re.compile(rf" to the (left|right){_FRAME}$")
_RELATED = re.compile(rf"(.+?) ({_any_of(_RELATIONS)}) (.+)")
_EXTREME = re.compile(rf"(?:the )?({_any_of(_EXTREMES)}) (.+)")
EXTREME_IN = re.compile(rf"\b(?:{_any_of(_EXTREMES)}) ")
_RELATION_IN = re.compile(rf"\b(?:{_any_of(_RELATIONS)})\b")
_COPULA = re.compile(r"(?: that| which)?(?: is| are| sits| sit| lies| lie| stands| stand)$")
_NO_THING = re.compile(
    r"(?:the |a |an |any )?(?:(?:left|right|top|bottom|upper|lower|hand) )*(?:left|right|top|bottom|sides?|half|part"
    r"|middle|cent(?:er|re)|corners?|edges?|borders?|picture|image|frame|view|screen)(?: of .+)?"
)
_NO_START = frozenset({
    "and", "are", "at", "from", "in", "is", "no", "none", "not", "nothing", "of", "on", "or", "to",
})  # fmt: skip
_NO_END = frozenset({
    "a", "an", "and", "any", "are", "between", "but", "for", "from", "has", "have", "is", "no", "not", "of", "on", "or",
    "than", "that", "the", "to", "which", "with", "without",
})  # fmt: skip
"""A part that ends so is none: what follows belongs to it."""


class _UnclearError(Exception):
    """What a text says is not what would be found; the message tells how to write it."""


@lru_cache(TEXTS)
def read(text: str) -> Reading:
    """The parts of a text; one where it says no more, or where it can be meant in several ways."""
    words = _TO_A_SIDE.sub(r" on the \1", in_words(" ".join(clean_text(text).split())))
    try:
        return _read(words) or Reading(text)
    except _UnclearError as error:
        return Reading(text, unclear=str(error))


def _read(words: str) -> Reading | None:
    found = _EXTREME.fullmatch(words)
    if found is None:
        return _read_place(words) or _read_relation(words)
    if at_most(words) != 1:  # "the largest caps" are several
        return None
    how, rest = _EXTREMES[found[1]], found[2]
    said = None if is_name(rest) else divided(rest) or state_behind(rest)
    if said is not None:
        return _read_utmost(how, *said)
    base = _read_place(rest) or _read_relation(rest)
    if base is None:
        return _utmost(how, rest)
    return replace(base, extreme=how, whole=f"{how} {base.whole}" if base.whole else None)


def _utmost(how: str, words: str) -> Reading | None:
    part = _part(words)
    if part is None or _RELATION_IN.search(part) or turned(part):
        return None
    return Reading(part, extreme=how, whole=f"{how} {part}")


def _read_utmost(how: str, thing: str, so: str) -> Reading | None:
    """ "The leftmost bolt is loose": the leftmost of all bolts, where that one is loose."""
    base = _read_place(thing)
    utmost = _utmost(how, thing) if base is None else replace(base, extreme=how, whole=f"{how} {base.whole}")
    bare = _part(thing) if base is None else base.part
    part = None if bare is None else said_of(bare, so)
    if part is not None and (says_missing(part) or (utmost is None and not turned(part))):
        raise _UnclearError(
            f"{so!r} is said of the {how} “{thing}” of all, and that cannot be judged here; write “{how} "
            f"{_in_front(part, thing, so)}” for the {how} of those that are so"
        )
    if part is None or utmost is None or turned(part):
        return None
    return Reading(part, relation=BEING, anchor=utmost)


def _in_front(part: str, thing: str, so: str) -> str:
    """A thing with what is so of it before it."""
    return part if is_name(part) else f"{so.split()[-1]} {thing}"


def _read_place(words: str) -> Reading | None:
    so = None
    if (found := _PLACED.fullmatch(words)) is not None:
        thing, place = found[1], found[2]
    elif (found := _AHEAD.fullmatch(words)) is not None:
        place, thing = found[1], found[2]
    elif (found := _PLACED_SO.fullmatch(words)) is not None and is_predicate(found[3]):
        thing, place, so = found[1], found[2], found[3]
    else:
        return None
    part = _part(thing)
    if part is None or _NO_THING.fullmatch(part) or _RELATION_IN.search(part) or _placed(part):
        return None
    part = part if so is None else said_of(part, so)
    sides = _PLACES.get(place) or (_SIDES[place],)
    return None if turned(part) else Reading(part, sides, whole=f"{part} {_PLACE_WORDS[sides]}")


def _placed(words: str) -> bool:
    return _PLACED.fullmatch(words) is not None or _AHEAD.fullmatch(words) is not None


def _read_relation(words: str) -> Reading | None:
    on_plate, found = _ON_PLATE.fullmatch(words), _RELATED.fullmatch(words)
    if on_plate is not None and (parts := _two(on_plate[1], on_plate[3])) and names_plate(parts[1].part):
        return Reading(parts[0], _PLACES[on_plate[2]], ON, parts[1])
    if found is None or (parts := _two(found[1], found[3])) is None:
        return None
    return Reading(parts[0], relation=_RELATIONS[found[2]], anchor=parts[1])


def _two(thing: str, beside: str) -> tuple[str, Reading] | None:
    """A thing, and another that it is related to; None where more is said than that."""
    if _RELATION_IN.search(beside) or _PLACED.fullmatch(beside) or _placed(thing):
        return None
    part = _part(thing)
    if part is None:
        return None
    if _NO_THING.fullmatch(beside):
        raise _UnclearError(
            f"“{beside}” is a place and no thing that can be found; write “{part} on the left”, “{part} in the upper "
            f"left corner” or the like, or name a thing beside it: “{part} next to the label”"
        )
    part, beside = _shared_out(part, beside)
    anchor = _read(beside) if _EXTREME.fullmatch(beside) else _read_place(beside) or _bare(beside)
    if anchor is None or anchor.anchor is not None or turned(part) or turned(anchor.part):
        return None
    return part, anchor


def _shared_out(part: str, beside: str) -> tuple[str, str]:
    """Two things, what is said behind the second one given to the one that it is said of."""
    if is_name(beside):
        return part, beside
    if (said := divided(beside)) is not None:
        return said_of(part, said[1]), said[0]
    doubtful = relative_clause(beside)
    if doubtful is None and (said := state_behind(beside)) is not None:
        if meaning(beside) is None:
            return said_of(part, said[1]), said[0]
        doubtful = said[1]
    if doubtful is not None:
        raise _UnclearError(
            f"{doubtful!r} may be said of “{part}” or of “{beside.removesuffix(doubtful).strip()}”; write it before "
            f"what is meant, as in “loose bolt left of the label” or “bolt left of the crooked label”"
        )
    if (said := tail_behind(beside)) is not None and is_name(said[0]) and is_name(f"{part} {said[1]}"):
        return f"{part} {said[1]}", said[0]
    return part, beside


def _bare(words: str) -> Reading | None:
    part = _part(words)
    return None if part is None else Reading(part)


def _part(words: str) -> str | None:
    """Without article, number and a verb that only leads to the place; None where no part is left."""
    bare = _BEFORE.sub("", _COPULA.sub("", words), count=1).strip()
    parts = bare.split()
    if not parts or (parts[0] in _NO_START and meaning(bare) is None) or parts[-1] in _NO_END:
        return None
    return bare if (said := divided(bare)) is None else said_of(*said)
