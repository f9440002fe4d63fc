"""One expression about one image, and what every data set offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Task = Literal["rec", "grec"]
BoxXyxyPx = tuple[float, float, float, float]
ALL_SPLITS = "all"
"""The split's name of a set that was opened without one and has several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One expression about one image.

    Attributes:
        id: unique within the set.
        image: file; samples of one image share the object.
        boxes_xyxy_px: what the expression means, x0 y0 x1 y1 in pixels of the image as OpenCV reads it; empty = no
            target. In a "rec" set several boxes are alternatives (any of them is right), in a "grec" set all are meant.
        kind: of expression, for reports.
        noun: what it names, for reports; None = not known.
        lure: it has no target because of one property only (a red cap where the caps are blue).
        width, height: of the image, in pixels.
    """

    id: str
    image: Path
    image_id: str
    text: str
    boxes_xyxy_px: tuple[BoxXyxyPx, ...]
    width: int
    height: int
    kind: str = "plain"
    noun: str | None = None
    lure: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A broken record: which one, what is wrong with it, and what to do about it."""

    record: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.record}: {self.what}; {self.remedy}."


class GroundingSet(ABC):
    """A data set, or one split of it. Opening reads its records; image files are not touched.

    Attributes:
        name: of the set, for reports.
        task: "rec" = each expression means one thing; "grec" = none, one or several.
        split: the one that was asked for, or `ALL_SPLITS`.
    """

    name: str
    split: str

    @property
    @abstractmethod
    def task(self) -> Task:
        """ "rec" or "grec", as the records have it."""

    @abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Every split of the set with its number of usable expressions, whichever was asked for."""

    @abstractmethod
    def samples(self) -> Sequence[Sample]:
        """The usable expressions, always in the same order. Broken records are left out and counted.

        Raises:
            SetFormatError: a file of the set cannot be read at all.
        """

    @abstractmethod
    def left_out(self) -> Mapping[str, int]:
        """How many records `samples` leaves out, by reason; empty = none."""

    @abstractmethod
    def check(self, *, decode: bool = False) -> list[Problem]:
        """Every broken record; empty when all is well. Image files are opened, with `decode` also decoded."""
