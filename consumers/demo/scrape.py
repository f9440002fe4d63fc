"""Reading another role's metrics page, as Prometheus would."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """One scrape. Empty where the role did not answer: it may be starting."""

    samples: tuple[Sample, ...] = ()

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples of one name that carry the given labels."""
        return sum(self._chosen(name, labels).values())

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Sums per value of ``label``."""
        return self._chosen(name, labels, label)

    def _chosen(self, name: str, labels: Mapping[str, str], by: str | None = None) -> dict[str, float]:
        sums: dict[str, float] = {}
        for sample in self.samples:
            if sample.name == name and all(sample.labels.get(k) == v for k, v in labels.items()):
                key = sample.labels.get(by, "") if by else ""
                sums[key] = sums.get(key, 0.0) + sample.value
        return sums


def scrape(port: int) -> Metrics:
    """The metrics of a role on this machine; none when it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as page:
            text = page.read().decode()
    except (urllib.error.URLError, OSError):
        return Metrics()
    return Metrics(
        tuple(
            Sample(s.name, s.labels, s.value) for family in text_string_to_metric_families(text) for s in family.samples
        )
    )


def healthy(port: int) -> bool:
    """Whether the role says that it works."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=TIMEOUT_S) as page:
            return bool(page.status == 200)
    except (urllib.error.URLError, OSError):
        return False
