"""The picture of an alert, saved as a file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from consumers.alerts import read_alerts
from infra.cloudevents import event_headers
from infra.contracts import Alert, AlertQuery, MessageReference
from infra.errors import BadAlertMessage, SettingsError, UnknownAlert
from infra.kafka import Publisher
from infra.settings import KafkaSettings
from infra.topics import topic_name
from simvg import app
from tests.consumers.test_alerts import make_alert, publish

PICTURE = bytes(cv2.imencode(".jpg", np.full((60, 80, 3), 128, np.uint8))[1])


def run(kafka: KafkaSettings, *arguments: str) -> str:
    where = ["--kafka", kafka.bootstrap, "--topic-prefix", kafka.prefix]
    done = CliRunner().invoke(app, ["evidence", *arguments, *where], env={"COLUMNS": "200"})
    if done.exception is not None:
        raise done.exception
    return done.stdout


@pytest.fixture
def pictured(kafka: KafkaSettings) -> str:
    """Id of an alert with a picture, and with brackets in the words of its query."""
    places: list[MessageReference] = []

    def noted(error: Exception | None, place: MessageReference | None) -> None:
        assert error is None and place is not None
        places.append(place)

    topic = topic_name(kafka.prefix, "evidence")
    with Publisher(kafka, client_id="test") as publisher:
        headers = [*event_headers("evidence", id=f"{make_alert(1).id}/1/frame", source="/test"), ("ce_part", b"frame")]
        publisher.send(topic, key=b"line-1", value=PICTURE, headers=headers, on_delivery=noted)
        assert publisher.flush(10) == 0
    query = AlertQuery(id="q", text="bolt [/bold] [red]", revision=1)
    alert = make_alert(1).model_copy(update={"evidence": places[0], "query": query})
    publish(kafka, alert.model_dump_json().encode())
    return alert.id


@pytest.mark.parametrize("name", ["e.png", "e.jpg", "e.JPEG"])
def test_picture_is_saved_with_its_strip(kafka: KafkaSettings, pictured: str, tmp_path: Path, name: str) -> None:
    """In the kind that its name asks for; words with brackets are said as they are."""
    out = tmp_path / name
    assert f"bolt [/bold] [red] at line-1: score 0.97 at or above 0.80 in 3 of 3 frames → {out}" in run(
        kafka, pictured, "--out", str(out)
    )
    saved = cv2.imread(str(out))
    assert saved is not None and saved.shape[1] == 80 and saved.shape[0] > 60
    assert out.read_bytes()[:4] == (b"\x89PNG" if name == "e.png" else b"\xff\xd8\xff\xe0")


def test_raw_picture_is_saved_as_it_was(kafka: KafkaSettings, pictured: str, tmp_path: Path) -> None:
    """Byte for byte, under any name."""
    run(kafka, pictured, "--raw", "--out", str(tmp_path / "frame"))
    assert (tmp_path / "frame").read_bytes() == PICTURE


def test_alert_is_named_by_the_beginning_of_its_id(kafka: KafkaSettings, pictured: str, tmp_path: Path) -> None:
    """As `simvg alerts ack` takes it; one that several begin with, or none, is refused."""
    out = tmp_path / "frame.jpg"
    run(kafka, pictured[:8], "--raw", "--out", str(out))
    assert out.read_bytes() == PICTURE
    publish(kafka, make_alert(2).model_dump_json().encode())
    for begin, says in (
        ("a-", "2 alerts begin with 'a-': "),
        ("", "'' is no id of an alert"),
        ("x", "no alert 'x' is"),
    ):
        with pytest.raises(UnknownAlert, match=says):
            run(kafka, begin, "--out", str(out))


@pytest.mark.parametrize(
    ("out", "options", "says"),
    [
        ("e", [], "is no name of a picture; end it with .png or .jpg or .jpeg"),
        ("e.bmp", [], "is no name of a picture"),
        ("none/e.png", [], "there is no folder"),
        ("none/e.jpg", ["--raw"], "there is no folder"),
        ("folder.png", [], "is a folder; name a file in it"),
    ],
)
def test_name_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path: Path, out: str, options: list[str], says: str
) -> None:
    """No broker is needed for it; the path is named."""
    (tmp_path / "folder.png").mkdir()
    nowhere = KafkaSettings(bootstrap="127.0.0.1:1")
    with pytest.raises(SettingsError, match=says) as raised:
        run(nowhere, "a-1", *options, "--out", str(tmp_path / out))
    assert str(tmp_path / out) in str(raised.value)


def test_what_the_system_has_against_writing_is_told(kafka: KafkaSettings, pictured: str) -> None:
    """A folder that takes no files is an error of the path, not of the program."""
    with pytest.raises(SettingsError, match=r"--out /proc/e\.png cannot be written: "):
        run(kafka, pictured, "--out", "/proc/e.png")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"offset": 7}, "is no longer kept: retention has removed it"),
        ({"partition": 9}, "is no longer kept"),
        ({}, r"is 'a-.*/1/frame', not the picture of alert a-other; was the topic made anew\?"),
    ],
    ids=["removed", "no-partition", "another-alert"],
)
def test_picture_that_is_not_there_is_told(
    kafka: KafkaSettings, pictured: str, change: dict[str, int], says: str
) -> None:
    """Nor is another alert's picture shown in its place."""
    (place,) = [one.evidence for one in read_alerts(kafka, from_beginning=True, to_end=True) if isinstance(one, Alert)]
    assert place is not None
    other = {"id": "a-other", "evidence": place.model_copy(update=change)}
    publish(kafka, make_alert(2).model_copy(update=other).model_dump_json().encode())
    with pytest.raises(BadAlertMessage, match=says):
        run(kafka, "a-other")
