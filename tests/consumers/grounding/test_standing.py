"""How many alerts wait for somebody, as Prometheus is told, on a real broker with a real worker."""

from __future__ import annotations

import time
from datetime import timedelta

from prometheus_client import REGISTRY

from consumers.actions import publish_action
from infra.contracts import ActionKind, utc_from_ns
from tests.consumers.grounding.conftest import Line, picture
from tests.consumers.grounding.test_operators_and_blindness import BLACK, action


def _told(camera: str) -> list[float | None]:
    names = ("open", "unacknowledged", "shelved")
    return [REGISTRY.get_sample_value(f"simvg_worker_alerts_{name}", {"camera": camera}) for name in names]


def _unknown(camera: str, reason: str) -> float | None:
    labels = {"camera": camera, "reason": reason}
    return REGISTRY.get_sample_value("simvg_worker_frames_unknown_total", labels)


def test_alerts_are_told_until_they_are_closed(line: Line) -> None:
    """Open, acknowledged, shelved and over; those of a query in shadow mode concern nobody."""
    line.add("red", latch=True)
    line.add("green", latch=True)
    line.add("blue", mode="shadow")
    worker = line.start()
    camera = line.camera("stands")

    def by(*counts: float, colours: tuple[str, ...] = ()) -> None:
        def told() -> bool:
            if not worker.totals.in_flight:  # else frames would come faster than they are judged
                camera.send(*colours)
            return _told("stands") == list(counts)

        line.until(told)

    three = picture(("red", (0, 0, 40, 40)), ("green", (60, 0, 100, 40)), ("blue", (120, 0, 160, 40)))
    for _ in range(3):
        camera.send(image=three)
    line.until(lambda: _told("stands") == [2, 2, 0])
    line.until(lambda: len(line.alerts()) == 2)
    green, red = sorted(line.alerts(), key=lambda alert: alert.query.id)
    by(2, 2, 0)  # cleared, and latched
    until = utc_from_ns(time.time_ns()) + timedelta(hours=1)
    publish_action(line.kafka, action(ActionKind.SHELVE, alert_id=green.id, until=until))
    by(2, 2, 1)
    publish_action(line.kafka, action(ActionKind.ACKNOWLEDGE, alert_id=red.id))
    by(1, 1, 1)
    publish_action(line.kafka, action(ActionKind.ACKNOWLEDGE, alert_id=green.id))
    by(0, 0, 0)
    for _ in range(3):
        camera.send("red")
    line.until(lambda: _told("stands") == [1, 1, 0])
    known = {red.id, green.id}
    line.until(lambda: any(alert.id not in known for alert in line.alerts()))
    again = next(alert.id for alert in line.alerts() if alert.id not in known)
    publish_action(line.kafka, action(ActionKind.ACKNOWLEDGE, alert_id=again))
    by(1, 0, 0, colours=("red",))
    line.stop(worker)


def test_frames_that_cannot_be_judged_are_counted_by_why(line: Line) -> None:
    """Per camera, from 0."""
    line.add("red")
    worker = line.start()
    camera = line.camera("dark")
    camera.send()
    line.until(lambda: _unknown("dark", "black") == 0.0)
    camera.send(image=BLACK)
    camera.send(image=BLACK)
    line.wait_for_frames(worker, 3)
    assert [_unknown("dark", reason) for reason in ("black", "frozen", "other")] == [2.0, 0.0, 0.0]
