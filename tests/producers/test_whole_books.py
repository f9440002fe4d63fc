"""From the camera's source to the worker's verdict no frame is missing from the books, whatever became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from prometheus_client import REGISTRY

from infra.settings import KafkaSettings, RedisSettings
from producers.camera import Camera
from producers.ledger import Counts
from producers.settings import CameraSettings
from tests.consumers.grounding.colour import ColourEngine
from tests.consumers.grounding.conftest import Line

Clip = Callable[..., Path]
Until = Callable[..., None]


@pytest.fixture
def line(kafka: KafkaSettings, redis_settings: RedisSettings, tmp_path: Path, until: Until) -> Iterator[Line]:
    plant = Line(kafka, redis_settings, tmp_path, until)
    yield plant
    plant.close()


def played(cameras: list[Camera], enough: Callable[[], bool], until: Until) -> list[Counts]:
    """What the books of the cameras say after they ran side by side for so long."""
    stop, found = Event(), []
    threads = [Thread(target=lambda one=one: found.append((one, one.run(stop))), daemon=True) for one in cameras]
    for thread in threads:
        thread.start()
    try:
        until(enough, 120)
    finally:
        stop.set()
    for thread in threads:
        thread.join(30)
    return [next(counts for one, counts in found if one is camera) for camera in cameras]


@pytest.mark.parametrize(("freshness", "late"), [("latest", "behind"), ("every", "expired")])
def test_captured_is_dropped_skipped_rejected_or_scored(
    line: Line, clip: Clip, until: Until, freshness: str, late: str
) -> None:
    """Cameras faster than they may be and a worker slower than they are: every sum matches, camera by camera."""
    fast, rated, unwatched = (f"{name}-{line.kafka.prefix}" for name in ("fast", "rated", "unwatched"))
    line.add("red", cameras=(fast, rated))
    line.add("blue", cameras=(rated,), rate=2.0)
    worker = line.start(ColourEngine(seconds_per_batch=0.15), freshness=freshness, batch_size=1, time_budget=None)
    facts = {"source": str(clip(20, rate=30)), "kafka": line.kafka, "loop": True, "expiry_seconds": 3.0}
    wanted = {fast: None, rated: 10, unwatched: 5}
    cameras = [Camera(CameraSettings.model_validate({"id": name, "fps": fps, **facts})) for name, fps in wanted.items()]

    def enough() -> bool:
        return worker.totals.skipped.get(late, 0) > 20 and all(fate(name, "scored") > 5 for name in (fast, rated))

    counts = played(cameras, enough, until)
    line.wait_for_frames(worker, sum(told.published for told in counts))
    line.stop(worker)
    scored = Counter(found.camera for found in line.detections())
    for name, told in zip(wanted, counts, strict=True):
        assert told.captured == told.published + sum(told.dropped.values())
        assert told.published == fate(name, "fetched") == fate(name, "scored") + fate(name, "skipped")
        assert scored[name] == fate(name, "scored")
    assert counts[1].dropped["rate"]
    assert fate(unwatched, "skipped") == counts[2].published >= worker.totals.skipped["no_query"] > 0


def fate(camera: str, name: str) -> float:
    """What the worker's metrics tell of the camera's frames, all reasons together."""
    samples = (sample for family in REGISTRY.collect() for sample in family.samples)
    wanted = f"simvg_worker_frames_{name}_total"
    return sum(one.value for one in samples if one.name == wanted and one.labels["camera"] == camera)
