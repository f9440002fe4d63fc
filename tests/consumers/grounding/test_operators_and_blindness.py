"""On a real broker: what operators do reaches the worker that holds the alarm; cameras that see nothing are told."""

from __future__ import annotations

import time
from datetime import timedelta

import cv2
import numpy as np
from prometheus_client import REGISTRY

from consumers.actions import publish_action
from infra.contracts import ActionKind, OperatorAction, utc_from_ns
from infra.kafka import Publisher
from infra.topics import topic_name
from tests.consumers.grounding.conftest import HEIGHT, SQUARE, WIDTH, Line, picture

BLIND = [{"cameras": "*", "frozen_s": None, "blind_s": 1.5}]
BLACK = bytes(cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1])


def action(kind: ActionKind, **facts: object) -> OperatorAction:
    now = time.time_ns()
    return OperatorAction.model_validate({"id": f"a{now}", "kind": kind, "at": utc_from_ns(now), "by": "mia"} | facts)


def _blind(camera: str) -> float | None:
    """What is told to Prometheus."""
    return REGISTRY.get_sample_value("simvg_worker_camera_blind", {"camera": camera})


def test_acknowledgement_closes_a_latched_alert_behind_garbage(line: Line) -> None:
    """An acknowledgement is found on whatever partition it lies, among bytes that are none, and closes the alert."""
    line.add("red", latch=True)
    line.start()
    camera = line.camera()
    camera.play("rrr..")
    raised, _ = line.wait_for_alerts("raised", "cleared")
    with Publisher(line.kafka, client_id="test") as publisher:
        for number in range(8):
            topic = topic_name(line.kafka.prefix, "operator-actions")
            publisher.send(topic, key=str(number).encode(), value=b"\xff\x00 garbage", headers=[])
    publish_action(line.kafka, action(ActionKind.ACKNOWLEDGE, alert_id=raised.id))

    def closed() -> bool:
        camera.play(".")
        return len(line.alerts()) == 4

    line.until(closed)
    assert [str(alert.state) for alert in line.alerts()] == ["raised", "cleared", "acknowledged", "closed"]
    assert line.alerts()[2].timeline[-1].by == "mia"


def test_what_operators_do_leaves_the_picture_as_it_was(line: Line) -> None:
    """An alert that is shelved and unshelved later goes on showing the frame that raised it."""
    line.add("red")
    line.start()
    camera = line.camera()
    camera.play("rrrr")
    (raised,) = line.wait_for_alerts("raised")
    pictures = line.messages("evidence")
    for number, kind in enumerate((ActionKind.SHELVE, ActionKind.UNSHELVE)):
        publish_action(line.kafka, action(kind, alert_id=raised.id))

        def told(done: int = number + 2) -> bool:
            camera.play("r")
            return len(line.alerts()) == done

        line.until(told)
    assert [alert.timeline[-1].by for alert in line.alerts()] == [None, "mia", "mia"]
    assert {alert.evidence for alert in line.alerts()} == {raised.evidence}
    assert line.messages("evidence") == pictures


def test_shelved_query_goes_on_without_its_action_after_a_restart(line: Line) -> None:
    """What was shelved under one worker is shelved under the next, which reads the actions from the beginning."""
    line.add("red")
    until = utc_from_ns(time.time_ns()) + timedelta(hours=1)
    publish_action(line.kafka, action(ActionKind.SHELVE, query_id="red", until=until))
    first = line.start()
    line.stop(first)
    line.start()
    camera = line.camera()

    def raised() -> bool:
        camera.play("...rrr")
        return any(alert.suppressed == "shelved" for alert in line.alerts())

    line.until(raised)
    shelved = [alert for alert in line.alerts() if alert.suppressed == "shelved"]
    assert {str(alert.action) for alert in shelved} == {"none"}


def test_silent_camera_is_told_once_also_over_a_restart(line: Line) -> None:
    """Silence raises a critical alert without any frame; the next worker does not raise it again, frames clear it."""
    line.add("red")
    first = line.start(camera_limits=BLIND)
    camera = line.camera()
    camera.play("..")
    (raised,) = line.wait_for_alerts("raised")
    assert (raised.query.id, raised.severity, raised.camera) == ("camera-blind", "critical", "line-1")
    assert raised.reason.startswith("no frame for ") and raised.onset.sequence == 1
    line.until(lambda: _blind("line-1") == 1)
    line.stop(first)
    second = line.start(camera_limits=BLIND)
    time.sleep(2.5)
    assert [str(alert.state) for alert in line.alerts()] == ["raised"]

    def cleared() -> bool:
        camera.play(".")
        return len(line.alerts()) > 1

    line.until(cleared)
    assert [(str(a.state), a.id) for a in line.alerts()[1:3]] == [("cleared", raised.id), ("closed", raised.id)]

    def seen() -> bool:
        camera.play(".")  # again and again: else it may be silent for too long once more
        return _blind("line-1") == 0

    line.until(seen)
    line.stop(second)


def test_camera_that_died_before_the_restart_is_told_by_the_next_worker(line: Line) -> None:
    """A worker that takes a camera over knows from the alarm state that there was one, and misses it."""
    line.add("red")
    first = line.start(camera_limits=[{"frozen_s": None, "blind_s": 600}])
    camera = line.camera()
    camera.play("..")
    line.wait_for_frames(first, 2)
    line.stop(first)
    line.start(camera_limits=BLIND)
    (raised,) = line.wait_for_alerts("raised")
    assert raised.query.id == "camera-blind"


def test_alerts_of_a_silent_camera_are_answered_once_over_a_restart(line: Line) -> None:
    """What operators do reaches ordinary alerts while no frame comes; the next worker does not do it again."""
    line.add("red", latch=True)
    line.add("green")
    first = line.start(camera_limits=BLIND)
    camera = line.camera()
    for _ in range(3):
        camera.send(image=picture(("red", SQUARE), ("green", (90, 60, 120, 90))))
    for _ in range(2):
        camera.send(image=picture(("green", (90, 60, 120, 90))))

    def told(query: str) -> list[str]:
        mine = [alert for alert in line.alerts() if alert.query.id == query]
        return [f"{alert.state} {alert.timeline[-1].note or ''}".strip() for alert in mine]

    line.until(lambda: len(told("camera-blind")) == 1)
    by_query = {alert.query.id: alert for alert in line.alerts()}
    publish_action(line.kafka, action(ActionKind.ACKNOWLEDGE, alert_id=by_query["red"].id))
    line.until(lambda: told("red") == ["raised", "cleared", "acknowledged", "closed"])
    publish_action(line.kafka, action(ActionKind.COMMENT, alert_id=by_query["green"].id, comment="seen"))
    line.until(lambda: told("green") == ["raised", "raised comment: seen"])
    line.stop(first)
    second = line.start(camera_limits=BLIND)
    publish_action(line.kafka, action(ActionKind.COMMENT, alert_id=by_query["green"].id, comment="left"))
    line.until(lambda: "raised comment: left" in told("green"))
    assert told("green") == ["raised", "raised comment: seen", "raised comment: left"]
    assert told("red") == ["raised", "cleared", "acknowledged", "closed"]
    line.stop(second)


def test_black_frames_raise_nothing_but_the_blind_camera(line: Line) -> None:
    """Black frames are unknown: they neither raise nor clear a query, and are told as a blind camera."""
    line.add("red")
    line.start(camera_limits=[{"frozen_s": None, "blind_s": 60}])
    camera = line.camera()
    camera.play("rrr")
    line.wait_for_alerts("raised")
    now = time.time_ns()
    for number in range(4):
        camera.send(image=BLACK, captured_ns=now + number * 30 * 1_000_000_000)
    line.wait_for_alerts("raised", "raised")
    by_query = {alert.query.id: alert for alert in line.alerts()}
    assert set(by_query) == {"red", "camera-blind"}
    assert by_query["camera-blind"].reason == "camera sees nothing: frame is black"
    assert by_query["camera-blind"].onset.sequence == 3
