"""How the alarms of a worker stand now: which cameras are blind, and how many alerts wait for somebody."""

from __future__ import annotations

from consumers.grounding.book import AlarmBook
from consumers.grounding.episode import Phase
from consumers.grounding.unknown import expect
from infra.contracts import CAMERA_BLIND, Alert, AlertState
from infra.metrics import gauge

_BLIND = gauge("simvg_worker_camera_blind", "1 while the alarm camera-blind of a camera is on, else 0", ("camera",))
_OPEN = gauge("simvg_worker_alerts_open", "live alerts that are not closed", ("camera",))
_UNACKNOWLEDGED = gauge(
    "simvg_worker_alerts_unacknowledged",
    "open alerts that nobody has acknowledged, those that cleared and latch among them",
    ("camera",),
)
_SHELVED = gauge("simvg_worker_alerts_shelved", "open alerts that are shelved: shown, never acted on", ("camera",))


class Standing:
    """Shows the cameras that this worker holds; those that went to another worker are its to show."""

    def __init__(self) -> None:
        self._blind: set[str] = set()
        self._cameras: set[str] = set()

    def show(self, book: AlarmBook) -> None:
        """Sets the gauges by the book."""
        blind = {state.camera: state.phase is Phase.ACTIVE for state in book.of_query(CAMERA_BLIND)}
        for camera in self._blind - blind.keys():
            _BLIND.remove(camera)
        for camera, on in blind.items():
            _BLIND.labels(camera).set(on)
        self._blind = set(blind)
        cameras = set(book.partitions())
        for camera in self._cameras - cameras:
            for shown in (_OPEN, _UNACKNOWLEDGED, _SHELVED):
                shown.remove(camera)
        for camera in cameras - self._cameras:
            expect(camera)
        found: dict[str, list[Alert]] = {camera: [] for camera in cameras}
        for alert in book.open_alerts():
            found.setdefault(alert.camera, []).append(alert)
        for camera, alerts in found.items():
            _OPEN.labels(camera).set(len(alerts))
            _UNACKNOWLEDGED.labels(camera).set(sum(one.state is not AlertState.ACKNOWLEDGED for one in alerts))
            _SHELVED.labels(camera).set(sum(one.suppressed is not None for one in alerts))
        self._cameras = set(found)
