"""Which looks are left out when a worker cannot take them all: of low severity first, critical ones never. Pure.

A *step* says which share of their looks each severity keeps. From step to step low queries go down to a sixteenth, then
medium, then high ones; only after that they are left out altogether, again low ones first. The worker goes up as many
steps at once as the numbers ask for, and down after a while in which fewer would have done: as many as prediction and
measurement agree on, or one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from consumers.grounding.plan import Look
from infra.contracts import Severity
from infra.cost import RANK

SHEDDABLE = tuple(sorted((s for s in Severity if s is not Severity.CRITICAL), key=RANK.__getitem__))
HALVINGS = 4
"""A severity is sampled down to 1 / 2 ** HALVINGS before the next one is touched."""

FULL = 0.95
"""A worker that is busy for this share of its time has no time left."""

LOST = 0.02
"""So many of a camera's frames, as a share, give way to newer ones without it being an overload."""

MARGIN = 0.85
"""A step down is taken when it would leave the cost under this share of the budget."""

HOLD_SECONDS = 5.0
LONGEST_HOLD_SECONDS = 160.0
"""And when this was so all the time for so long; after a step down that had to be taken back, for twice as long."""

ALL: Mapping[Severity, float] = {}


@dataclass(frozen=True, slots=True)
class Measured:
    """One moment of a worker. ``cost(sampling)``: predicted share of its time, by the share of looks left."""

    cost: Callable[[Mapping[Severity, float]], float]
    busy: float
    lost: float


def ladder(present: Collection[Severity]) -> list[Mapping[Severity, float]]:
    """The steps for the severities that are asked; the first leaves everything."""
    kept = [severity for severity in SHEDDABLE if severity in present]
    steps: list[Mapping[Severity, float]] = [ALL]
    for severity in kept:
        steps += [{**steps[-1], severity: 0.5**halving} for halving in range(1, HALVINGS + 1)]
    for severity in kept:
        steps.append({**steps[-1], severity: 0.0})
    return steps


class Shedder:
    """Decides, from one moment to the next. The clock is passed in, in seconds."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._steps: Sequence[Mapping[Severity, float]] = [ALL]
        self._present: frozenset[Severity] = frozenset()
        self._step = 0
        self._full_before = False
        self._calm_since: float | None = None
        self._hold = HOLD_SECONDS
        self._down_at: float | None = None

    @property
    def sampling(self) -> Mapping[Severity, float]:
        """Share of looks that the severities keep which are sampled now; those that are not named keep all."""
        return self._steps[self._step]

    def asked(self, present: frozenset[Severity]) -> None:
        """Which severities the queries have now. A changed set starts where the shares are nearest to those before."""
        if present == self._present:
            return
        before = self.sampling
        self._present, self._steps = present, ladder(present)
        fits = (
            number
            for number, step in enumerate(self._steps)
            if all(step.get(severity, 1.0) <= share for severity, share in before.items() if severity in present)
        )
        self._step = next(fits, len(self._steps) - 1)

    def decide(self, now: Measured, at: float) -> bool:
        """Takes in a moment; whether the sampling changed."""
        before, was_full = self._step, self._full_before
        full = now.busy >= FULL and now.lost > LOST
        if full:
            self._calm_since = None
            if was_full:  # not for one moment's sake: a start or a hand-over is no overload
                self._step = self._higher(now)
        elif self._step > 0 and self._would_do(now, self._step - 1, any):
            self._calm_since = at if self._calm_since is None else self._calm_since
            if at - self._calm_since >= self._hold:
                sure = (n for n in range(self._step) if self._would_do(now, n, all))
                self._step, self._calm_since, self._down_at = next(sure, self._step - 1), None, at
        else:
            self._calm_since = None
        if self._step > before and self._down_at is not None:
            again = at - self._down_at < 2 * self._hold
            self._hold = min(2 * self._hold, LONGEST_HOLD_SECONDS) if again else HOLD_SECONDS
            self._down_at = None
        self._full_before = full
        return self._step != before

    def _higher(self, now: Measured) -> int:
        """The first step from here on that the budget allows, as long as it leaves every severity some looks.

        One step where the prediction says that there is time, and there is none; and one by one where none is left.
        """
        last = len(self._steps) - 1
        some = max(n for n, step in enumerate(self._steps) if all(step.values()))
        following = range(self._step + 1, some)
        if self._step >= some or now.cost(self.sampling) <= self._budget:
            return min(self._step + 1, last)
        return next((n for n in following if now.cost(self._steps[n]) <= self._budget), some)

    def _would_do(self, now: Measured, step: int, agree: Callable[[tuple[bool, bool]], bool]) -> bool:
        """Whether a step leaves time to spare, by the prediction and by what the worker really does now."""
        allowed = MARGIN * self._budget
        there, here = now.cost(self._steps[step]), now.cost(self.sampling)
        return agree((there <= allowed, here > 0 and now.busy * there / here <= allowed))


class Sampler:
    """Which looks of a frame are left out.

    Looks that share views are left out together, so that the pass is saved, and each group at another frame, so that
    the load is even. Where a look that is never left out needs the view anyway, each query has a turn of its own.
    """

    def __init__(self) -> None:
        self._turns: dict[tuple[str, float | None], int] = {}
        self._phases: dict[str, dict[str, int]] = {}
        self._looks: dict[str, tuple[Look, ...]] = {}

    def keep(
        self, camera: str, looks: tuple[Look, ...], due: Collection[str], sampling: Mapping[Severity, float]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Of the ids that are due: those that are asked and those that are left out. ``looks``: all of the camera."""
        if not sampling:
            return frozenset(due), frozenset()
        phases = self._of(camera, looks)
        kept: set[str] = set()
        shed: set[str] = set()
        turns: dict[float | None, int] = {}
        for look in looks:
            query = look.query
            if query.id not in due:
                continue
            share = sampling.get(query.severity, 1.0)
            if query.rate not in turns:
                key = (camera, query.rate)
                turns[query.rate] = self._turns[key] = self._turns.get(key, -1) + 1
            turn = turns[query.rate] + phases[query.id]
            (kept if share >= 1.0 or (share > 0.0 and turn % round(1 / share) == 0) else shed).add(query.id)
        return frozenset(kept), frozenset(shed)

    def _of(self, camera: str, looks: tuple[Look, ...]) -> dict[str, int]:
        if self._looks.get(camera) is not looks:
            always = {view for look in looks if look.query.severity is Severity.CRITICAL for view in look.views}
            self._looks[camera] = looks
            self._phases[camera] = {
                look.query.id: zlib.crc32(
                    (look.query.id if set(look.views) <= always else camera + repr(look.views)).encode()
                )
                for look in looks
            }
        return self._phases[camera]
