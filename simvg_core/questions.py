"""What a frame is asked: texts made ready, from which score on a box counts, and what the gate may leave out.

NumPy only: every engine begins here. Shapes: N texts, R rows: what the model is asked for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simvg_core.answers import UNKNOWN, Grounding
from simvg_core.composing import Plan
from simvg_core.counted import limits
from simvg_core.errors import ImageError, InputError, TextError
from simvg_core.images import Frame, as_bgr

Floats = NDArray[np.float32]


class AnswerSettings(Protocol):
    """The fields of `SimVGConfig` that say what a gate may leave out, and what of an answer counts."""

    @property
    def score_threshold(self) -> float: ...
    @property
    def gate_floors(self) -> Sequence[float]: ...
    @property
    def gate_thresholds(self) -> Sequence[float]: ...
    @property
    def gate_queries(self) -> int: ...
    @property
    def counted_answers(self) -> bool: ...
    @property
    def composing(self) -> tuple[str, ...] | None: ...


@dataclass(frozen=True, eq=False)
class Question:
    """Texts for a frame. Frames that are asked the very same object are answered together."""

    texts: tuple[str, ...]
    ready: Any  # what an engine has compiled; None: nothing is asked
    thresholds: Floats  # (N,) lowest score of a box
    gate: Floats | None  # (N,), or (2, N) as of `Plan.floors`: logit below which the gate answers; None: all are asked
    most: NDArray[np.intp] | None = None  # (N,) boxes of a text at most; None: no text says how many
    doubts: tuple[str | None, ...] = ()  # why a text cannot be answered, whatever the frame shows; (): none
    plan: Plan | None = None  # how texts are put together from R rows; None: each is a row
    floors: Floats | None = None  # (2, N), `Plan.floors`; None: without plan or gate

    @classmethod
    def of(
        cls,
        texts: tuple[str, ...],
        ready: Any,
        config: AnswerSettings,
        thresholds: ArrayLike | None,
        floors: ArrayLike | None,
        *,
        gated: bool,
        complaint: Callable[[str], str | None],
    ) -> Question:
        """Args:
            thresholds: lowest score of a box, one for all or one per text; None: the model's own.
            floors: lowest score that makes a difference, likewise; None: the thresholds.
            gated: whether a gate may look at many texts first.
            complaint: why a text should not be asked, or None.

        Raises:
            InputError: thresholds or floors outside 0 … 1, or not one per text.
        """
        found = per_text(config.score_threshold if thresholds is None else thresholds, len(texts), "thresholds")
        lowest = found if floors is None else per_text(floors, len(texts), "floors")
        many = gated and len(texts) >= config.gate_queries and len(config.gate_floors) > 0
        plan, of_parts = Plan.of(texts, config.composing), None
        if many and plan is not None:
            of_parts = lowest = plan.floors(lowest)
        doubts = tuple(map(complaint, texts))
        return cls(
            texts,
            ready,
            found,
            gate_logits(lowest, config) if many else None,
            limits(texts) if config.counted_answers else None,
            doubts if any(doubts) else (),
            plan,
            of_parts,
        )


def gate_logits(floors: Floats, config: AnswerSettings) -> Floats:
    """For texts of which only scores from ``floors`` on make a difference, (...), what the gate must give them to be
    asked, (...): it keeps what the full pass would give such a score. -inf below the lowest score that it was measured
    at: such a text is always asked."""
    place = np.searchsorted(np.asarray(config.gate_floors, np.float32), floors, side="right") - 1
    thresholds = np.array([-np.inf, *config.gate_thresholds], np.float32)
    return thresholds[place + 1]


def per_text(values: ArrayLike, count: int, what: str) -> Floats:
    """One number for all texts or one per text → (count,). Raises InputError."""
    found = np.asarray(values, np.float32)
    if found.ndim and found.shape != (count,):
        raise InputError(f"{found.size} {what} for {count} texts; pass one for all or one per text.")
    if found.size and not ((found >= 0) & (found <= 1)).all():
        raise InputError(f"{what} {found.tolist()} must lie in 0 … 1.")
    return np.broadcast_to(found, (count,))


def together(questions: Sequence[Question]) -> Iterable[tuple[Question, list[int]]]:
    """Each question with the places of the frames that are asked it."""
    places: dict[int, list[int]] = {}
    for place, question in enumerate(questions):
        places.setdefault(id(question), []).append(place)
    return [(questions[found[0]], found) for found in places.values()]


def answer_all(
    frames_bgr: Sequence[Any],
    questions: Sequence[Question],
    run: Callable[[list[Frame], list[Question]], list[list[Grounding]]],
    *,
    problem_of: Callable[[Frame], str | None] | None,
    max_batch: int,
) -> list[list[Grounding]]:
    """Has a model ``run`` on the frames that it can judge, so many at once; the others are unknown.

    Raises:
        ImageError: something that is no frame. InputError: not one question per frame.
    """
    check_frames(frames_bgr)
    if len(frames_bgr) != len(questions):
        raise InputError(f"{len(questions)} questions for {len(frames_bgr)} frames; pass one for each.")
    frames, usable = [as_bgr(frame) for frame in frames_bgr], []
    result: list[list[Grounding]] = [[] for _ in frames]
    for place, (frame, question) in enumerate(zip(frames, questions, strict=True)):
        problem = problem_of(frame) if problem_of is not None else None
        if problem is not None:
            result[place] = [Grounding(UNKNOWN, None, reason=problem)] * len(question.texts)
        elif question.texts:
            usable.append(place)
    for start in range(0, len(usable), max_batch):
        chosen = usable[start : start + max_batch]
        rows = run([frames[place] for place in chosen], [questions[place] for place in chosen])
        for place, row in zip(chosen, rows, strict=True):
            result[place] = _doubted(row, questions[place].doubts)
    return result


def _doubted(row: list[Grounding], doubts: Sequence[str | None]) -> list[Grounding]:
    """A text that the model does not understand is unknown: it would be taken for any other."""
    if not doubts:
        return row
    return [one if why is None else Grounding(UNKNOWN, None, reason=why) for one, why in zip(row, doubts, strict=True)]


def check_frames(frames: Any) -> None:
    """Raises ImageError for one frame where several are expected: its rows would pass for frames."""
    if isinstance(frames, np.ndarray) and frames.ndim < 4:
        raise ImageError(f"frames is one array of shape {frames.shape}; pass a list of frames: [frame].")


def check_texts(texts: Any) -> list[str]:
    """As a list. Raises TextError for one text where several are expected: its letters would pass for texts."""
    if isinstance(texts, str):
        raise TextError(f"texts is the string {texts!r}; pass a list of texts: [{texts!r}].")
    return list(texts)
