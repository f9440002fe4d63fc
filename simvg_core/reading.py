"""What a text says in parts: what is looked for, in which place, beside what, and whether only the utmost one is meant.

"leftmost red cap" is an extreme of "red cap", "red cap left of the gear" relates it to "gear", "missing bolt in the
upper half" places it. A model is sure of the parts long before it has learned what the other words do to them, so one
with `composed_answers` is asked for the parts, and :mod:`.composing` does the rest.

Texts that can be read in several ways ("the cap left of the gear at the top") stay whole; :mod:`.refusals` says of
which of them a model must not be asked. Those that would mislead whoever wrote them say so (`Reading.unclear`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from simvg_core.counted import at_most
from simvg_core.odd_color import GROUND, odd_thing
from simvg_core.phrasing import Phrase, answered, phrase
from simvg_core.predicates import (
    divided,
    is_predicate,
    relative_clause,
    said_of,
    said_so,
    state_and_color,
    state_behind,
    tail_behind,
    turned,
)
from simvg_core.sayings import is_fault, is_name, meaning, names_plate, says_missing
from simvg_core.sides import FRAME, NEXT_TO, PLACE_WORDS, PLACES, RELATIONS, any_of, either
from simvg_core.spelling import plain, without_article
from simvg_core.trained import as_trained, trained
from simvg_core.whereabouts import place_ahead, place_behind, place_between, place_on_plate

ON, BEING = "on", "being"
"""A place on a thing, and being that thing itself."""
LEFTMOST, RIGHTMOST, TOPMOST, LOWEST = "leftmost", "rightmost", "topmost", "lowest"
LARGEST, SMALLEST = "largest", "smallest"
TEXTS = 20_000
"""Readings that are remembered: thousands of texts are asked with every frame."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text in parts. Without place, relation and extreme it is one part: the text itself, or that in other words."""

    part: str  # what is looked for
    place: tuple[str, ...] = ()  # sides that it lies at: ("top", "left"); ("middle",); of the anchor if that is ON
    relation: str | None = None
    anchor: Reading | None = None  # what the relation is to
    extreme: str | None = None
    whole: str | None = None  # the text in a model's words: for pictures with more parts than answers
    unclear: str | None = None  # why a text must not be asked: what would be found is not what it says
    reworded: bool = False  # one part in other words than the text's: "scratch" of "scratches"

    @property
    def composed(self) -> bool:
        """Whether something else is asked than the text itself."""
        return bool(self.place or self.relation or self.extreme or self.reworded) or odd_thing(self.part) is not None

    @property
    def told(self) -> str:
        """What it says, in the model's words and those of the geometry: the leftmost “cap”, left of “gear”."""
        return f"the {self.extreme} {self._thing}" if self.extreme else self._thing

    @property
    def _thing(self) -> str:
        place = ", " + PLACE_WORDS[self.place] if self.place else ""
        thing = odd_thing(self.part)
        part = f"“{self.part}”" if thing is None else f"“{thing}” of another colour than the rest on its “{GROUND}”"
        if self.relation == ON and self.anchor:
            return f"{part}{place} of {self.anchor.told}"
        beside = f", {self.relation} {self.anchor.told}" if self.relation and self.anchor else ""
        return f"{part}{place}{beside}"

    def with_part(self, part: str) -> str:
        """A text that says of another part what this one does of its own: “label on the left”."""
        place = f" {PLACE_WORDS[self.place]}" if self.place else ""
        beside = ""
        if self.anchor is not None and self.relation != BEING:
            how = "of" if self.relation == ON else self.relation
            beside = f" {how} the {self.anchor.with_part(self.anchor.part)}"
        return f"{self.extreme + ' ' if self.extreme else ''}{part}{place}{beside}"

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
        """What is looked for: the part, and those of the anchor. `derived.asked_for` says what is asked for each."""
        return (self.part, *(() if self.anchor is None else self.anchor.parts))

    @property
    def wholes(self) -> tuple[str, ...]:
        """What a model is asked as well where a part is there more often than it can answer: the whole, and the
        anchor's."""
        whole = () if self.whole is None else (self.whole,)
        return (*whole, *(() if self.anchor is None else self.anchor.wholes))


_EXTREMES = either({
    LEFTMOST: ("leftmost",), RIGHTMOST: ("rightmost",), TOPMOST: ("topmost", "uppermost", "highest"),
    LOWEST: ("lowest", "lowermost", "bottommost"), LARGEST: ("largest", "biggest"), SMALLEST: ("smallest",),
})  # fmt: skip
WORDS = frozenset(word for phrase in (*PLACES, *RELATIONS, *_EXTREMES) for word in phrase.split()) | {
    "border", "borders", "corner", "corners", "edge", "edges", "sides",
}  # fmt: skip
"""Words that are read here, and that a model need not know."""


_TO_A_SIDE = re.compile(rf" to the (left|right){FRAME}$")
_RELATED = re.compile(rf"(.+?) ({any_of(RELATIONS)}) (.+)")
_NEAREST = re.compile(r"(?:the )?(?:nearest|closest) (.+?) to (.+)")
_EXTREME = re.compile(rf"(?:the )?({any_of(_EXTREMES)})(?: of the)? (.+)")
EXTREME_IN = re.compile(rf"\b(?:{any_of(_EXTREMES)}) ")
_RELATION_IN = re.compile(rf"\b(?:{any_of(RELATIONS)})\b")
_COPULA = re.compile(r"(?: that| which)?(?: is| are| sits| sit| lies| lie| stands| stand)$")
_NO_THING = re.compile(
    r"(?:the |a |an |any )?(?:(?:left|right|top|bottom|upper|lower|hand) )*(?:left|right|top|bottom|sides?|half|part"
    r"|middle|cent(?:er|re)|corners?|edges?|borders?|picture|image|frame|view|screen)(?: of .+)?"
)
_NO_START = frozenset({
    "and", "are", "at", "from", "has", "have", "in", "is", "no", "none", "not", "nothing", "of", "on", "or", "to",
})  # fmt: skip
_NO_END = frozenset({
    "a", "an", "and", "any", "are", "between", "but", "for", "from", "has", "have", "is", "no", "not", "of", "on", "or",
    "than", "that", "the", "there", "to", "which", "with", "without",
})  # fmt: skip
"""A part that ends so is none: what follows belongs to it."""
_PLACE_ENDS = frozenset({"left", "right", "top", "bottom", "upper", "lower"})
"""A part that ends so has a place in it."""


class _UnclearError(Exception):
    """What a text says is not what would be found; the message tells how to write it."""


@lru_cache(TEXTS)
def read(text: str) -> Reading:
    """The parts of a text; one where it says no more, or where it can be meant in several ways."""
    said = phrase(text)
    if said.text != text:
        return _reworded(read(said.text))
    if said.wanted is not None:
        asked = read(said.wanted)
        return _reworded(asked) if is_fault(asked.part) else Reading(text)  # "check for scratches" asks for them
    placed = _TO_A_SIDE.sub(r" on the \1", said.stated)
    try:
        return _in_state_and_color(_read(placed) or _read_question(placed) or _whole(said))
    except _UnclearError as error:
        return Reading(text, unclear=str(error))


def _reworded(said: Reading) -> Reading:
    return said if said.composed else replace(said, reworded=True)


def _read_question(words: str) -> Reading | None:
    """None where what is asked about and what may be so of it cannot be told apart."""
    asked = answered(words)
    if asked is None or (found := _read(asked)) is not None:
        return None if asked is None else found
    bare = without_article(asked)  # training never says "the label crooked"
    known = trained(bare) is not None or state_and_color(bare) is not None
    return Reading(as_trained(bare), reworded=True) if known else None


def _whole(said: Phrase) -> Reading:
    """A text that says nothing beside its part; as it was written where training says it in no other words."""
    part = as_trained(said.stated)
    if part == said.words:
        return Reading(said.text)
    return Reading(without_article(part) if is_name(part) else part, reworded=True)


def _in_state_and_color(reading: Reading) -> Reading:
    """Two of one thing: a model that was taught both takes them together for the colour alone."""
    beside = None if reading.anchor is None else state_and_color(reading.anchor.part)
    if beside is not None and reading.anchor is not None:
        raise _UnclearError(
            f"“{reading.anchor.part}” names a state and a colour of what something is beside, and those cannot be "
            f"judged together; write “{beside[0]}” or “{beside[1]}” there"
        )
    if (said := state_and_color(plain(reading.part))) is None:
        return reading
    state, colored = said
    simple = reading.with_part(state)
    if says_missing(state):
        raise _UnclearError(f"what is missing has no colour (“{reading.part}”); write “{simple}”")
    if reading.relation == BEING:
        return replace(reading, part=state)
    if reading.relation is not None:
        raise _UnclearError(
            f"a state and a colour (“{reading.part}”) cannot be judged together beside another thing; write “{simple}” "
            f"or “{reading.with_part(colored)}”"
        )
    return replace(reading, part=state, relation=BEING, anchor=Reading(colored), whole=None, reworded=False)


def _read(words: str) -> Reading | None:
    found = _EXTREME.fullmatch(words)
    if found is None:
        return _read_place(words) or _read_relation(words)
    if at_most(words) != 1:  # "the largest caps" are several
        return None
    how, rest = _EXTREMES[found[1]], found[2]
    if (said := said_so(rest)) is not None:
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
    if (found := place_behind(words) or place_ahead(words)) is not None:
        thing, sides = found
    elif (between := place_between(words)) is not None and is_predicate(between[2]):
        thing, sides, so = between
    else:
        return None
    part = _part(thing)
    if part is None or _NO_THING.fullmatch(part) or _RELATION_IN.search(part) or _placed(part):
        return None
    whole = _unadorned(thing)  # where it is asked there are several
    if so is not None:
        part = whole = said_of(part, so)
    elif meaning(whole) is None:
        whole = part
    return None if turned(part) else Reading(part, sides, whole=f"{whole} {PLACE_WORDS[sides]}")


def _placed(words: str) -> bool:
    return place_behind(words) is not None or place_ahead(words) is not None


def _read_relation(words: str) -> Reading | None:
    on, found = place_on_plate(words), _RELATED.fullmatch(words)
    if on is not None and (parts := _two(on[0], on[2])) and names_plate(parts[1].part):
        return Reading(parts[0], on[1], ON, parts[1])
    if (nearest := _NEAREST.fullmatch(words)) is not None and (parts := _two(nearest[1], nearest[2])) is not None:
        return Reading(parts[0], relation=NEXT_TO, anchor=parts[1])
    if found is None or (parts := _two(found[1], found[3])) is None:
        return None
    return Reading(parts[0], relation=RELATIONS[found[2]], anchor=parts[1])


def _two(thing: str, beside: str) -> tuple[str, Reading] | None:
    """A thing, and another that it is related to; None where more is said than that."""
    if _RELATION_IN.search(beside) or place_behind(beside) or _placed(thing):
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
    """In training's words where it has any; None where no part is left."""
    bare = _unadorned(words)
    parts = bare.split()
    if not parts or (parts[0] in _NO_START and meaning(bare) is None) or parts[-1] in _NO_END | _PLACE_ENDS:
        return None
    return as_trained(bare)


def _unadorned(words: str) -> str:
    """Without article, number and a verb that only leads to the place."""
    return without_article(_COPULA.sub("", words)).strip()
