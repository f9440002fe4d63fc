"""The books of a camera."""

from __future__ import annotations

from threading import Event, Thread

import pytest
from prometheus_client import REGISTRY

from producers import metrics
from producers.ledger import Ledger


@pytest.mark.parametrize("what", ["captured", "published", "published_bytes"])
def test_counts_begin_at_none(what: str) -> None:
    """A camera that has published nothing is seen as one that publishes nothing, not as one that is not there."""
    camera = f"unseen-{what}"
    Ledger(camera)
    assert REGISTRY.get_sample_value(f"simvg_frames_{what}_total", {"camera": camera}) == 0


def test_gauge_follows_the_last_booking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that book at once leave what waits in the metrics as it is in the books."""
    shown: list[int] = []
    slow, others = Event(), []

    class Gauge:
        def labels(self, camera: str) -> Gauge:
            return self

        def set(self, value: int) -> None:
            if not slow.is_set():
                slow.set()
                others.append(Thread(target=ledger.published, args=(10,)))
                others[0].start()
                others[0].join(0.5)  # it overtakes this one, or waits for it
            shown.append(value)

    ledger = Ledger("overtaken")
    monkeypatch.setattr(metrics, "QUEUED", Gauge())
    ledger.captured()
    others[0].join(10)
    assert shown[-1] == ledger.counts().under_way == 0
