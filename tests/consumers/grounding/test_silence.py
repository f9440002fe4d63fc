"""On a broker of the test's own: a camera is not blamed for what it could not be heard to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.broker import LocalBroker
from infra.settings import RedisSettings
from infra.topics import create_topics
from tests.consumers.grounding.conftest import Line, going_on

LIMIT_S, AWAY_S = 4.0, 8.0


@pytest.fixture
def own_line(
    broker: LocalBroker, redis_settings: RedisSettings, tmp_path: Path, until: Callable[..., None]
) -> Iterator[Line]:
    kafka = broker.settings.model_copy(update={"prefix": "s"})
    create_topics(kafka)
    plant = Line(kafka, redis_settings, tmp_path, until)
    yield plant
    plant.close()


@pytest.mark.parametrize("away", ["killed", "standing still"])
@pytest.mark.timeout(600)
def test_camera_is_not_blind_while_the_broker_is_away(own_line: Line, broker: LocalBroker, away: str) -> None:
    """Nothing comes of any camera then; one that goes on when the broker does was never silent. Its own silence after
    that is told as ever."""
    own_line.add("red")
    worker = own_line.start(camera_limits=[{"frozen_s": None, "blind_s": LIMIT_S}])
    camera = own_line.camera()
    camera.play("...")
    own_line.wait_for_frames(worker, 3)
    process = psutil.Process(broker.process.pid)
    if away == "killed":
        broker.stop(kill=True)
        time.sleep(AWAY_S)
        broker.start()
    else:
        process.suspend()
        time.sleep(AWAY_S)
        process.resume()
    known = len(own_line.detections())
    with going_on(lambda: camera.play("."), 0.2):
        # Results are written in order: what was raised meanwhile has come before these.
        own_line.until(lambda: len(own_line.detections()) >= known + 5, 120)
        assert own_line.alerts() == []
    (raised,) = own_line.wait_for_alerts("raised")
    assert raised.query.id == "camera-blind"
    assert raised.reason.endswith(f"(limit {LIMIT_S:g} s)")
