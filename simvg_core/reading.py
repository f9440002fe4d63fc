"""What a text says in parts: what is looked for, in which place, beside what, and whether only the utmost one is meant.

"leftmost red cap" is an extreme of "red cap", "red cap left of the gear" relates it to "gear", "missing bolt in the
upper half" places it. A model is sure of the parts long before it has learned what the other words do to them, so one
with `composed_answers` is asked for the parts, and :mod:`.composing` does the rest.

Texts that can be read in several ways ("the cap left of the gear at the top") stay whole: they are the model's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from simvg_core.counted import at_most
from simvg_core.words import clean_text

LEFT, RIGHT, TOP, BOTTOM, MIDDLE = "left", "right", "top", "bottom", "middle"
LEFT_OF, RIGHT_OF, ABOVE, BELOW, NEXT_TO = "left of", "right of", "above", "below", "next to"
LEFTMOST, RIGHTMOST, TOPMOST, LOWEST = "leftmost", "rightmost", "topmost", "lowest"
LARGEST, SMALLEST = "largest", "smallest"
TEXTS = 20_000
"""Readings that are remembered: thousands of texts are asked with every frame."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text in parts. Without place, relation and extreme it is one part, the text itself."""

    part: str  # what is looked for
    place: tuple[str, ...] = ()  # sides that it lies at: ("top", "left"); ("middle",)
    relation: str | None = None
    anchor: Reading | None = None  # what the relation is to
    extreme: str | None = None
    whole: str | None = None  # the text in a model's words: for pictures with more parts than answers

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


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_FRAME = r" of the (?:picture|image|frame|view|screen)"
# not "to the left": what is turned or leans to the left lies anywhere
_PLACED = re.compile(rf"(.+) (?:on|at|in) the ({_any_of(_PLACES)})(?:{_FRAME})?")
_TO_A_SIDE = re.compile(rf" to the (left|right){_FRAME}$")
_RELATED = re.compile(rf"(.+?) ({_any_of(_RELATIONS)}) (.+)")
_EXTREME = re.compile(rf"(?:the )?({_any_of(_EXTREMES)}) (.+)")
_RELATION_IN = re.compile(rf"\b(?:{_any_of(_RELATIONS)})\b")
_BEFORE = re.compile(r"(?:all |both |any )?(?:the |a |an )?(?:(?:two|three|four|five) )?(?=.)")
_COPULA = re.compile(r"(?: that| which)?(?: is| are| sits| sit| lies| lie| stands| stand)$")
_NO_THINGS = frozenset({*_PLACES, "picture", "image", "frame", "view", "screen", "edge", "border"})
_NO_START = frozenset({"no", "not", "nothing", "none"})
_NO_END = frozenset({
    "a", "an", "and", "any", "are", "between", "but", "for", "from", "has", "have", "is", "no", "not", "of", "on", "or",
    "than", "that", "the", "to", "which", "with", "without",
})  # fmt: skip
"""A part that ends so is none: what follows belongs to it."""


@lru_cache(TEXTS)
def read(text: str) -> Reading:
    """The parts of a text; one where it says no more, or where it can be meant in several ways."""
    words = _TO_A_SIDE.sub(r" on the \1", " ".join(clean_text(text).split()))
    return _read(words) or Reading(text)


def _read(words: str) -> Reading | None:
    found = _EXTREME.fullmatch(words)
    if found is None:
        return _read_place(words) or _read_relation(words)
    if at_most(words) != 1:  # "the largest caps" are several
        return None
    how, rest = _EXTREMES[found[1]], found[2]
    base = _read_place(rest) or _read_relation(rest)
    if base is None:
        part = _part(rest)
        if part is None or _RELATION_IN.search(part):
            return None
        return Reading(part, extreme=how, whole=f"{how} {part}")
    whole = f"{how} {base.whole}" if base.whole else None
    return Reading(base.part, base.place, base.relation, base.anchor, how, whole)


def _read_place(words: str) -> Reading | None:
    found = _PLACED.fullmatch(words)
    part = None if found is None else _part(found[1])
    if found is None or part is None or _RELATION_IN.search(part) or _PLACED.fullmatch(part):
        return None
    place = _PLACES[found[2]]
    return Reading(part, place, whole=f"{part} {_PLACE_WORDS[place]}")


def _read_relation(words: str) -> Reading | None:
    found = _RELATED.fullmatch(words)
    if found is None or _RELATION_IN.search(found[3]) or _PLACED.fullmatch(found[3]):
        return None
    part, beside = _part(found[1]), _part(found[3])
    if part is None or beside is None or beside in _NO_THINGS:
        return None
    utmost = _EXTREME.fullmatch(beside)
    anchor = _read(beside) if utmost else Reading(beside)
    return None if anchor is None else Reading(part, relation=_RELATIONS[found[2]], anchor=anchor)


def _part(words: str) -> str | None:
    """Without article, number and a verb that only leads to the place; None where no part is left."""
    bare = _BEFORE.sub("", _COPULA.sub("", words), count=1).strip()
    parts = bare.split()
    if not parts or parts[0] in _NO_START or parts[-1] in _NO_END:
        return None
    return bare
