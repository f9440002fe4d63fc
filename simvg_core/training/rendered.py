"""A rendered set as questions with answers: those that the line benchmark would ask of its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from simvg_core.lineworld.benchmark import ask, decidable
from simvg_core.lineworld.truth import read_truth, seen_in
from simvg_core.training.data import LineSet
from simvg_core.training.sets.errors import SetNotFoundError, SetSplitError
from simvg_core.training.sets.open import RENDERED, find_format, open_set
from simvg_core.training.sets.rendered import check_rendered
from simvg_core.training.sets.sample import ALL_SPLITS, GroundingSet, Problem, Sample, Task

_SEED = 7


class RenderedSet(GroundingSet):
    """The finished pictures of a rendered set, which may still be growing."""

    split = ALL_SPLITS

    def __init__(self, folder: Path) -> None:
        self.name, self.lines = folder.name, LineSet(folder)

    @property
    def task(self) -> Task:
        """Questions have none, one or several answers."""
        return "grec"

    def splits(self) -> Mapping[str, int]:
        """One, without a name of its own."""
        return {ALL_SPLITS: len(self._samples)}

    def samples(self) -> Sequence[Sample]:
        """Raises DataError for a folder without pictures, TruthError for a broken record."""
        return self._samples

    def left_out(self) -> Mapping[str, int]:
        """Nothing: a broken record ends with its error."""
        return {}

    def check(self, *, decode: bool = False) -> list[Problem]:
        """Pictures are always decoded: their sizes must be those of the truth."""
        return check_rendered(self.lines.folder)[1]

    @cached_property
    def _samples(self) -> list[Sample]:
        return [sample for place, name in enumerate(self.lines.names()) for sample in self._of(name, place)]

    def _of(self, name: str, place: int) -> Iterator[Sample]:
        image = self.lines.folder / "images" / f"{name}.jpg"
        truth = read_truth(self.lines.folder / "truth" / f"{name}.json")
        boxes = {one.id: one.box_xyxy_px for one in truth.instances}
        scene = decidable(seen_in(truth), truth.width, truth.height)
        for query in ask(scene, _SEED, int(name) if name.isdigit() else place):
            yield Sample(
                id=f"{name}/{query.text}",
                image=image,
                image_id=name,
                text=query.text,
                boxes_xyxy_px=tuple(boxes[target] for target in query.targets),
                width=truth.width,
                height=truth.height,
                kind=query.kind,
                noun=query.noun,
                lure=query.lure,
            )


def open_for_scoring(
    path: Path,
    *,
    format: str | None = None,
    split: str | None = None,
    images: Path | None = None,
    merge_boxes: bool = True,
) -> GroundingSet:
    """`open_set`, and rendered sets as well; errors as there. A rendered set has one split, and its pictures in it."""
    if (find_format(path) if format is None else format) == RENDERED:
        if split is not None:
            raise SetSplitError(f"{path} is a rendered set, which has no split {split!r} apart; leave --split out.")
        if images is not None:
            raise SetNotFoundError(f"{path} is a rendered set, which has its pictures in it; leave --images out.")
        return RenderedSet(path)
    return open_set(path, format=format, split=split, images=images, merge_boxes=merge_boxes)
