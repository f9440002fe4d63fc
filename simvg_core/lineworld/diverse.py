"""A thousand different things to ask of one line: nouns, colours, sizes, places, relations, superlatives, sentences.

The grammar in `language` asks about what is in a picture; here the texts come first, as standing queries do, and each
is then judged in a picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from simvg_core.lineworld.language import EXTREMES, PLACE_WORDS, RELATION_WORDS, Query, with_article
from simvg_core.lineworld.meaning import CORNERS, SIDES, Meaning, Verdict, extreme, in_region, relative, verdict
from simvg_core.lineworld.truth import Seen
from simvg_core.lineworld.vocabulary import COLOR_WORDS, CONCEPTS, SIZE_WORDS


@dataclass(frozen=True, slots=True)
class Ask:
    """One text and what it means: a thing, perhaps at a place, beside another thing, or the utmost of its kind."""

    text: str
    meaning: Meaning
    place: str | None = None
    relation: str | None = None
    other: Meaning | None = None
    utmost: str | None = None

    def judge(self, scene: Sequence[Seen]) -> bool | None:
        """True: it is in the picture; False: it is not; None: a person could go either way."""
        return self.judged(partial(verdict, scene=scene))

    def judged(self, fits: Callable[[Meaning], Verdict]) -> bool | None:
        """The same by what in the picture fits a meaning: for many texts, most of which mean one of few things."""
        candidates, decided = fits(self.meaning)
        if not candidates:
            return False if decided else None
        if self.utmost is not None:
            return True if decided and (len(candidates) == 1 or extreme(candidates, self.utmost)) else None
        if self.place is not None:
            answers = [in_region(one, self.place) for one in candidates]
        elif self.other is not None and self.relation is not None:
            anchors, sure = fits(self.other)
            if not anchors:
                return False if sure else None
            answers = [relative(one, anchor, self.relation) for one in candidates for anchor in anchors]
            decided = decided and sure
        else:
            return True
        if True in answers:
            return True
        return None if None in answers or not decided else False


def diverse(count: int, seed: int) -> list[Ask]:
    """So many different texts; the same for the same seed."""
    rng = random.Random(f"diverse/{seed}")
    found: dict[str, Ask] = {}
    while len(found) < count:
        ask = _draw(rng)
        found.setdefault(ask.text, ask)
    return list(found.values())


def false_of(scene: Sequence[Seen], rng: random.Random, count: int) -> list[Query]:
    """Up to so many different questions whose answer in a picture is certainly none."""
    found: dict[str, Query] = {}
    for _ in range(20 * count):
        if len(found) == count:
            break
        ask = _draw(rng)
        if ask.judge(scene) is False:
            found.setdefault(ask.text, Query(ask.text, "none", ask.meaning.concept.key, ()))
    return list(found.values())


def _draw(rng: random.Random) -> Ask:
    meaning = _meaning(rng)
    draw = rng.random()
    if draw < 0.1 and meaning.concept.statements and meaning.color is None and meaning.size is None:
        return Ask(rng.choice(meaning.concept.statements), meaning)
    plural = rng.random() < 0.1
    phrase = _phrase(rng, meaning, plural)
    if draw < 0.4:
        return Ask(phrase if plural else with_article(phrase, rng, definite=False), meaning)
    if draw < 0.65:
        place = rng.choice((*SIDES, *CORNERS, "middle"))
        return Ask(f"{phrase} {rng.choice(PLACE_WORDS[place])}", meaning, place=place)
    if draw < 0.9:
        other, relation = _meaning(rng), rng.choice(tuple(RELATION_WORDS))
        if not other.concept.kinds & meaning.concept.kinds and "plate" not in other.concept.kinds:
            text = f"{phrase} {rng.choice(RELATION_WORDS[relation])} the {_phrase(rng, other, False)}"
            return Ask(text, meaning, relation=relation, other=other)
    utmost = rng.choice(EXTREMES)
    return Ask(f"{rng.choice(('', 'the '))}{utmost} {_phrase(rng, meaning, False)}", meaning, utmost=utmost)


def _meaning(rng: random.Random) -> Meaning:
    concept = rng.choice(CONCEPTS)
    if concept.colored and rng.random() < 0.6:
        return Meaning(concept, color=rng.choice(tuple(COLOR_WORDS)))
    if concept.sized and rng.random() < 0.3:
        return Meaning(concept, size=rng.choice(tuple(SIZE_WORDS)))
    return Meaning(concept)


def _phrase(rng: random.Random, meaning: Meaning, plural: bool) -> str:
    name = rng.choice(meaning.concept.names)[plural]
    if meaning.color is not None:
        return f"{rng.choice(COLOR_WORDS[meaning.color])} {name}"
    if meaning.size is not None:
        return f"{rng.choice(SIZE_WORDS[meaning.size])} {name}"
    return name
