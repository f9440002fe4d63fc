"""A power cut of the broker that leaves a worker's last transaction open where its results, states and offsets lie."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import transactions
from infra.broker import LocalBroker
from infra.settings import KafkaSettings, RedisSettings
from infra.topics import create_topics
from tests.consumers.grounding.conftest import Line
from tests.markers import cut_marker, with_markers


@pytest.mark.timeout(600)
@pytest.mark.parametrize("runs_on", [False, True], ids=["started-again", "runs-on"])
def test_no_alert_hangs(
    runs_on: bool,
    broker: LocalBroker,
    redis_settings: RedisSettings,
    tmp_path: Path,
    until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker lets readers see the alert, whether it ran on or is started again; who takes over goes on with it."""
    kafka = KafkaSettings(bootstrap=broker.settings.bootstrap, prefix="h", partitions=2)
    create_topics(kafka)
    line = Line(kafka, redis_settings, tmp_path, until)
    try:
        line.add("red")
        worker, camera = line.start(worker_id="w"), line.camera()
        camera.play("..rrr")
        line.wait_for_alerts("raised")
        line.wait_for_frames(worker, 5)
        until(lambda: len(line.detections()) == 5)
        time.sleep(1.0)  # until Kafka has put down that the last transaction is over
        broker.stop(kill=True)
        if not runs_on:
            line.stop(worker)
        data = tmp_path / "broker" / "kafka"
        topics = [f"h.{name}" for name in ("alerts", "alarm-state", "detections", "evidence")]
        for partition in with_markers(data, *topics, "__consumer_offsets"):
            cut_marker(data, partition)
        broker.start()
        assert line.alerts() == []
        if runs_on:
            monkeypatch.setattr(transactions, "LOOK_SECONDS", 0.5)
            monkeypatch.setattr(transactions, "STANDING_SECONDS", 1.0)
            line.wait_for_alerts("raised")
            line.stop(worker)
        line.start(worker_id="other" if runs_on else "w")
        camera.play("rr....")
        line.wait_for_alerts("raised", "cleared", "closed")
        until(lambda: {found.frame.sequence for found in line.detections()} == set(range(11)))
        assert len(line.detections()) == 11
    finally:
        line.close()
