"""Three times more work than there is time for, on a real broker."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from prometheus_client import REGISTRY

from benchmarks.overload import MAX_TIMES
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from infra.contracts import Severity
from infra.reports import Load
from tests.consumers.grounding.colour import ColourEngine
from tests.consumers.grounding.conftest import Line, going_on

FPS = 5
VIEW_SECONDS = 0.009
"""With 33 views of one camera and 32 of another at 5 frames/s: 2.9 seconds of work per second."""

ON_DELAY = 3
BATCH = 2
WAIT = math.ceil(BATCH * 33 * VIEW_SECONDS * FPS)
"""Frames that come while a batch in which nothing is left out is with the model: so long a frame may have to wait."""


class SlowEngine(ColourEngine):
    """Takes its time for every view."""

    def ground(self, views: Sequence[Pixels], texts: Sequence[Mapping[str, float]]) -> list[dict[str, Finding]]:
        time.sleep(VIEW_SECONDS * len(views))
        return super().ground(views, texts)


def load_of(line: Line) -> Load | None:
    report = line.registry.reports().get("w0")
    return None if report is None else report.load


def shed(camera: str, query: str) -> float:
    labels = {"camera": camera, "query": query, "reason": "overload"}
    return REGISTRY.get_sample_value("simvg_worker_looks_shed_total", labels) or 0.0


def test_critical_queries_keep_their_looks_and_the_loss_is_reported(line: Line) -> None:
    """At three times the load low queries are sampled and counted, the critical one alerts as if there were no load."""
    line.add("red", id="stop", severity="critical", cameras=("line-1",))
    line.add("green", id="look", severity="low", tiles=(8, 4))
    colours: list[str] = []

    def told_of(camera: str) -> set[str]:
        return {run.reason for found in line.detections() if found.camera == camera for run in found.skipped}

    cameras = [line.camera("line-1"), line.camera("line-2")]
    worker = line.start(SlowEngine(), freshness="latest", batch_size=BATCH, report_ttl_s=1.5)

    def publish() -> None:
        for camera in cameras:
            camera.send(*colours)

    with going_on(publish, 1 / FPS):
        line.until(lambda: (load := load_of(line)) and load.sampling and load.cost > 2 * load.budget, 60)
        begun = time.time()
        colours.append("red")
        line.until(line.alerts, 60)
        load = load_of(line)
        line.until(lambda: "overload" in told_of("line-2"), 60)
    line.until(lambda: worker.totals.in_flight == 0)
    assert load is not None and set(load.sampling) == {Severity.LOW}
    assert load.cameras.keys() == {"line-1", "line-2"}
    (raised,) = line.alerts()
    assert raised.query.id == "stop" and str(raised.state) == "raised"
    assert raised.frame.sequence - raised.onset.sequence <= MAX_TIMES * (ON_DELAY - 1) + WAIT
    asked = Counter[str]()
    for found in line.detections():
        if found.frame.captured_at.timestamp() > begun and found.camera == "line-1":
            asked.update(result.query_id for result in found.results)
    assert asked["stop"] > 2 * asked["look"]
    assert shed("line-1", "look") > 0 and shed("line-2", "look") > 0
    assert shed("line-1", "stop") == 0
    totals = worker.totals
    assert totals.skipped["overload"] > 0
    assert totals.balanced and totals.fetched == sum(camera.sequence for camera in cameras)
