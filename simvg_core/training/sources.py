"""Where a run's batches come from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from simvg_core.configuration import SimVGConfig
from simvg_core.lineworld.language import Grammar
from simvg_core.training.data import Batch, BatchMaker, DataError, LineSet
from simvg_core.training.settings import TrainSettings

log = logging.getLogger(__name__)
# One step: the number of a set and the names of its records.
Step = tuple[int, list[str]]


class Source(Protocol):
    """The part of a run that differs between kinds of data."""

    # Picklable: what `item` gives → a batch; it also works in another process.
    make: Callable[[Any], Batch]
    # Steps of one round where a round is an epoch; None where the data may grow.
    epoch_steps: int | None
    # Records, and targets of records, that are not trained on, by reason.
    left_out: Mapping[str, int]
    # Of what is trained on, what workers will refuse all the same; empty = nothing.
    refused: Mapping[str, Any]
    # Likewise, for what workers will ask other texts; empty = nothing.
    divided: Mapping[str, Any]
    # Of the records that steps name by their places; None where steps name them by themselves.
    fingerprint: str | None

    def round(self, epoch: int, share: float) -> list[Step]:
        """The steps of a round, a function of the seed, `epoch` (from 0) and, while data grow, what there is."""
        ...

    def item(self, place: int, names: list[str], epoch: int) -> Any:
        """What `make` needs for some records of a step."""
        ...


class LineSource:
    """Rendered sets; pictures that appear while training are taken in.

    Args:
        step_size: pictures per step, all processes together.
    """

    epoch_steps: int | None = None
    fingerprint: str | None = None
    left_out: Mapping[str, int] = MappingProxyType({})
    refused: Mapping[str, Any] = MappingProxyType({})
    divided: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, settings: TrainSettings, config: SimVGConfig, step_size: int) -> None:
        self.settings, self.step_size = settings, step_size
        if settings.max_targets > config.num_queries:
            log.warning(
                "max_targets=%d: of questions with more targets than the model has answers (num_queries=%d), so many "
                "are taught in a step and the others by none; lower it, or use a larger num_queries.",
                settings.max_targets, config.num_queries,
            )  # fmt: skip
        self.sets = [LineSet(Path(folder)) for folder in (*settings.data, *settings.first_data)]
        self.make: Callable[[Any], Batch] = _Make(
            # a set that is named twice is shown and asked about in two ways
            [self._maker(one, config, settings.seed + 1000 * place) for place, one in enumerate(self.sets)]
        )

    def _maker(self, lines: LineSet, config: SimVGConfig, seed: int) -> BatchMaker:
        settings = self.settings
        return BatchMaker(
            lines,
            config,
            settings.augmentation,
            Grammar(
                max_targets=settings.max_targets,
                color_there=settings.color_there,
                further_wordings=settings.further_wordings,
            ),
            settings.queries,
            seed,
            false_texts=settings.false_texts,
            designations=settings.designations,
        )

    def item(self, place: int, names: list[str], epoch: int) -> tuple[int, list[str], int]:
        return place, names, epoch

    def round(self, epoch: int, share: float) -> list[Step]:
        """Up to `round_steps` batches of what the folders hold now; first data fills what the main sets leave over.

        Raises DataError where there is none.
        """
        settings = self.settings
        rng = np.random.default_rng((settings.seed, epoch))
        main: list[Step] = []
        first: list[Step] = []
        pictures = 0
        for place, one in enumerate(self.sets):
            is_main = place < len(settings.data)
            names = one.names(may_be_empty=bool(settings.first_data))
            pictures += len(names) if is_main else 0
            size = self.step_size
            order = np.resize(rng.permutation(len(names)), max(size, len(names) // size * size) if names else 0)
            tasks = [(place, [names[i] for i in order[at : at + size]]) for at in range(0, len(order), size)]
            (main if is_main else first).extend(tasks)
        chosen = [main[i] for i in rng.permutation(len(main))[: settings.round_steps]]
        if share < settings.first_share or pictures < settings.first_until:
            left = settings.round_steps - len(chosen)
            chosen += [first[i] for i in rng.permutation(len(first))[:left]]
        if not chosen:
            raise DataError(
                f"there is no picture to go on with: data ({', '.join(settings.data)}) holds none, and first_data none "
                f"that may be taken now (first_share={settings.first_share:g}, first_until={settings.first_until}); "
                "make some with `simvg line render --out DIR`, or raise first_until."
            )
        return [chosen[i] for i in rng.permutation(len(chosen))]


class _Make:
    """Sends an item to the maker of its set; picklable."""

    def __init__(self, makers: list[BatchMaker]) -> None:
        self.makers = makers

    def __call__(self, item: tuple[int, list[str], int]) -> Batch:
        place, names, epoch = item
        return self.makers[place]((names, epoch))
