"""From the findings of a frame to alarms, and from alarms to what leaves the worker.

Order of delivery: evidence, then the alerts that refer to it, then the alarm states that say these alerts exist. Each
is confirmed by the broker before the next is sent, so a worker killed at any point leaves at worst an alert that will
be sent again with the same id, never a state that hides an alert nobody got. Frames without a transition wait for
nothing. A transaction around :meth:`Judge.frame` and the frame's offset would make it exactly-once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from consumers.grounding.alarm import AlarmState, Sighting, Step, close, step
from consumers.grounding.book import AlarmBook
from consumers.grounding.evidence import crop_jpeg, frame_jpeg
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Picture
from consumers.grounding.outbox import Outbox, Outgoing
from consumers.grounding.plan import Look, Plan
from infra.contracts import Alert, AlertState, Detections, QueryResult
from infra.metrics import counter, histogram
from infra.topics import MAX_MESSAGE_BYTES

logger = logging.getLogger(__name__)

LATE_SECONDS = 5.0
"""An alert decided longer than this after its frame was captured says so in its reason."""

_ALERTS = counter("simvg_worker_alerts_total", "transitions of alerts, confirmed", ("camera", "state", "mode"))
_LATENCY = histogram(
    "simvg_worker_alert_latency_seconds", "from the capture of the raising frame to its confirmed alert", ("camera",)
)


class Judge:
    """Runs the alarms of one worker. Used by one thread."""

    def __init__(
        self,
        book: AlarmBook,
        outbox: Outbox,
        *,
        model: str,
        quality: int,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._book = book
        self._outbox = outbox
        self._model = model
        self._quality = quality
        self._clock_ns = clock_ns

    def frame(
        self,
        picture: Picture,
        looks: tuple[Look, ...],
        findings: Mapping[str, Finding],
        *,
        revision: int,
        stage_ms: dict[str, float],
        done: Callable[[], None],
    ) -> None:
        """Takes in one scored frame; ``done`` runs once everything that came of it is confirmed. Raises Abandoned."""
        header, place = picture.frame.header, picture.frame.place
        results, changed = [], []
        for look in looks:
            found = findings[look.query.id]
            score = None if found.score is None else round(min(max(found.score, 0.0), 1.0), 4)
            results.append(
                QueryResult(
                    query_id=look.query.id,
                    revision=look.query.revision,
                    state=found.state,
                    score=score,
                    boxes=found.boxes,
                    reason=found.reason,
                )
            )
            seen = Sighting(place, header.epoch, header.captured_ns, found.state, score, found.boxes)
            state = self._book.state(header.camera, look.query.id)
            taken = step(look.query, state, seen, camera=header.camera)
            taken = self._publish(taken, picture)
            self._book.keep(taken.state)
            if taken.changed:
                changed.append(taken.state)
        detections = Detections(
            camera=header.camera,
            frame=place,
            model=self._model,
            query_set_revision=revision,
            results=tuple(results),
            stage_ms={stage: round(ms, 3) for stage, ms in stage_ms.items()},
        )
        messages = [_state_message(state) for state in changed]
        messages.append(
            Outgoing.json(
                "detections",
                key=header.camera,
                value=detections.model_dump_json(),
                id=header.id,
                source=f"/cameras/{header.camera}",
            )
        )
        confirmed = _after(len(messages), done)
        for message in messages:
            self._outbox.send(message, lambda _: confirmed())

    def end(self, plan: Plan) -> int:
        """Ends the alarms that a new plan has no place for and closes their open alerts. Raises Abandoned."""
        over = self._book.over(plan) if plan.known else []
        for state, reason in over:
            ended = close(state, at=datetime.fromtimestamp(self._clock_ns() / 1e9, tz=UTC), reason=reason)
            self._publish(ended, None)
            if ended.changed:
                self._outbox.send_and_wait([_state_message(ended.state)])
            self._book.forget(state)
        return len(over)

    def _publish(self, taken: Step, picture: Picture | None) -> Step:
        """Sends the step's alerts and waits for them. Returns the step with its evidence filled in."""
        if not taken.alerts:
            return taken
        live = taken.state.mode == "live"
        alerts = tuple(self._with_evidence(alert, picture) if live else alert for alert in taken.alerts)
        if live:
            self._outbox.send_and_wait([_alert_message(alert) for alert in alerts])
        mode = taken.state.mode
        for alert in alerts:
            _ALERTS.labels(alert.camera, alert.state, mode).inc()
            if alert.state is AlertState.RAISED and picture is not None and live:
                _LATENCY.labels(alert.camera).observe((self._clock_ns() - picture.frame.header.captured_ns) / 1e9)
            facts = {"camera": alert.camera, "query": alert.query.id, "alert": alert.id, "mode": mode}
            logger.info("alert %s: %s", alert.state, alert.reason, extra=facts)
        open_alert = alerts[-1] if taken.state.alert is not None else None
        return Step(taken.state.model_copy(update={"alert": open_alert}), alerts, taken.changed)

    def _with_evidence(self, alert: Alert, picture: Picture | None) -> Alert:
        if alert.state is not AlertState.RAISED or picture is None:
            return alert
        late = (self._clock_ns() - picture.frame.header.captured_ns) / 1e9
        if late > LATE_SECONDS:
            alert = alert.model_copy(update={"reason": f"{alert.reason}; decided {late:.0f} s after capture"})
        pictures = {
            "frame": frame_jpeg(picture.frame, picture.pixels, self._quality, MAX_MESSAGE_BYTES),
            "crop": crop_jpeg(picture.pixels, alert.boxes, self._quality),
        }
        messages = [
            Outgoing.image(
                "evidence",
                key=alert.id,
                value=jpeg,
                id=f"{alert.id}/{part}",
                source=f"/cameras/{alert.camera}",
                part=part,
            )
            for part, jpeg in pictures.items()
            if jpeg is not None
        ]
        return alert.model_copy(update={"evidence": self._outbox.send_and_wait(messages)[0]})


def _alert_message(alert: Alert) -> Outgoing:
    return Outgoing.json(
        "alerts",
        key=alert.id,
        value=alert.model_dump_json(),
        id=f"{alert.id}/{alert.state}",
        source=f"/cameras/{alert.camera}",
    )


def _state_message(state: AlarmState) -> Outgoing:
    key = f"{state.camera}/{state.query_id}"
    return Outgoing.json(
        "alarm-state",
        key=key,
        value=state.model_dump_json(),
        id=f"{key}/{state.epoch}/{state.frame.sequence}",
        source=f"/cameras/{state.camera}",
    )


def _after(count: int, done: Callable[[], None]) -> Callable[[], None]:
    """Runs ``done`` at the ``count``-th call."""
    lock = threading.Lock()
    left = count

    def one() -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            done()

    return one
