"""Words for sides, corners and the ways from one thing to another, and texts that begin with them: "on the left a bolt
is missing". Free of torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

from simvg_core.sayings import is_name
from simvg_core.spelling import NUMBER_WORD

LEFT, RIGHT, TOP, BOTTOM, MIDDLE = "left", "right", "top", "bottom", "middle"
LEFT_OF, RIGHT_OF, ABOVE, BELOW, NEXT_TO = "left of", "right of", "above", "below", "next to"


def either(words: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """What each wording means, of the wordings by what they mean."""
    return {wording: meant for meant, wordings in words.items() for wording in wordings}


def any_of(words: Iterable[str]) -> str:
    """A pattern of any of these words, the longest first."""
    return "|".join(sorted(words, key=len, reverse=True))


_PIECES = ("", " side", " half", " part", " hand side", " hand half")


def _sides(side: str, *others: str) -> tuple[str, ...]:
    return tuple(f"{word}{more}" for word in (side, *others) for more in _PIECES)


SIDES = either({
    LEFT: _sides("left"), RIGHT: _sides("right"), TOP: _sides("top", "upper"), BOTTOM: _sides("bottom", "lower"),
    MIDDLE: ("middle", "center", "centre"),
})  # fmt: skip
_HEIGHTS = {"top": TOP, "upper": TOP, "bottom": BOTTOM, "lower": BOTTOM}
PLACES = {word: (side,) for word, side in SIDES.items() if word not in ("upper", "lower")} | {
    f"{words}{corner}": (meant, side)
    for word, meant in _HEIGHTS.items()
    for side in (LEFT, RIGHT)
    for words in (f"{word} {side}", f"{side} {word}")
    for corner in ("", " corner", " hand corner", " hand side")
}
CORNER_AHEAD = f"(?:{any_of(_HEIGHTS)}) (?:left|right)|(?:left|right) (?:{any_of(_HEIGHTS)})"
PLACE_WORDS = {
    (LEFT,): "on the left", (RIGHT,): "on the right", (TOP,): "at the top", (BOTTOM,): "at the bottom",
    (MIDDLE,): "in the middle", (TOP, LEFT): "in the upper left corner", (TOP, RIGHT): "in the upper right corner",
    (BOTTOM, LEFT): "in the lower left corner", (BOTTOM, RIGHT): "in the lower right corner",
}  # fmt: skip
"""As training says them."""
SCREEN = r"(?:the )?(?:picture|image|frame|view|screen)"
FRAME = f" of {SCREEN}"

RELATIONS = either({
    side_of: (side_of, side_of.replace("of", "to"),
              *(f"{at} {the}{side_of}" for at in ("to", "on", "at") for the in ("", "the ")),
              *(f"on {the}{side_of.split()[0]}{hand} side of" for the in ("", "the ") for hand in ("", " hand")))
    for side_of in (LEFT_OF, RIGHT_OF)
} | {
    ABOVE: ("above",),
    BELOW: ("below", "under", "underneath", "beneath"),
    NEXT_TO: ("next to", "nearest to", "closest to", "nearest", "close to", "near to", "near", "beside", "adjacent to"),
})  # fmt: skip

_THING = rf"(?:an?|any|the|some|no|all|both|{NUMBER_WORD})\b"
_THERE = rf"(?:there (?:is|are) |(?:is|are) (?={_THING}))?"
_NO_THING = r"(?!(?:of|or|and|to|from|that|which|is|are|has|have|hand|side|half|part|corner)\b)"
_OF_PLATE = r" of (?:the |an? )?(?:\w+ )?(?:plate|panel)"
_PLACE_FIRST = re.compile(
    rf"((?!on top of)(?:on|at|in|to)(?: the)? (?:{any_of(PLACES)})(?:{FRAME}|{_OF_PLATE})?) "
    rf"{_THERE}{_NO_THING}(.+)"
)
_RELATION_FIRST = re.compile(rf"((?:{any_of(RELATIONS)}) (.+?)) {_THERE}({_THING} .+)")


def place_last(words: str) -> str:
    """A text that begins with where something lies, "on the left a bolt is missing", with that behind what lies there;
    any other as it stands."""
    if (found := _PLACE_FIRST.fullmatch(words)) is not None:
        return f"{found[2]} {found[1]}"
    found = _RELATION_FIRST.fullmatch(words)
    return words if found is None or not is_name(found[2]) else f"{found[3]} {found[1]}"


def is_relation(words: str) -> bool:
    """Whether a text says what something is beside, and not what: "left of the gear"."""
    return re.fullmatch(rf"(?!nearest )(?:{any_of(RELATIONS)}) .+", words) is not None
