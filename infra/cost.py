"""What a set of standing queries costs a worker: the share of its time that it takes. Pure.

    cost = Σ over cameras of  frames/s x (seconds of a frame + views x seconds of a pass + (text, view) pairs x seconds
           of a pair)

Of a view that is asked so many texts that the model's gate looks first, only those that pass are pairs.
A view that several queries share is passed once, a text that several of them ask of one view is asked once. Queries of
one rate look at the same frames; of several rates the sum counts, for their frames may differ: never too little.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import Field

from infra.contracts import Contract, Severity, StandingQuery
from infra.regions import views_of
from infra.values import Box

RANK = {Severity.LOW: 0, Severity.MEDIUM: 1, Severity.HIGH: 2, Severity.CRITICAL: 3}
"""The more, the later a query is looked at less often."""

Ask = tuple[Severity, float | None]
"""Severity and own rate (frames per second; None: every frame) of a query."""


class Prices(Contract):
    """What a worker's time is spent on, measured by it."""

    pass_s: float = Field(gt=0, description="seconds of one view's pass through the model, within a full batch")
    pair_s: float = Field(ge=0, description="seconds of one more text asked of one view")
    frame_s: float = Field(default=0.0, ge=0, description="seconds of a frame besides: decoding, alarms, messages")

    gate_texts: int | None = Field(default=None, ge=1, description="texts of a view from which on a gate looks first")
    gate_share: float = Field(default=1.0, ge=0, le=1, description="share of them that it lets pass, as seen of late")

    def pairs(self, texts: float, looks: float) -> float:
        """Pairs that a view makes of so many looks of texts, when it is asked so many texts."""
        return looks if self.gate_texts is None or texts < self.gate_texts else looks * self.gate_share

    def seconds(self, frames: int, views: int, pairs: int) -> float:
        """Seconds that so many frames, with so many views and pairs in all, take."""
        return frames * self.frame_s + views * self.pass_s + pairs * self.pair_s


@dataclass(frozen=True, slots=True)
class View:
    """One view of a camera: how many texts are asked of it, by who asks them."""

    texts: Mapping[frozenset[Ask], int]


@dataclass(frozen=True, slots=True)
class Demand:
    """What every frame of one camera is asked, made small: 5,000 queries are a few views and kinds of asking."""

    views: tuple[View, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Views and (text, view) pairs of a frame of which everything is asked."""
        return len(self.views), sum(sum(view.texts.values()) for view in self.views)


def demand_of(queries: Iterable[StandingQuery]) -> Demand:
    """The demand of the queries that watch one camera."""
    asked: dict[Box, dict[str, set[Ask]]] = defaultdict(lambda: defaultdict(set))
    for query in queries:
        for view in views_of(query):
            asked[view][query.text].add((query.severity, query.rate))
    return Demand(tuple(View(Counter(frozenset(asks) for asks in texts.values())) for texts in asked.values()))


def cost(demand: Demand, fps: float, prices: Prices, sampling: Mapping[Severity, float] | None = None) -> float:
    """Seconds of work per second that one camera makes, 1.0 being all of a worker.

    ``fps``: frames per second that the camera sends. ``sampling``: share of their looks that queries of a severity get;
    one that is not named gets all.
    """
    shares = sampling or {}

    def looks(asks: Iterable[Ask]) -> float:
        by_rate: dict[float | None, float] = {}
        for severity, rate in asks:
            by_rate[rate] = max(by_rate.get(rate, 0.0), shares.get(severity, 1.0))
        return min(fps, sum(share * min(fps, fps if rate is None else rate) for rate, share in by_rate.items()))

    total = prices.frame_s * looks(ask for view in demand.views for asks in view.texts for ask in asks)
    for view in demand.views:
        passes = looks(ask for asks in view.texts for ask in asks)
        asked = sum(looks(asks) * count for asks, count in view.texts.items())
        total += passes * prices.pass_s + prices.pairs(sum(view.texts.values()), asked) * prices.pair_s
    return total
