"""The check of rendered sets, whose scenes have no expressions of their own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from simvg_core.training.sets.sample import Problem


def check_rendered(folder: Path) -> tuple[Counter[str], list[Problem]]:
    """Reads every picture and its truth.

    Returns:
        The number of whole pictures by split, and a problem for each of the others.

    Raises:
        DataError: the folder holds no picture.
    """
    from simvg_core.lineworld.truth import TruthError
    from simvg_core.training.data import DataError, LineSet

    lines = LineSet(folder)
    splits: Counter[str] = Counter()
    problems = []
    for name in lines.names():
        try:
            splits[lines.read(name)[1].split] += 1
        except (DataError, TruthError) as error:
            what, _, remedy = str(error).rstrip(".").rpartition("; ")
            problems.append(Problem(f"picture {name}", what or remedy, remedy if what else "render it again"))
    return splits, problems
