"""What a description means for an instance: yes, no, or undecided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from simvg_core.geometry import ASIDE, CENTRE, REACH, SIDE, SLANT
from simvg_core.lineworld.truth import Seen
from simvg_core.lineworld.vocabulary import COLOR_NEIGHBOURS, LOOK_ALIKES, Concept


@dataclass(frozen=True, slots=True)
class Meaning:
    """A concept, narrowed by colour or size."""

    concept: Concept
    color: str | None = None
    size: str | None = None

    def judge(self, seen: Seen) -> bool | None:
        """True, False, or None where a person could go either way."""
        concept = self.concept
        if seen.kind not in concept.kinds:
            if seen.kind in concept.doubtful:
                return None
            unclear = not seen.clear and any(seen.kind in group and group & concept.kinds for group in LOOK_ALIKES)
            return None if unclear else False
        if self.color is not None and seen.color != self.color:
            near = seen.color is None or any({seen.color, self.color} <= group for group in COLOR_NEIGHBOURS)
            return None if near else False
        if self.size is not None and seen.size != self.size:
            return None if seen.size in (None, "medium") else False
        if not seen.clear:
            return None
        return concept.state is None or seen.state == concept.state


class Verdict(NamedTuple):
    """Instances that fit a meaning; `decided` is False when any instance could go either way."""

    targets: list[Seen]
    decided: bool


def verdict(meaning: Meaning, scene: Iterable[Seen]) -> Verdict:
    """Judges every instance of a picture."""
    targets: list[Seen] = []
    decided = True
    for seen in scene:
        answer = meaning.judge(seen)
        if answer is None:
            decided = False
        elif answer:
            targets.append(seen)
    return Verdict(targets, decided)


# Distances are fractions of the picture side. Between "sure" and "sure not" lies what is not asked.
CORNERS = ("upper left", "upper right", "lower left", "lower right")
SIDES = ("left", "right", "top", "bottom")


def in_region(seen: Seen, region: str) -> bool | None:
    """Whether an instance's centre is in a side ("left"), a corner ("upper left") or the "middle" of the picture."""
    if region == "middle":
        offset = max(abs(seen.x - 0.5), abs(seen.y - 0.5))
        return True if offset < CENTRE[0] else False if offset > CENTRE[1] else None
    words = {"upper": "top", "lower": "bottom"}
    answers = []
    for side in region.split():
        side = words.get(side, side)
        along = {"left": seen.x, "right": 1 - seen.x, "top": seen.y, "bottom": 1 - seen.y}[side]
        answers.append(True if along < SIDE[0] else False if along > SIDE[1] else None)
    if False in answers:
        return False
    return None if None in answers else True


def relative(seen: Seen, anchor: Seen, relation: str) -> bool | None:
    """Whether an instance is "left of", "right of", "above" or "below" another."""
    dx, dy = seen.x - anchor.x, seen.y - anchor.y
    along, across = {
        "left of": (-dx, dy),
        "right of": (dx, dy),
        "above": (-dy, dx),
        "below": (dy, dx),
    }[relation]
    if along < 0.0:
        return False
    # far enough, and clearly more beside than across
    if along > ASIDE and abs(across) < SLANT[0] * along:
        return True
    return None


def extreme(candidates: Sequence[Seen], how: str) -> Seen | None:
    """The "leftmost", "rightmost", "topmost", "lowest", "largest" or "smallest" candidate, if it stands out."""
    if len(candidates) < 2:
        return None
    if how in ("largest", "smallest"):
        ordered = sorted(candidates, key=lambda one: one.area, reverse=how == "largest")
        big, small = max(ordered[0].area, ordered[1].area), min(ordered[0].area, ordered[1].area)
        return ordered[0] if big > 1.45 * small else None
    sign = 1 if how in ("leftmost", "topmost") else -1
    places = [(sign * (one.x if how in ("leftmost", "rightmost") else one.y), one) for one in candidates]
    places.sort(key=lambda place: place[0])
    return places[0][1] if places[1][0] - places[0][0] > 0.05 else None


def nearest(candidates: Sequence[Seen], anchor: Seen) -> Seen | None:
    """The candidate next to the anchor, if it is close and clearly closer than the others."""
    ordered = sorted(candidates, key=lambda one: (one.x - anchor.x) ** 2 + (one.y - anchor.y) ** 2)
    if not ordered:
        return None
    distances = [((one.x - anchor.x) ** 2 + (one.y - anchor.y) ** 2) ** 0.5 for one in ordered[:2]]
    if distances[0] > REACH[0] or (len(distances) == 2 and distances[1] < 1.4 * distances[0] + 0.03):
        return None
    return ordered[0]
