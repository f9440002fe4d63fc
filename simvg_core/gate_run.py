"""One run of `simvg gate`: pictures and texts in, gate layers and a threshold out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simvg_core.gate import GateCurve, GatePoint, store
from simvg_core.gate_fit import FitSettings, Lesson, collect, fit, measure, samples
from simvg_core.grounder import Grounder
from simvg_core.standing import CompiledTexts, StandingQueries
from simvg_core.training.rendered import open_for_scoring
from simvg_core.training.sets.errors import SetNotFoundError


class GateRun:
    """One model, the texts it is asked, and how many of them each picture."""

    def __init__(self, folder: Path, texts: list[str], *, by_truth: bool, count: int, seed: int) -> None:
        """Args:
        texts: that any picture may be asked, `count` of them each.
        by_truth: ask each picture also what the truth or the annotations beside it say.
        """
        self.folder, self.grounder = folder, Grounder.from_pretrained(folder, gate=False)
        self.texts, self.by_truth, self.count, self.seed = texts, by_truth, count, seed

    def fit(self, files: list[Path], pictures: int, epochs: int) -> None:
        """Teaches the gate on at most so many of the pictures."""
        rng = np.random.default_rng(self.seed)
        chosen = [files[place] for place in sorted(rng.permutation(len(files))[:pictures].tolist())]
        with _bar() as bar:
            lessons, texts = self._lessons(chosen, self.seed + 1, bar)
            fit(self.grounder, lessons, texts, FitSettings(epochs=epochs, seed=self.seed), _told(bar, "epochs"))

    def measure(self, files: list[Path]) -> GateCurve:
        """What the gate lets pass on other pictures."""
        with _bar() as bar:
            lessons, texts = self._lessons(files, self.seed + 2, bar)
            return measure(self.grounder, lessons, texts)

    def store(self, points: Sequence[GatePoint], *, with_layers: bool) -> None:
        """Writes what was chosen into the model's folder."""
        config = self.grounder.config
        store(config, points)
        if with_layers:
            self.grounder.model.save_pretrained(self.folder)
        else:
            config.save_pretrained(self.folder)

    def _lessons(self, files: list[Path], seed: int, bar: Progress) -> tuple[list[Lesson], CompiledTexts]:
        own = [own_texts(file.parents[1]).get(file.name, []) if self.by_truth else [] for file in files]
        places = {text: place for place, text in enumerate(dict.fromkeys([*self.texts, *chain.from_iterable(own)]))}
        ready = self.grounder.compile(list(places))._state[1]
        assert isinstance(ready, StandingQueries), "simvg gate has looked"
        compiled = ready.texts
        mine = [[places[text] for text in texts] for texts in own]
        chosen = samples(len(self.texts), self.count, mine, seed)
        return collect(self.grounder, files, compiled, chosen, _told(bar, "pictures")), compiled


def _told(bar: Progress, what: str) -> Callable[[int, int], None]:
    task = bar.add_task(what)
    return lambda done, total: bar.update(task, completed=done, total=total)


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


@cache
def own_texts(folder: Path) -> dict[str, list[str]]:
    """What the pictures of a line set or a rendered set are asked, by file name; nothing for other pictures."""
    try:
        samples = open_for_scoring(folder).samples()
    except SetNotFoundError:
        return {}
    found: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        found[sample.image.name].append(sample.text)
    return found
