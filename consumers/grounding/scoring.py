"""From decoded frames and what is asked of them to one finding per query. Views shared by queries are scored once."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumers.grounding.decode import in_full
from consumers.grounding.findings import Engine, Finding, PictureLimits
from consumers.grounding.frames import Picture, Pixels
from consumers.grounding.plan import Look, views_asked
from consumers.grounding.views import WHOLE, crop, merge, merge_parts, too_small
from infra.contracts import Box, State
from infra.metrics import counter

logger = logging.getLogger(__name__)

MAX_FAILURES = 5
"""Frames in a row that the model fails on before the fault is taken to be the model's, not the frames'."""


NO_NUMBER = "the model gave no number (NaN or infinity)"


def in_numbers(finding: Finding) -> Finding:
    """The finding; unknown where its score or boxes are no numbers, whatever engine they came from."""
    # One number that is none makes the sum none.
    numbers = finding.score or 0.0
    if finding.boxes or finding.box_scores:
        numbers += sum(finding.box_scores) + sum(map(sum, finding.boxes))
    if math.isfinite(numbers):
        return finding
    return Finding(State.UNKNOWN, None, reason=NO_NUMBER)


def _sound(part: Pixels, row: Mapping[str, Finding]) -> Mapping[str, Finding]:
    """The findings of a view by text; unknown where it shows nothing, or where one is in no numbers."""
    nothing = too_small(part)
    if nothing is not None:
        return dict.fromkeys(row, nothing)
    # Most are the gate's, and one object: each is looked at once.
    distinct = {id(finding): finding for finding in row.values()}
    if all(in_numbers(finding) is finding for finding in distinct.values()):
        return row
    return {text: in_numbers(finding) for text, finding in row.items()}


_PAIRS = counter(
    "simvg_worker_pairs_total",
    "pairs of text and view; gated: the model's gate, or a part that was not found, said that the text is not there",
    ("outcome",),
)


@dataclass(frozen=True, slots=True)
class Question:
    """A frame and what is asked of it."""

    picture: Picture
    looks: tuple[Look, ...]
    problem: str | None = None  # why the camera cannot be trusted, whatever the picture shows
    limits: PictureLimits | None = None


@dataclass(slots=True)
class Scores:
    """By query id, what was found on each frame of a batch, on the full frame; or what the model failed with. And how
    many views, and (text, view) pairs that no gate answered, the engine was asked for it; of texts that met a gate, how
    many passed, and how many there were."""

    answers: list[dict[str, Finding] | Exception] = field(default_factory=list)
    views: int = 0
    pairs: int = 0
    gate: tuple[int, int] = (0, 0)


class Scorer:
    """Asks an engine about batches. A frame on which the model fails does not take the others of its batch with it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._failures = 0

    def score(self, batch: Sequence[Question]) -> Scores:
        """Raises the engine's error when it fails on too many frames in a row."""
        scores = Scores()
        try:
            self._ask(batch, scores)
        except Exception:
            logger.exception("model failed on a batch of %d frames; they are scored one by one", len(batch))
        else:
            self._failures = 0
            return scores
        for question in batch:
            try:
                self._ask([question], scores)
                self._failures = 0
            except Exception as error:
                self._failures += 1
                if self._failures >= MAX_FAILURES:
                    raise
                scores.answers.append(error)
        return scores

    def _ask(self, batch: Sequence[Question], scores: Scores) -> None:
        """Adds a batch's answers, all of them or none."""
        pixels: list[Pixels] = []
        texts: list[Mapping[str, float]] = []
        places: dict[tuple[int, Box], tuple[int, Box]] = {}
        problems = [
            question.problem or self._engine.problem(question.picture.pixels, question.limits) for question in batch
        ]
        for number, question in enumerate(batch):
            if problems[number] is not None:
                continue
            asked = views_asked(question.looks)
            # halved for looks at the whole frame, perhaps, and the plan has changed since
            shown = question.picture.pixels if set(asked) == {WHOLE} else in_full(question.picture)
            for view, words in asked.items():
                part, exact = crop(shown, view)
                places[number, view] = len(pixels), exact
                pixels.append(part)
                texts.append(words)
        scores.views += len(pixels)
        answered = self._engine.ground(pixels, texts) if pixels else []
        self._count(answered, scores)
        found = [_sound(part, row) for part, row in zip(pixels, answered, strict=True)]
        answers: list[dict[str, Finding] | Exception] = []
        for number, question in enumerate(batch):
            if problems[number] is not None:
                unknown = Finding(State.UNKNOWN, None, reason=problems[number])
                answers.append({look.query.id: unknown for look in question.looks})
                continue
            spots = {view: (found[at], box) for (of, view), (at, box) in places.items() if of == number}
            answers.append({look.query.id: self._on_frame(look, spots) for look in question.looks})
        scores.answers += answers

    def _on_frame(self, look: Look, spots: Mapping[Box, tuple[Mapping[str, Finding], Box]]) -> Finding:
        """What the findings of its views, by view and each with its exact box, say of a query."""
        query = look.query
        if len(look.views) == 1 and (only := spots[look.views[0]][0].get(query.text)) is not None and not only.asked:
            return only  # as of most of a thousand queries
        shown = [spots[view] for view in look.views]
        if look.in_parts:
            seen = {text: [(box, found[text]) for found, box in shown] for text in look.asked}
            return merge_parts(query, seen, look.asked, self._engine.compose, look.most)
        return merge(query, [(box, found[query.text]) for found, box in shown], look.most)

    def _count(self, answered: Sequence[Mapping[str, Finding]], scores: Scores) -> None:
        """What was asked, and what a gate answered."""
        least = self._engine.gate_texts
        for row in answered:
            asked = sum(finding.asked for finding in row.values())
            scores.pairs += asked
            _PAIRS.labels("asked").inc(asked)
            _PAIRS.labels("gated").inc(len(row) - asked)
            if least is not None and len(row) >= least:
                scores.gate = scores.gate[0] + asked, scores.gate[1] + len(row)
