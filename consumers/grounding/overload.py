"""A worker's watch over itself: what its queries cost, what it has time for, and which looks are left out meanwhile.

Only cameras under freshness `latest` are sampled; of one under `every` no look is left out: there a worker without time
falls behind, and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consumers.grounding.budget import PriceBook, Rates, calibrate
from consumers.grounding.findings import Engine
from consumers.grounding.frames import Frame
from consumers.grounding.ledger import Ledger
from consumers.grounding.plan import Plan
from consumers.grounding.settings import Freshness
from consumers.grounding.shedding import ALL, FULL, Measured, Sampler, Shedder
from infra.contracts import Severity
from infra.cost import Demand, Prices, cost, demand_of
from infra.metrics import counter, gauge
from infra.reports import Load

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0

_VIEW = gauge("simvg_worker_view_cost_seconds", "time of one view's pass through the model, as measured")
_FRAME = gauge("simvg_worker_frame_cost_seconds", "time of one frame besides its views and texts, as measured")
_QUERY = gauge("simvg_worker_query_cost_seconds", "time of one more text asked of one view, as measured")
_COST = gauge(
    "simvg_worker_cost", "share of its time that this worker's queries cost when asked as often as they should"
)
_BUDGET = gauge("simvg_worker_budget", "share of its time that they may cost")
_BUSY = gauge("simvg_worker_busy", "share of its time that this worker really worked")
_SAMPLING = gauge("simvg_worker_sampling", "share of their looks that queries of a severity get now", ("severity",))
_SHED = counter(
    "simvg_worker_looks_shed_total", "looks that were due and left out, and why", ("camera", "query", "reason")
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A plan and what it asks of each camera, found out camera by camera."""

    plan: Plan
    demands: dict[str, Demand]

    def demand(self, camera: str) -> Demand:
        if camera not in self.demands:
            self.demands[camera] = demand_of(look.query for look in self.plan.looks(camera))
        return self.demands[camera]


class Overload:
    """Thread-safe as far as its parts are used: `keep` by the feeder, `step` by one thread; the rest by anyone."""

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        *,
        budget: float | None,
        batch: int,
        rate: float | None,
        freshness_of: Callable[[str], Freshness],
        stalled: Callable[[], bool],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``budget``: share of its time; None: nothing is measured and no look left out. ``rate``: frames per second
        and camera that are scored at most. ``stalled``: whether the worker waits for Kafka to take results."""
        self._engine, self._ledger = engine, ledger
        self._budget, self._batch, self._rate = budget, batch, rate
        self._freshness_of, self._stalled, self._clock_ns = freshness_of, stalled, clock_ns
        self._book, self._rates, self._sampler = PriceBook(), Rates(), Sampler()
        self._shedder = Shedder(budget or 1.0)
        self._sampling: Mapping[Severity, float] = ALL
        self._asked = _Asked(Plan(0, {}), {})
        self._critical: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._shed: Counter[tuple[str, str]] = Counter()
        self._labels: set[tuple[str, str]] = set()
        self._since = Counter[str]()
        self._ended_ns = self._looked_ns = 0
        self._open: list[int] = []  # of the batches that the model looks at: since when the first frame was here
        self._worked_ns = 0
        self._frames: Mapping[str, tuple[int, int]] = {}
        self._busy = 0.0
        self._told = 0

    @property
    def sampling(self) -> Mapping[Severity, float]:
        """Share of their looks that the severities get which are sampled now."""
        return self._sampling

    def calibrate(self) -> None:
        """Measures what a view and a query cost; while it does, nobody else may use the engine."""
        if self._budget is None:
            return
        found = calibrate(self._engine, self._batch)
        self._book.begin(found)
        if found is not None:
            logger.info("cost of a view and of a query measured", extra=_prices(found))

    def adopt(self, plan: Plan) -> None:
        """The queries that are asked from now on."""
        self._asked, self._critical = _Asked(plan, {}), {}

    def forget(self) -> None:
        """Cameras come and go; the rates of those that stay are measured anew."""
        self._rates.forget()

    def seen(self, frame: Frame) -> None:
        """A frame was fetched."""
        if self._budget is not None:
            self._rates.seen(frame.camera, frame.header.captured_ns, frame.fetched_ns)

    def first(self, camera: str) -> bool:
        """Whether a critical query watches the camera: its frames go first when several cameras wait."""
        critical, plan = self._critical, self._asked.plan
        if camera not in critical:
            critical[camera] = any(look.query.severity is Severity.CRITICAL for look in plan.looks(camera))
        return critical[camera]

    def keep(self, frame: Frame, plan: Plan, due: frozenset[str]) -> frozenset[str]:
        """Of the queries that are due for a frame, those that are asked."""
        sampling = self._sampling
        if not sampling or not due or self._freshness_of(frame.camera) == "every":
            return due
        kept, shed = self._sampler.keep(frame.camera, plan.looks(frame.camera), due, sampling)
        with self._lock:
            self._shed.update((frame.camera, query) for query in shed)
        return kept

    def begin(self, fetched_ns: int) -> None:
        """A batch goes to the model; ``fetched_ns``: since when the first of its frames was here."""
        with self._lock:
            self._open.append(fetched_ns)

    def end(self, fetched_ns: int, frames: int, views: int, pairs: int, gate: tuple[int, int] = (0, 0)) -> None:
        """The model has answered what it was asked of so many frames of the batch that began with ``fetched_ns``.

        ``gate``: texts that it let pass, and that it looked at.
        """
        with self._lock:
            # Of batches that overlap each counts from the end of the one before: together they took no longer.
            now, opened = self._clock_ns(), max(self._ended_ns, fetched_ns)
            saturated = opened == self._ended_ns
            self._worked_ns += max(0, now - max(opened, self._looked_ns))
            self._open.remove(fetched_ns)
            self._ended_ns = now
            if not self._stalled():
                self._book.learn(frames, views, pairs, max(now - opened, 1) / 1e9, saturated=saturated)
                self._book.gated(*gate)

    def watch(self, running: threading.Event, moved: Callable[[], object]) -> None:
        """Looks and decides again and again while ``running``; ``moved`` is called in every turn."""
        while running.is_set():
            moved()
            time.sleep(WATCH_SECONDS)
            self.step()

    def step(self) -> None:
        """Looks at the time since the last call and decides which looks are left out from now on."""
        now, asked = self._clock_ns(), self._asked
        with self._lock:
            since = max(min(self._open, default=now), self._ended_ns, self._looked_ns)
            working = max(0, now - since)
            span, worked = now - self._looked_ns, self._worked_ns + working
            first, self._looked_ns, self._worked_ns = self._looked_ns == 0, now, 0
        lost = self._lost()
        self._count(asked.plan)
        prices = self._book.prices
        if self._budget is None or prices is None or first:
            return
        self._busy = min(1.0, worked / max(span, 1))
        self._shedder.asked(frozenset(query.severity for query in asked.plan.active))
        moment = Measured(cost=lambda sampling: self._cost(asked, sampling), busy=self._busy, lost=lost)
        changed = not self._stalled() and self._shedder.decide(moment, now / 1e9)
        self._sampling = self._shedder.sampling
        if changed:
            self._tell(asked)
        self._show(asked)

    def load(self) -> Load | None:
        """What a report says, None before anything is measured."""
        prices = self._book.prices
        if self._budget is None or prices is None:
            return None
        return Load(
            prices=prices,
            budget=self._budget,
            cameras=self._rates.rates(self._clock_ns()),
            rate=self._rate,
            cost=self._cost(self._asked, ALL),
            busy=self._busy,
            sampling=dict(self._sampling),
        )

    def _cost(self, asked: _Asked, sampling: Mapping[Severity, float]) -> float:
        prices, total = self._book.prices, 0.0
        assert prices is not None, "callers look first"
        for camera, fps in self._rates.rates(self._clock_ns()).items():
            left = ALL if self._freshness_of(camera) == "every" else sampling
            total += cost(asked.demand(camera), fps if self._rate is None else min(fps, self._rate), prices, left)
        return total

    def _lost(self) -> float:
        """Of the frames fetched since the last call where that may be, the share that gave way to newer ones."""
        found = self._ledger.by_camera("behind")
        before, self._frames = self._frames, {c: n for c, n in found.items() if self._freshness_of(c) == "latest"}
        come = sum(count - before.get(camera, (0, 0))[0] for camera, (count, _) in self._frames.items())
        lost = sum(count - before.get(camera, (0, 0))[1] for camera, (_, count) in self._frames.items())
        return lost / come if come else 0.0

    def _count(self, plan: Plan) -> None:
        """Hands the counts over to the metrics, and takes queries out of these that are gone."""
        with self._lock:
            shed, self._shed = self._shed, Counter()
        for (camera, query), count in shed.items():
            _SHED.labels(camera, query, "overload").inc(count)
            self._labels.add((camera, query))
            known = plan.queries.get(query)
            self._since[known.severity if known else "gone"] += count
        for camera, query in [pair for pair in self._labels if pair[1] not in plan.queries]:
            _SHED.remove(camera, query, "overload")
            self._labels.discard((camera, query))

    def _tell(self, asked: _Asked) -> None:
        """Says once that the sampling changed, and what it cost until then."""
        sampling = self._sampling
        facts = {
            "cost": round(self._cost(asked, ALL), 3),
            "cost_left": round(self._cost(asked, sampling), 3),
            "budget": self._budget,
            "busy": round(self._busy, 2),
            **_prices(self._book.prices),
            "looks_left_out": dict(self._since),
        }
        self._since.clear()
        if sampling:
            shares = ", ".join(f"{severity} {share:.3g}" for severity, share in sampling.items())
            logger.warning("overload: only this share of looks is taken, by severity: %s", shares, extra=facts)
        else:
            logger.warning("overload is over: every look is taken again", extra=facts)

    def _show(self, asked: _Asked) -> None:
        prices, total = self._book.prices, self._cost(asked, ALL)
        assert prices is not None and self._budget is not None, "callers look first"
        _VIEW.set(prices.pass_s)
        _QUERY.set(prices.pair_s)
        _FRAME.set(prices.frame_s)
        _COST.set(total)
        _BUDGET.set(self._budget)
        _BUSY.set(self._busy)
        for severity in Severity:
            _SAMPLING.labels(severity).set(self._sampling.get(severity, 1.0))
        revision = asked.plan.revision
        if total > self._budget and self._busy >= FULL and self._told != revision:
            self._told = revision
            facts = {"revision": revision, "cost": round(total, 3), "budget": self._budget}
            logger.warning("queries cost more than this worker has time for", extra=facts)


def _prices(prices: Prices | None) -> dict[str, float]:
    """In milliseconds, for the log."""
    if prices is None:
        return {}
    found = {"frame_ms": prices.frame_s, "view_ms": prices.pass_s, "query_ms": prices.pair_s}
    return {name: round(seconds * 1e3, 4) for name, seconds in found.items()}
