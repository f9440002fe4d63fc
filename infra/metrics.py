"""Prometheus metrics: declared once, named alike, listed for the documentation.

Names are ``simvg_<what>_<unit>``: ``_total`` for counters, ``_seconds``, ``_bytes``, or a bare noun for what is now.
Labels are ``camera``, ``stage``, ``reason`` and few others; never an unbounded value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram, Metric

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_NAME = re.compile(r"simvg_[a-z0-9]+(_[a-z0-9]+)*")
MetricT = TypeVar("MetricT", Counter, Gauge, Histogram)


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """One metric, for the documentation."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]


METRICS: dict[str, MetricInfo] = {}
"""Every metric declared by the modules imported so far, by name."""


def counter(name: str, help: str, labels: Sequence[str] = (), begin: Iterable[str] = ()) -> Counter:
    """A count that only grows; ``name`` ends in ``_total``.

    ``begin``: values of the one label whose counts begin at 0, so that the first that happens is seen as one more.
    """
    found = _declare(name, "counter", help, labels, Counter(name, help, labels), "_total")
    for value in begin:
        found.labels(value)
    return found


def gauge(name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
    """A value that goes up and down."""
    return _declare(name, "gauge", help, labels, Gauge(name, help, labels), "")


class _OnceSet(Gauge):
    """A gauge without labels that gives nothing until it is set for the first time."""

    _is_set = False

    def set(self, value: float) -> None:
        super().set(value)
        self._is_set = True

    def collect(self) -> Iterable[Metric]:
        return super().collect() if self._is_set else []


def gauge_once_set(name: str, help: str) -> Gauge:
    """A value that goes up and down, of which a process says nothing until it knows one.

    For what several roles import and one of them does: of the others a 0 would be read as a fault of theirs.
    """
    return _declare(name, "gauge", help, (), _OnceSet(name, help), "")


def histogram(
    name: str, help: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS
) -> Histogram:
    """A distribution, of seconds unless ``buckets`` say otherwise; ``name`` ends in its unit."""
    return _declare(name, "histogram", help, labels, Histogram(name, help, labels, buckets=buckets), "")


def _declare(name: str, kind: str, help: str, labels: Sequence[str], metric: MetricT, ending: str) -> MetricT:
    assert _NAME.fullmatch(name) and name.endswith(ending), f"metric name {name!r}"
    METRICS[name] = MetricInfo(name=name, kind=kind, help=help, labels=tuple(labels))
    return metric
