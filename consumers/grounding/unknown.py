"""Frames that could not be judged, counted by why. The reasons are sentences; a metric needs a few short names."""

from __future__ import annotations

from collections.abc import Iterable

from infra.contracts import QueryResult, State
from infra.metrics import counter

SAID = {
    "black": "is black",
    "blown_out": "is blown out",
    "flat": "one flat surface",
    "blurred": "is blurred",
    "dragged": "is dragged",
    "frozen": "is frozen",
    "stale": "is stale",
    "too_small": "is too small",
    "no_number": "gave no number",
}
"""Short name of a reason → words that stand in its sentence; see `simvg_core.quality`, `simvg_core.answers`,
:mod:`.vision` and :mod:`.scoring`."""

OTHER = "other"

_UNKNOWN = counter(
    "simvg_worker_frames_unknown_total",
    "scored frames on which a query could not be answered, and why; each reason counts once a frame",
    ("camera", "reason"),
)


def kind(reason: str | None) -> str:
    """Short name of a sentence that says why a picture cannot be judged."""
    return next((name for name, words in SAID.items() if words in (reason or "")), OTHER)


def count(camera: str, results: Iterable[QueryResult]) -> None:
    """Counts one scored frame, if any of its answers is unknown."""
    for reason in {kind(result.reason) for result in results if result.state is State.UNKNOWN}:
        _UNKNOWN.labels(camera, reason).inc()


def expect(camera: str) -> None:
    """Has the camera's counts begin at 0, so that the first frame that cannot be judged is seen as one more."""
    for reason in (*SAID, OTHER):
        _UNKNOWN.labels(camera, reason)
