"""What operators write before or behind a thing's name and what says nothing about how it looks: "the M6 bolt",
"housing cap", "label A17".

A model that has only ever read bare names takes such a word for another thing; training adds some so that it does not.
"""

from __future__ import annotations

import random

from simvg_core.lineworld.language import NUMBERS

# Words of the small vocabulary that tell nothing of place, number, colour, size or condition, and that the phrasings
# kept out of training do not have.
WORDS = tuple(
    """
    air bar battery bearing belt board body box bracket bridge car carrier chain clamp clip coil component control
    conveyor core crate door drive engine factory fan feed filter flange frame gasket glass grease guide hinge
    hose housing key lever line machined main material metal model motor package paint part piece pin pipe
    point power product pump rail robot roller safety seal sensor series shaft shelf slot spacer spring standard station
    steering strap supplier switch table terminal tray tube type unit valve window work
    """.split()  # noqa: SIM905
)
_BEFORE_NAMES = frozenset({"a", "an", "any", "the", "all", "both", *NUMBERS.values()})
_ONSETS, _VOWELS, _LAST = "bdfghklmnprstvz", "aeiou", ("n", "r", "x", "z")


def with_designation(text: str, rng: random.Random) -> str:
    """The text with one such word, before its first word (but behind an article or a number) or behind that."""
    words = text.split(" ")
    first = next((place for place, word in enumerate(words) if word not in _BEFORE_NAMES), 0)
    place = first + rng.randint(0, 1)
    words.insert(place, designation(rng))
    if place and words[place - 1] in ("a", "an"):
        words[place - 1] = "an" if words[place][0] in _VOWELS else "a"
    return " ".join(words)


def designation(rng: random.Random) -> str:
    """A neutral word, a type such as "m6" or "a17", or a name that no dictionary has."""
    draw = rng.random()
    if draw < 0.5:
        return rng.choice(WORDS)
    if draw < 0.75:
        return f"{rng.choice('abcdefghjkmnprstvwx')}{rng.choice(('', '-'))}{rng.randint(1, 99)}"
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(2)) + rng.choice(_LAST)
