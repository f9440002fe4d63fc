"""A camera that is taken out of the plant, on a real broker with a real worker."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner, Result

from consumers.grounding.restore import read_alarm_states
from infra.contracts import OperatorAction, utc_from_ns
from infra.errors import BadOperatorAction
from simvg import app
from tests.consumers.grounding.conftest import Line
from tests.consumers.grounding.test_operators_and_blindness import BLIND


def _run(line: Line, *words: str) -> Result:
    where = ["--kafka", line.kafka.bootstrap, "--topic-prefix", line.kafka.prefix]
    return CliRunner().invoke(app, ["cameras", *words, *where], catch_exceptions=True)


def _told(camera: str) -> float | None:
    return REGISTRY.get_sample_value("simvg_worker_camera_blind", {"camera": camera})


def test_forgotten_camera_is_silent_for_nobody(line: Line) -> None:
    """Its alerts are closed with the reason, the next worker does not miss it either, and its frames are new ones."""
    line.add("red", latch=True)
    first = line.start(camera_limits=BLIND)
    camera = line.camera("line-1")
    camera.play("rrr..")
    line.wait_for_alerts("raised", "cleared", "raised")  # latched, and then silent
    listed = _run(line, "list")
    assert listed.exit_code == 0 and "line-1" in listed.stdout and "blind" in listed.stdout
    said = _run(line, "forget", "line-1", "--by", "mia", "--comment", "taken down")
    assert said.exit_code == 0, said.output
    assert "2 open alerts are closed" in said.stdout
    line.until(lambda: len(line.alerts()) == 5)
    assert [(str(alert.state), alert.reason) for alert in line.alerts()[3:]] == [
        ("closed", "closed because mia took the camera out of the plant: taken down")
    ] * 2
    line.until(lambda: read_alarm_states(line.kafka, client_id="test") == [])
    line.until(lambda: _told("line-1") is None)
    line.stop(first)
    second, other = line.start(camera_limits=BLIND), line.camera("line-2")
    other.play("..")
    line.until(lambda: [alert.camera for alert in line.alerts()[5:]] == ["line-2"])  # silent for as long as line-1 now
    assert "line-1" not in _run(line, "list").stdout
    camera.play("rrr")
    line.until(lambda: [(a.camera, str(a.state)) for a in line.alerts("line-1")[5:]][:1] == [("line-1", "raised")])
    line.stop(second)


def test_unknown_camera_is_an_error(line: Line) -> None:
    """The id that was given, and the nearest that is known."""
    line.add("red")
    worker = line.start(camera_limits=BLIND)
    line.camera("line-1").play(".")
    line.wait_for_frames(worker, 1)
    line.until(lambda: read_alarm_states(line.kafka, client_id="test"))
    failed = _run(line, "forget", "line-11")
    assert isinstance(failed.exception, BadOperatorAction)
    assert str(failed.exception) == (
        "no camera 'line-11' is known (did you mean 'line-1'?); `simvg cameras list` shows those that are"
    )
    assert line.messages("operator-actions") == []


@pytest.mark.parametrize(
    "about",
    [{"alert_id": "a-1"}, {"query_id": "camera-blind"}, {"query_id": "red", "camera": "line-1"}],
    ids=["an-alert", "every-camera", "another-query"],
)
def test_what_is_forgotten_is_one_camera(about: dict[str, str]) -> None:
    """A slip of the hand never empties the plant."""
    facts = {"id": "1", "kind": "forget", "at": utc_from_ns(1_790_000_000_000_000_000), "by": "mia"}
    with pytest.raises(ValueError, match="what is forgotten is one camera"):
        OperatorAction.model_validate(facts | about)
