"""Reading alerts, as values and at a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from consumers.alerts import UnreadableAlert, parse_alert, read_alerts
from consumers.alerts_cli import alerts
from infra.cloudevents import event_headers
from infra.contracts import Alert, AlertState, FrameReference, Transition, alert_id
from infra.errors import BadAlertMessage
from infra.kafka import Publisher
from infra.settings import KafkaSettings
from infra.topics import topic_name


def make_alert(sequence: int, camera: str = "line-1", state: AlertState = AlertState.RAISED) -> Alert:
    at = datetime(2026, 11, 23, 13, 37, sequence, tzinfo=UTC)
    frame = FrameReference(topic="frames", partition=0, offset=sequence, sequence=sequence, captured_at=at)
    return Alert(
        id=alert_id(camera, "q", 1, "e", sequence),
        camera=camera,
        query={"id": "q", "text": "missing bolt", "revision": 1},
        state=state,
        severity="high",
        action="notify",
        score=0.97,
        boxes=((0.1, 0.1, 0.2, 0.2),),
        onset=frame,
        frame=frame,
        onset_at=at,
        raised_at=at,
        reason="score 0.97 at or above 0.80 in 3 of 3 frames",
        timeline=(Transition(state=state, at=at),),
    )


def publish(kafka: KafkaSettings, *values: bytes) -> None:
    with Publisher(kafka, client_id="test") as publisher:
        for number, value in enumerate(values):
            headers = event_headers("alerts", id=str(number), source="/test")
            publisher.send(topic_name(kafka.prefix, "alerts"), key=b"k", value=value, headers=headers)
        assert publisher.flush(10) == 0


@pytest.mark.parametrize(
    ("value", "headers", "says"),
    [
        (None, None, "no value"),
        (b"{", None, "Invalid JSON"),
        (b"{}", None, "id: Field required"),
        (b"{}", [("ce_type", b"line.simvg.frame.v1")], "expected 'line.simvg.alert.v1'"),
        (make_alert(1).model_dump_json().replace("0.97", "97", 1).encode(), None, "score: Input should be less than"),
    ],
    ids=["none", "no-json", "empty", "foreign", "out-of-range"],
)
def test_what_is_no_alert_is_refused_with_the_reason(value: bytes | None, headers: object, says: str) -> None:
    """A message that breaks the contract names what is wrong."""
    with pytest.raises(BadAlertMessage, match=says):
        parse_alert(value, headers)


def test_empty_topic_ends_at_once(kafka: KafkaSettings) -> None:
    """Reading to the end of nothing yields nothing."""
    assert list(read_alerts(kafka, from_beginning=True, to_end=True)) == []


def test_reader_goes_on_after_a_broken_message(kafka: KafkaSettings) -> None:
    """A broken message comes as what it is, with its place; the alerts around it are read."""
    first, second = make_alert(1), make_alert(2)
    publish(kafka, first.model_dump_json().encode(), b"broken", second.model_dump_json().encode())
    found = list(read_alerts(kafka, from_beginning=True, to_end=True))
    assert [one for one in found if isinstance(one, Alert)] == [first, second]
    (broken,) = [one for one in found if isinstance(one, UnreadableAlert)]
    assert broken.place.offset == 1 and "Invalid JSON" in broken.fault


def run(kafka: KafkaSettings, *arguments: str) -> str:
    app = typer.Typer()
    app.command()(alerts)
    where = ["--kafka", kafka.bootstrap, "--topic-prefix", kafka.prefix]
    done = CliRunner().invoke(app, [*arguments, *where], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_json_lines_are_the_topic_s_values(kafka: KafkaSettings) -> None:
    """--json gives each alert as it lies in the topic; what is broken is a line of its own kind."""
    publish(kafka, make_alert(2).model_dump_json().encode(), b"broken", make_alert(1).model_dump_json().encode())
    lines = [json.loads(line) for line in run(kafka, "--json").splitlines()]
    assert lines[:2] == [make_alert(1).model_dump(mode="json"), make_alert(2).model_dump(mode="json")]
    assert "Invalid JSON" in lines[2]["unreadable"]


def test_a_line_shows_state_camera_and_reason(kafka: KafkaSettings) -> None:
    """A line is for people: state, camera, words of the query, score, why."""
    publish(kafka, make_alert(1).model_dump_json().encode(), make_alert(2, "line-2").model_dump_json().encode())
    shown = run(kafka, "--camera", "line-2")
    assert "raised" in shown and "line-2" in shown and "missing bolt" in shown
    assert "score 0.97 at or above 0.80 in 3 of 3 frames" in shown
    assert "line-1" not in shown


def test_no_alerts_says_so(kafka: KafkaSettings) -> None:
    """An empty topic is told in words."""
    assert "no alerts are kept" in run(kafka)
