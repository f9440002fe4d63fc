"""The query grammar: from what is in a picture to questions about it and their exact answers.

Every question is decided: one that an unclear instance, a border-line position or a near colour could answer either
way is not asked. Geometry is that of the picture given (after any augmentation), in fractions of its sides.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from simvg_core.lineworld.meaning import CORNERS, SIDES, Meaning, extreme, in_region, nearest, relative, verdict
from simvg_core.lineworld.truth import Seen
from simvg_core.lineworld.vocabulary import BY_KEY, COLOR_WORDS, CONCEPTS, RIVALS, SIZE_WORDS, Concept
from simvg_core.lineworld.wordings import further_names, further_statements

MAX_TARGETS = 5
"""More targets than a model has answers are never asked in a benchmark."""

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
PRODUCT_QUERIES = ("missing_bolt", "crooked_label", "loose_bolt", "stain", "missing_screw", "scratch", "dent")

PLACE_WORDS = {
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top", "in the upper half"),
    "bottom": ("at the bottom", "in the lower half"),
    "middle": ("in the middle", "in the center"),
} | {corner: (f"in the {corner} corner", f"at the {corner}") for corner in CORNERS}
RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below", "under"),
}
EXTREMES = ("leftmost", "rightmost", "topmost", "lowest", "largest", "smallest")

# How often training asks in each form, as upper bounds of one random number.
_FORM_BOUNDS = (
    ("named", 0.20), ("colored", 0.36), ("sized", 0.41), ("placed", 0.55), ("related", 0.67), ("superlative", 0.77),
    ("plural", 0.83), ("rival", 0.93), ("any", 1.0),
)  # fmt: skip
FORMS = tuple(name for name, _ in _FORM_BOUNDS)


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `kind` is its form, `noun` the key of what is asked for, `targets` the ids that answer it.

    `lure` is True for a question without a target whose look-alike is in the picture.
    """

    text: str
    kind: str
    noun: str
    targets: tuple[int, ...]
    lure: bool = False


@dataclass(frozen=True, slots=True)
class Grammar:
    """Asks questions about pictures.

    Args:
        held_out: also use the phrasings that training never sees (for a benchmark); they have the kind "synonym".
        max_targets: questions with more targets are not asked.
        color_there: share of colours asked for that the thing is known to have; of the others, two thirds are colours
            of something else in the picture.
        further_wordings: share of names and sentences that are taken from `wordings`, where there are some.
    """

    held_out: bool = False
    max_targets: int = MAX_TARGETS
    color_there: float = 0.55
    further_wordings: float = 0.0

    def ask(self, scene: Sequence[Seen], rng: random.Random, count: int) -> list[Query]:
        """Up to `count` different questions; deterministic for the state of `rng`."""
        queries: dict[str, Query] = {}

        def add(query: Query | None) -> None:
            if query is not None and len(queries) < count and len(query.targets) <= self.max_targets:
                queries.setdefault(query.text, query)

        if rng.random() < 0.97:
            add(self._plain(scene, rng, Meaning(BY_KEY["missing_bolt"]), canonical=0.5))
        for key in rng.sample(PRODUCT_QUERIES[1:], 3):
            add(self._plain(scene, rng, Meaning(BY_KEY[key]), canonical=0.5))
        if rng.random() < 0.6:
            add(self._colored(scene, rng, BY_KEY["cap"]))
        here = concepts_in(scene)
        for _ in range(count * 6):
            if len(queries) >= count:
                break
            draw = rng.random()
            form = next(name for name, bound in _FORM_BOUNDS if draw < bound)
            add(self.draw(form, scene, rng, here))
        return list(queries.values())

    def draw(self, form: str, scene: Sequence[Seen], rng: random.Random, concepts: Sequence[Concept]) -> Query | None:
        """One try at a question of a form (of FORMS) about one of the concepts; None where it would not be decided.

        It may have more targets than `max_targets`.
        """
        concept = rng.choice(concepts)
        if form == "named":
            return self._plain(scene, rng, Meaning(concept))
        if form == "colored":
            return self._colored(scene, rng, concept)
        if form == "sized":
            return self._sized(scene, rng, concept)
        if form == "placed":
            return self._placed(scene, rng, self._narrowed(scene, rng, concept))
        if form == "related":
            return self._related(scene, rng, self._narrowed(scene, rng, concept), concepts)
        if form == "superlative":
            return self._superlative(scene, rng, self._narrowed(scene, rng, concept))
        if form == "plural":
            return self._plural(scene, rng, self._narrowed(scene, rng, concept))
        if form == "rival":
            rivals = [BY_KEY[key] for key in RIVALS.get(concept.key, ())]
            lures = rivals + [other for other in CONCEPTS if concept.key in RIVALS.get(other.key, ())]
            return self._plain(scene, rng, Meaning(rng.choice(lures))) if lures else None
        return self._plain(scene, rng, Meaning(rng.choice(CONCEPTS)))

    # -- forms ---------------------------------------------------------------------------------------------------

    def _plain(
        self, scene: Sequence[Seen], rng: random.Random, meaning: Meaning, canonical: float = 0.0
    ) -> Query | None:
        """By its name or by a sentence; with or without an article."""
        targets, decided = verdict(meaning, scene)
        if not decided:
            return None
        concept = meaning.concept
        kind = "attribute" if concept.state else "plain"
        lure = not targets and self._tempting(scene, concept)
        if rng.random() < canonical:
            return self._query(concept.names[0][0], kind, meaning, targets, lure)
        statements = concept.statements
        if self.held_out and concept.statements_held_out and rng.random() < 0.5:
            statements = concept.statements_held_out
        elif self._further(rng) and (more := further_statements(concept)):
            statements = more
        if statements and rng.random() < 0.3:
            kind = "synonym" if statements is concept.statements_held_out else "state"
            return self._query(rng.choice(statements), kind, meaning, targets, lure)
        name, new = self._name(rng, concept)
        number = len(targets)
        if number > 1 and rng.random() < 0.3:
            return self._query(rng.choice((name[1], f"all {name[1]}")), "plural", meaning, targets)
        text = with_article(name[0], rng, definite=number == 1)
        return self._query(text, "synonym" if new else kind, meaning, targets, lure)

    def _colored(self, scene: Sequence[Seen], rng: random.Random, concept: Concept) -> Query | None:
        if not concept.colored:
            return None
        here = sorted({seen.color for seen in scene if seen.kind in concept.kinds and seen.color})
        anywhere = sorted({seen.color for seen in scene if seen.color})
        draw = rng.random()
        # true colours, colours that something else has (the hardest to refuse), any colour
        if here and draw < self.color_there:
            color = rng.choice(here)
        elif anywhere and draw < self.color_there + (1 - self.color_there) * 2 / 3:
            color = rng.choice(anywhere)
        else:
            color = rng.choice(sorted(COLOR_WORDS))
        meaning = Meaning(concept, color=color)
        targets, decided = verdict(meaning, scene)
        if not decided:
            return None
        name, new = self._name(rng, concept, simple=0.7)
        word = rng.choice(COLOR_WORDS[color])
        lure = not targets and bool(here)
        if len(targets) > 1 and rng.random() < 0.3:
            return self._query(f"{word} {name[1]}", "plural", meaning, targets)
        text = with_article(f"{word} {name[0]}", rng, definite=len(targets) == 1)
        return self._query(text, "synonym" if new else "attribute", meaning, targets, lure)

    def _sized(self, scene: Sequence[Seen], rng: random.Random, concept: Concept) -> Query | None:
        if not concept.sized:
            return None
        size = rng.choice(sorted(SIZE_WORDS))
        meaning = Meaning(concept, size=size)
        targets, decided = verdict(meaning, scene)
        if not decided:
            return None
        name, _ = self._name(rng, concept, simple=1.0)
        text = with_article(f"{rng.choice(SIZE_WORDS[size])} {name[0]}", rng, definite=len(targets) == 1)
        return self._query(text, "attribute", meaning, targets, not targets and self._tempting(scene, concept))

    def _placed(self, scene: Sequence[Seen], rng: random.Random, meaning: Meaning) -> Query | None:
        candidates, decided = verdict(meaning, scene)
        if not decided or not candidates:
            return None
        region = rng.choice((*SIDES, *SIDES, *CORNERS, "middle"))
        answers = [in_region(one, region) for one in candidates]
        if None in answers:
            return None
        targets = [one for one, answer in zip(candidates, answers, strict=True) if answer]
        if not targets and rng.random() < 0.5:
            return None
        singular, plural = self._phrase(rng, meaning)
        text = plural if len(targets) > 1 else with_article(singular, rng, definite=len(targets) == 1)
        return self._query(f"{text} {rng.choice(PLACE_WORDS[region])}", "position", meaning, targets, not targets)

    def _related(
        self, scene: Sequence[Seen], rng: random.Random, meaning: Meaning, here: Sequence[Concept]
    ) -> Query | None:
        other = self._narrowed(scene, rng, rng.choice(here))
        if other.concept.kinds & meaning.concept.kinds or "plate" in other.concept.kinds | meaning.concept.kinds:
            return None
        anchors, sure = verdict(other, scene)
        candidates, decided = verdict(meaning, scene)
        if not (sure and decided) or len(anchors) != 1 or not candidates:
            return None
        anchor = anchors[0]
        anchor_name = self._phrase(rng, other)[0]
        singular, plural = self._phrase(rng, meaning)
        if rng.random() < 0.3:
            closest = nearest(candidates, anchor)
            if closest is None:
                return None
            how = rng.choice(("next to", "nearest to", "closest to"))
            text = f"{with_article(singular, rng, definite=True)} {how} the {anchor_name}"
            return self._query(text, "relation", meaning, [closest])
        relation = rng.choice(tuple(RELATION_WORDS))
        answers = [relative(one, anchor, relation) for one in candidates]
        if None in answers:
            return None
        targets = [one for one, answer in zip(candidates, answers, strict=True) if answer]
        if not targets and rng.random() < 0.5:
            return None
        text = plural if len(targets) > 1 else with_article(singular, rng, definite=len(targets) == 1)
        return self._query(
            f"{text} {rng.choice(RELATION_WORDS[relation])} the {anchor_name}",
            "relation",
            meaning,
            targets,
            not targets,
        )

    def _superlative(self, scene: Sequence[Seen], rng: random.Random, meaning: Meaning) -> Query | None:
        candidates, decided = verdict(meaning, scene)
        how = rng.choice(EXTREMES)
        target = extreme(candidates, how) if decided else None
        if target is None:
            return None
        word = rng.choice({"largest": ("largest", "biggest"), "topmost": ("topmost", "highest")}.get(how, (how,)))
        article = rng.choice(("", "the "))
        return self._query(f"{article}{word} {self._phrase(rng, meaning)[0]}", "superlative", meaning, [target])

    def _plural(self, scene: Sequence[Seen], rng: random.Random, meaning: Meaning) -> Query | None:
        targets, decided = verdict(meaning, scene)
        if not decided or len(targets) < 2:
            return None
        plural = self._phrase(rng, meaning)[1]
        if len(targets) in NUMBERS and rng.random() < 0.4:
            both = ("both", "the two", "two") if len(targets) == 2 else (NUMBERS[len(targets)],)
            return self._query(f"{rng.choice(both)} {plural}", "count", meaning, targets)
        return self._query(rng.choice((plural, f"all {plural}", f"the {plural}")), "plural", meaning, targets)

    # -- words ---------------------------------------------------------------------------------------------------

    def _name(self, rng: random.Random, concept: Concept, simple: float = 0.4) -> tuple[tuple[str, str], bool]:
        """A name and whether training never sees it."""
        if self.held_out and concept.held_out and rng.random() < 0.35:
            return rng.choice(concept.held_out), True
        if self._further(rng) and (more := further_names(concept)):
            return rng.choice(more), False
        return (concept.names[0] if rng.random() < simple else rng.choice(concept.names)), False

    def _phrase(self, rng: random.Random, meaning: Meaning) -> tuple[str, str]:
        concept = meaning.concept
        if self._further(rng) and (more := further_names(concept)):
            singular, plural = rng.choice(more)
        else:
            singular, plural = concept.names[0] if rng.random() < 0.7 else rng.choice(concept.names)
        if meaning.color is not None:
            word = rng.choice(COLOR_WORDS[meaning.color])
            return f"{word} {singular}", f"{word} {plural}"
        return singular, plural

    def _further(self, rng: random.Random) -> bool:
        return self.further_wordings > 0 and rng.random() < self.further_wordings

    def _narrowed(self, scene: Sequence[Seen], rng: random.Random, concept: Concept) -> Meaning:
        """Sometimes with the colour of one of its instances."""
        if concept.colored and rng.random() < 0.35:
            colors = sorted({seen.color for seen in scene if seen.kind in concept.kinds and seen.color})
            if colors:
                return Meaning(concept, color=rng.choice(colors))
        return Meaning(concept)

    @staticmethod
    def _tempting(scene: Sequence[Seen], concept: Concept) -> bool:
        kinds = set(concept.kinds)
        for key in RIVALS.get(concept.key, ()):
            kinds |= BY_KEY[key].kinds
        return any(seen.kind in kinds for seen in scene)

    @staticmethod
    def _query(text: str, kind: str, meaning: Meaning, targets: Sequence[Seen], lure: bool = False) -> Query:
        return Query(text, kind, meaning.concept.key, tuple(sorted(one.id for one in targets)), lure)


def concepts_in(scene: Sequence[Seen]) -> list[Concept]:
    """Concepts of a kind that is clearly in the picture; all of them where there is none."""
    present = {seen.kind for seen in scene if seen.clear}
    return [concept for concept in CONCEPTS if concept.kinds & present] or list(CONCEPTS)


def with_article(name: str, rng: random.Random, definite: bool) -> str:
    """The bare name, or with "a", "an", "any", or "the" where one thing is meant."""
    draw = rng.random()
    if draw < 0.6:
        return name
    if definite and draw < 0.8:
        return f"the {name}"
    return f"any {name}" if draw > 0.97 else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def rng_of(seed: int, index: int, epoch: int) -> random.Random:
    """The generator of one picture in one epoch."""
    return random.Random(f"{seed}/{index}/{epoch}")


@cache
def _phrases() -> dict[str, Meaning]:
    known: dict[str, Meaning] = {}
    for concept in CONCEPTS:
        for name in concept.names + concept.held_out + further_names(concept):
            for form in name:
                known.setdefault(form, Meaning(concept))
                if concept.colored:
                    for color, words in COLOR_WORDS.items():
                        known.update({f"{word} {form}": Meaning(concept, color=color) for word in words})
                if concept.sized:
                    for size, words in SIZE_WORDS.items():
                        known.update({f"{word} {form}": Meaning(concept, size=size) for word in words})
        for sentence in concept.statements + concept.statements_held_out + further_statements(concept):
            known[sentence] = Meaning(concept)
    known.setdefault("pliers", Meaning(BY_KEY["pliers"]))
    return known


def parse(text: str) -> Meaning | None:
    """The meaning of a plain, attribute or state query; None for a text the grammar does not know."""
    words = " ".join(text.lower().split())
    known = _phrases()
    if words in known:
        return known[words]
    first, _, rest = words.partition(" ")
    return known.get(rest) if first in ("a", "an", "any", "the", "all") else None


def standing_truth(scene: Sequence[Seen], text: str) -> tuple[int, ...] | None:
    """Ids that answer a standing query; None where the picture leaves it open.

    Raises:
        ValueError: a text outside the grammar.
    """
    meaning = parse(text)
    if meaning is None:
        raise ValueError(f"{text!r} is not in the grammar; use a name, a coloured or sized name, or a statement.")
    targets, decided = verdict(meaning, scene)
    return tuple(one.id for one in targets) if decided else None
