"""What the worker asks of a model, and what it gets: the seam between the line and the model's package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from consumers.grounding.frames import Pixels
from infra.contracts import Box, State


@dataclass(frozen=True, slots=True)
class Finding:
    """One text on one view. `boxes` are xyxy, normalised to the view, best first, each with its score. `asked` is False
    where the model's gate answered, or a part was not found, with the score that such texts have on average."""

    state: State
    score: float | None
    boxes: tuple[Box, ...] = ()
    box_scores: tuple[float, ...] = ()
    reason: str | None = None
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """Of prepared texts: how many, and bytes of theirs and of the selections that views are asked."""

    texts: int = 0
    text_bytes: int = 0
    selected_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLimits:
    """From where a single frame cannot be judged; grey levels are 0 … 255. See docs/benchmarks/unknown.md.

    `black`: nearly all pixels are darker. `white`: nearly all are brighter. `flat`: their deviation is less. `blur`:
    the share of fine edges is smaller. `drag`: they run in one direction only.
    """

    black: float = 16.0
    white: float = 250.0
    flat: float = 2.0
    blur: float = 0.0004
    drag: float = 0.0


class Engine(Protocol):
    """A model that grounds texts in pictures.

    :meth:`compile` may be called from another thread while :meth:`ground` runs. Calls of :meth:`compile` never overlap;
    of :meth:`ground` as many as :attr:`at_once` says.
    """

    @property
    def at_once(self) -> int:
        """How many batches are best looked at together. With more than one, none waits for another's slowest frame."""

    @property
    def fingerprint(self) -> str:
        """Identity of weights and configuration; it stands in every message of `detections`."""

    @property
    def gate_texts(self) -> int | None:
        """How many texts of a view it takes for a gate to look first which of them are asked; None: there is none."""

    def reduced(self, view: Pixels) -> Pixels:
        """A view with no more pixels than it looks at: of it, it says the same."""

    def problem(self, frame: Pixels, limits: PictureLimits | None = None) -> str | None:
        """Why a whole frame cannot be judged (black, blurred, ...), in words, or None if it can.

        ``limits`` are its camera's; None stands for the defaults.
        """

    def compile(self, texts: Sequence[str]) -> Mapping[str, str]:
        """Prepares texts, so that the next frames do not pay for it. Returns those it cannot take, with the reason."""

    def reading(self, text: str) -> str | None:
        """What it takes a text to say, in words, where it is asked in parts; None where it is asked as it stands."""

    def parts(self, text: str, floor: float) -> Mapping[str, float]:
        """What to ask instead of a text of which only scores from ``floor`` on matter, where its region is seen in
        several views or with more around it, and from which score on: "leftmost" is of all views, and "two" are two in
        the region. The text itself where it has no parts."""

    def at_most(self, text: str) -> int | None:
        """How many boxes answer a text at most, "two bolts"; None where it does not say."""

    def compose(self, text: str, parts: Mapping[str, Finding]) -> Finding:
        """What its parts say of a text, each from all of the views. Boxes are normalised to the region."""

    @property
    def memory(self) -> Memory:
        """What the prepared texts take."""

    def ground(self, views: Sequence[Pixels], texts: Sequence[Mapping[str, float]]) -> list[dict[str, Finding]]:
        """``texts[i]`` on ``views[i]``, one dictionary per view; of each text the lowest score that makes a difference.

        Only texts are asked that a :meth:`compile` call took, and not many calls ago: others cost a pass of their own.
        """
