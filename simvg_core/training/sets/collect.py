"""What every reader does with a record: check it, and keep it, or leave it out and count it."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from sys import intern

from simvg_core.training.sets.errors import SetSplitError
from simvg_core.training.sets.pictures import Picture, check_pictures
from simvg_core.training.sets.sample import ALL_SPLITS, BoxXyxyPx, GroundingSet, Problem, Sample, Task

BROKEN = "broken record"
_SLACK_PX = 1.0
"""So far may a box reach over the edge: annotation tools round."""
_UNREADABLE = re.compile("[\\x00-\\x08\\x0e-\\x1f\\x7f\\ud800-\\udfff\\ufffd]")
"""Control characters, and what a failed decoding leaves behind."""
_log = logging.getLogger(__name__)


class SampleSet(GroundingSet):
    """A set whose records are in memory."""

    def __init__(
        self,
        *,
        name: str,
        split: str,
        task: Task,
        splits: Mapping[str, int],
        samples: Sequence[Sample],
        pictures: Sequence[Picture],
        problems: Sequence[Problem],
        left_out: Mapping[str, int],
    ) -> None:
        self.name = name
        self.split = split
        self._task = task
        self._splits = splits
        self._samples = samples
        self._pictures = pictures
        self._problems = problems
        self._left_out = left_out

    @property
    def task(self) -> Task:
        return self._task

    def splits(self) -> Mapping[str, int]:
        return self._splits

    def samples(self) -> Sequence[Sample]:
        if self._left_out.get(BROKEN):
            _log.warning(
                "%s: %d broken records are left out; `simvg data check` names them.", self.name, self._left_out[BROKEN]
            )
        return self._samples

    def left_out(self) -> Mapping[str, int]:
        return self._left_out

    def check(self, *, decode: bool = False) -> list[Problem]:
        return [*self._problems, *check_pictures(self._pictures, decode=decode)]


class Collector:
    """Takes the records of a set in the order of its file, and makes a `SampleSet` of them.

    Args:
        name: of the set.
        split: the wanted one; None = all.
        margin_px: boxes are cut at 0 and at the image's side minus this. 1 = as the published results did it.
        matches: whether a record's split belongs to the wanted one; None = the names are the same.
    """

    def __init__(
        self,
        name: str,
        split: str | None,
        *,
        margin_px: float = 1.0,
        matches: Callable[[str, str], bool] | None = None,
    ) -> None:
        self.name = name
        self.wanted = split
        self.margin_px = margin_px
        self._matches = matches or (lambda wanted, given: wanted == given)
        self._splits: Counter[str] = Counter()
        self._asked = 0  # expressions of the wanted split
        self._left_out: Counter[str] = Counter()
        self._samples: list[Sample] = []
        self._problems: list[Problem] = []
        self._pictures: dict[str, Picture] = {}
        self._ids: set[str] = set()

    def wants(self, split: str) -> bool:
        """Counts an expression of a split; False = it need not be read."""
        self._splits[split] += 1
        self._asked += (wanted := self._has(split))
        return wanted

    def _has(self, split: str) -> bool:
        return self.wanted is None or self._matches(self.wanted, split)

    def problem(self, record: str, what: str, remedy: str) -> None:
        """Reports something that leaves no expression out."""
        self._problems.append(Problem(record, what, remedy))

    def lost(self, problem: Problem) -> None:
        """Reports a record that could not be read; an expression among them counts as left out."""
        self._problems.append(problem)
        if problem.record.startswith("expression "):
            self._left_out[BROKEN] += 1

    def broken(self, record: str, what: str, remedy: str) -> None:
        """Leaves an expression out because it is broken."""
        self.problem(record, what, remedy)
        self._left_out[BROKEN] += 1

    def torn(self, record: str, what: str, remedy: str) -> None:
        """Leaves out what is left of a record that breaks off: each of its expressions that was asked for and not taken
        yet; one where the record is broken before they can be told."""
        self.problem(record, what, remedy)
        self._left_out[BROKEN] += max(1, self._asked - len(self._samples) - self._left_out.total())

    def skip(self, reason: str) -> None:
        """Leaves an expression out although it is whole."""
        self._left_out[reason] += 1

    def use(self, picture: Picture) -> None:
        """Has the check look at an image."""
        self._pictures.setdefault(picture.id, picture)

    def add(
        self,
        *,
        id: str,
        picture: Picture,
        text: object,
        boxes_xyxy_px: Sequence[BoxXyxyPx],
        kind: str = "plain",
        noun: str | None = None,
        lure: bool = False,
    ) -> None:
        """Takes one expression of a wanted split."""
        self.use(picture)
        record = f"expression {id}"
        if id in self._ids:
            self.broken(record, "its id is used before", "give each expression an id of its own")
            return
        self._ids.add(id)
        wrong = wrong_text(text)
        if wrong is not None or not isinstance(text, str):
            self.broken(record, wrong or "", "write what is meant, or remove the expression")
            return
        boxes = [self.cut(record, box, picture) for box in boxes_xyxy_px]
        whole = tuple(box for box in boxes if box is not None)
        if len(whole) < len(boxes):
            self._left_out[BROKEN] += 1
            return
        self._samples.append(
            Sample(
                id=id,
                image=picture.path,
                image_id=picture.id,
                text=text.strip(),
                boxes_xyxy_px=whole,
                kind=intern(kind),
                noun=None if noun is None else intern(noun),
                lure=lure,
                width=picture.width,
                height=picture.height,
            )
        )

    def cut(self, record: str, box: BoxXyxyPx, picture: Picture) -> BoxXyxyPx | None:
        """The box within the image; None = nothing is left, which is reported. One that reaches out is reported too."""
        x0, y0, x1, y1 = box
        shown = f"box {tuple(round(value, 2) for value in box)}"
        remedy = "correct the box or remove it"
        if not all(math.isfinite(value) for value in box):
            self.problem(record, f"{shown} is not four finite numbers", remedy)
            return None
        if x1 <= x0 or y1 <= y0:
            self.problem(record, f"{shown} has no area", remedy)
            return None
        right, bottom = picture.width - self.margin_px, picture.height - self.margin_px
        cut = (
            min(max(x0, 0.0), right),
            min(max(y0, 0.0), bottom),
            min(max(x1, 0.0), right),
            min(max(y1, 0.0), bottom),
        )
        size = f"{picture.width}×{picture.height} image {picture.id}"
        if cut[2] <= cut[0] or cut[3] <= cut[1]:
            self.problem(record, f"{shown} is outside the {size}", remedy)
            return None
        over = max(-x0, -y0, x1 - picture.width, y1 - picture.height)
        if over > _SLACK_PX:
            self.problem(record, f"{shown} reaches {over:.1f} pixels out of the {size}; it is used, cut off", remedy)
        return box if cut == box else cut

    def finish(self, task: Task | None = None) -> SampleSet:
        """The set.

        Args:
            task: None = as the records have it: "rec" when each means one thing.

        Raises:
            SetSplitError: no record is of the wanted split.
        """
        if self.wanted is not None and not any(self._has(split) for split in self._splits):
            has = ", ".join(self._splits) or "no expression at all"
            raise SetSplitError(f"{self.name} has no split {self.wanted!r}; it has {has}.")
        one = all(len(sample.boxes_xyxy_px) == 1 for sample in self._samples)
        only = next(iter(self._splits)) if len(self._splits) == 1 else ALL_SPLITS
        return SampleSet(
            name=self.name,
            split=only if self.wanted is None else self.wanted,
            task=task or ("rec" if one else "grec"),
            splits=dict(self._splits),
            samples=self._samples,
            pictures=list(self._pictures.values()),
            problems=self._problems,
            left_out={reason: count for reason, count in self._left_out.items() if count},
        )


def wrong_text(text: object) -> str | None:
    """What is wrong with an expression's words; None = nothing."""
    from simvg_core.words import clean_text  # not on top: `simvg` comes up where there is no tokenizer library

    if not isinstance(text, str):
        return f"its text is a {type(text).__name__}, not words"
    if not clean_text(text).strip():
        return f"its text {text!r} has no word"
    if _UNREADABLE.search(text):
        return f"its text {text!r} is unreadable"
    return None


def corners(bbox_xywh: Sequence[float]) -> BoxXyxyPx:
    """x, y, width, height → x0, y0, x1, y1."""
    x, y, width, height = bbox_xywh
    return x, y, x + width, y + height
