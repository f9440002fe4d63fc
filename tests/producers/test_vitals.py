"""When a camera counts as live and as ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from infra.process import free_port
from infra.settings import KafkaSettings
from producers.capture import CameraState, Capture
from producers.ledger import Counts, Ledger
from producers.publisher import FramePublisher
from producers.settings import CameraSettings
from producers.vitals import Vitals


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeCamera:
    """What is asked of a camera's capture, publisher and books."""

    state: CameraState = CameraState.STREAMING
    fault: str | None = None
    failure: Exception | None = None
    done: bool = False
    published: int = 1

    def counts(self) -> Counts:
        return Counts(captured=self.published, published=self.published)


def _vitals(clock: Clock, **changes: object) -> tuple[Vitals, FakeCamera]:
    camera = FakeCamera()
    facts = {"id": "c", "source": "line:", "kafka": KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")}
    settings = CameraSettings.model_validate(facts | changes)
    parts = (cast(Capture, camera), cast(FramePublisher, camera), cast(Ledger, camera))
    return Vitals(settings, *parts, clock=clock), camera


def _wrong(checks: dict[str, str | None]) -> set[str]:
    return {name for name, fault in checks.items() if fault is not None}


def test_camera_that_publishes_is_ready_but_for_the_broker() -> None:
    """Frames come and are confirmed; only the broker of this test is not there."""
    vitals, _ = _vitals(Clock())
    assert _wrong(vitals.ready()) == {"broker"}
    assert _wrong(vitals.live()) == set()


def test_lost_camera_is_unready_with_its_fault_and_lives() -> None:
    """A restart would not bring it back."""
    vitals, camera = _vitals(Clock())
    camera.state, camera.fault = CameraState.LOST, "nothing listens at that address"
    assert vitals.ready()["camera"] == "nothing listens at that address"
    assert _wrong(vitals.live()) == set()


def test_camera_that_never_gave_a_picture_is_not_well() -> None:
    """Before the first picture there is no fault yet, and nothing that could be called ok."""
    vitals, camera = _vitals(Clock())
    camera.state = CameraState.CONNECTING
    assert vitals.camera() == vitals.ready()["camera"] == "connecting: no frame has come yet"
    camera.state = CameraState.ENDED
    assert vitals.camera() is None


def test_frames_without_confirmation_are_said() -> None:
    """None yet, or none for a while; each confirmation starts the time anew, and a recording that ended is fine."""
    clock = Clock()
    vitals, camera = _vitals(clock, fps=1.0)
    camera.published = 0
    assert vitals.ready()["publishing"] == "no frame is confirmed yet"
    camera.published = 5
    assert vitals.ready()["publishing"] is None
    clock.now = 33.0
    assert vitals.ready()["publishing"] == "no frame was confirmed for 33 s"
    camera.published = 6
    assert vitals.ready()["publishing"] is None
    clock.now = 99.0
    camera.state = CameraState.ENDED
    assert vitals.ready()["publishing"] is None


def test_failed_publishing_is_dead_and_unready() -> None:
    """What ended publishing is named in both."""
    vitals, camera = _vitals(Clock())
    camera.failure = RuntimeError("x")
    assert vitals.live()["publishing"] == "failed: x"
    assert vitals.ready()["publishing"] == "failed: x"
