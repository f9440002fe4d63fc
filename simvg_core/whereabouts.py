"""Where a text says that a thing lies: sides, corners, the middle, and the same of a plate. Free of torch."""

from __future__ import annotations

import re

from simvg_core.predicates import ABSENT
from simvg_core.sayings import names_tool, nouns
from simvg_core.sides import CORNER_AHEAD, FRAME, LEFT, PLACES, SIDES, any_of
from simvg_core.spelling import AHEAD

_AT = r" (?:on|at|in)(?: the)? "
_SIDE = any_of(PLACES)
_LONG_SIDE = any_of(place for place in PLACES if " " in place)
# not all that is "to the left": what is turned or leans to the left lies anywhere
_PLACED = re.compile(rf"(.+){_AT}({_SIDE})(?:{FRAME})?")
_PLACED_SHORT = re.compile(rf"(.+) ({_LONG_SIDE})(?:{FRAME})?")
_PLACED_LAST = re.compile(r"(.*?(\S+))(?: to(?: the)?)? (left|right|top|bottom|middle|cent(?:er|re))")
_ON_THING = re.compile(r" (?:on|at|in|of|from) ")
_PLACED_SO = re.compile(rf"(.+){_AT}({_SIDE})(?:{FRAME})? (?!of )(?:(?:that|which) (?=is |are ))?(.+)")
_OF_PLATE = r" of ((?:the |an? )?(?:\w+ ){0,2}(?:plate|panel)\b.*)"
_ON_PLATE = re.compile(rf"(.+)(?! on top of){_AT}({_SIDE}){_OF_PLATE}")
_ON_PLATE_SHORT = re.compile(rf"(.+) ({_LONG_SIDE}){_OF_PLATE}")
_AHEAD = re.compile(
    rf"{AHEAD}({CORNER_AHEAD}|top|upper|bottom|lower|left|right)(?: hand)?(?: side| corner| half| part)?"
    r" (?!colou?r\b)(.+)"
)


def place_behind(words: str) -> tuple[str, tuple[str, ...]] | None:
    """A thing and the sides of the place behind it, with a preposition or in words that need none: "missing bolt top
    left"."""
    found = _PLACED.fullmatch(words) or _PLACED_SHORT.fullmatch(words)
    if found is not None:
        return found[1], _sides_of(found[2])
    last = _PLACED_LAST.fullmatch(words)
    if last is None or not (nouns(last[2]) or last[2] in ABSENT or last[2] == "loose"):
        return None
    if _ON_THING.search(last[1]) or (last[3] == LEFT and names_tool(last[2])):
        return None  # "bolt on the label's left"; a tool that is left was forgotten
    return last[1], _sides_of(last[3])


def place_ahead(words: str) -> tuple[str, tuple[str, ...]] | None:
    """A thing and the sides of the place before it: "the upper left bolt"."""
    found = _AHEAD.fullmatch(words)
    return None if found is None else (found[2], _sides_of(found[1]))


def place_between(words: str) -> tuple[str, tuple[str, ...], str] | None:
    """A thing, the sides of its place, and what stands behind that: "the label at the top is crooked"."""
    found = _PLACED_SO.fullmatch(words)
    return None if found is None else (found[1], _sides_of(found[2]), found[3])


def place_on_plate(words: str) -> tuple[str, tuple[str, ...], str] | None:
    """A thing, the sides of its place, and the plate that this is a place of."""
    found = _ON_PLATE.fullmatch(words) or _ON_PLATE_SHORT.fullmatch(words)
    return None if found is None else (found[1], _sides_of(found[2]), found[3])


def _sides_of(place: str) -> tuple[str, ...]:
    return PLACES.get(place) or (SIDES[place],)
