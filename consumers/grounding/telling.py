"""What is logged and counted of alerts once they are committed."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from consumers.grounding.episode import RAISED_AGAIN
from infra.contracts import Alert
from infra.metrics import counter, histogram

logger = logging.getLogger(__name__)

_ALERTS = counter(
    "simvg_worker_alerts_total",
    "transitions of alerts, committed; state raised_again: told again by its interval, updated: all that leaves the "
    "state as it was, such as another object, a shelf, a comment",
    ("camera", "state", "mode"),
)
_LATENCY = histogram(
    "simvg_worker_alert_latency_seconds",
    "from the capture of the raising frame to its committed alert, once per alert; not of silent cameras",
    ("camera",),
)
_VISIBLE = histogram("simvg_worker_alert_commit_seconds", "from the decision on an alert to its commit")


def tell(alerts: Iterable[tuple[Alert, str]], *, decided_ns: int, now_ns: int, on_frame: bool) -> None:
    """Alerts that are committed now, each with its alarm's mode; ``on_frame``: a frame brought them, not time alone."""
    for alert, mode in alerts:
        _ALERTS.labels(alert.camera, _what_happened(alert), mode).inc()
        if mode == "live":
            _VISIBLE.observe((now_ns - decided_ns) / 1e9)
        if on_frame and alert.number == 1 and mode == "live":
            _LATENCY.labels(alert.camera).observe(max(0.0, now_ns / 1e9 - alert.frame.captured_at.timestamp()))
        facts = {"camera": alert.camera, "query": alert.query.id, "alert": alert.id, "mode": mode}
        logger.info("alert %s: %s", alert.state, alert.reason, extra=facts)


def _what_happened(alert: Alert) -> str:
    """The state that the alert has come to with its last transition, or what else that was."""
    if alert.timeline[-1].note == RAISED_AGAIN:
        return "raised_again"
    stayed = len(alert.timeline) > 1 and alert.timeline[-2].state is alert.state
    return "updated" if stayed else alert.state
