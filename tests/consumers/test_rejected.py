"""Rejected messages: listed, shown, saved and sent again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from consumers.reading import read_to_end
from consumers.rejected import find_rejected, parse_place, read_rejected
from consumers.rejected_cli import app
from infra.cloudevents import Headers, read_frame, rejected_headers
from infra.contracts import MessageReference
from infra.errors import BadFrameMessage, BadRejectedMessage, SettingsError
from infra.kafka import Publisher, follow
from infra.settings import KafkaSettings
from infra.topics import topic_name
from tests.consumers.grounding.test_bad_frames import JPEG, headers


def reject(
    kafka: KafkaSettings, value: bytes, came_with: Headers, *, key: bytes = b"line-1", reason: str = "odd"
) -> None:
    """Puts one message on frames-rejected as a worker does."""
    error = BadFrameMessage(f"it was {reason}", reason=reason)
    place = MessageReference(topic="frames", partition=0, offset=7)
    told = rejected_headers(place, reason=reason, error=error, source="/workers", headers=came_with)
    with Publisher(kafka, client_id="test") as publisher:
        publisher.send(topic_name(kafka.prefix, "frames-rejected"), key=key, value=value, headers=told)
        assert publisher.flush(10) == 0


def run(kafka: KafkaSettings, *arguments: str) -> Result:
    where = ["--kafka", kafka.bootstrap, "--topic-prefix", kafka.prefix]
    return CliRunner().invoke(app, [*arguments, *where], env={"COLUMNS": "200"})


def test_nothing_rejected_says_so(kafka: KafkaSettings) -> None:
    """An empty topic is told in words, and as no lines at all in JSON."""
    assert "no rejected messages are kept" in run(kafka, "list").stdout
    assert run(kafka, "list", "--json").stdout == ""


def test_list_counts_by_reason(kafka: KafkaSettings) -> None:
    """Every message has its line with what was wrong; a camera or a reason narrows them."""
    reject(kafka, b"x", [], reason="not_an_image")
    reject(kafka, b"yy", [], key=b"line-2", reason="empty")
    shown = run(kafka, "list").stdout
    assert "BadFrameMessage: it was not_an_image" in shown and "2 rejected: 1 empty, 1 not_an_image" in shown
    (only,) = [json.loads(line) for line in run(kafka, "list", "--json", "--camera", "line-2").stdout.splitlines()]
    assert (only["camera"], only["reason"], only["bytes"]) == ("line-2", "empty", 2)
    assert only["original"] == {"topic": "frames", "partition": 0, "offset": 7}


def test_an_unknown_reason_names_the_known_ones(kafka: KafkaSettings) -> None:
    """A reason that nothing was rejected for is an error, not an empty list."""
    reject(kafka, b"x", [], reason="empty")
    failed = run(kafka, "list", "--reason", "emtpy")
    assert isinstance(failed.exception, BadRejectedMessage) and "the reasons are empty" in str(failed.exception)


def test_a_camera_of_none_is_told_from_none_at_all(kafka: KafkaSettings) -> None:
    """A mistyped camera is named with the one that may be meant."""
    reject(kafka, b"x", [], reason="empty")
    told = run(kafka, "list", "--camera", "lime-1").stdout
    assert "none of the 1 rejected messages kept is of camera 'lime-1' (did you mean 'line-1'?)" in told
    told = run(kafka, "list", "--camera", "x", "--reason", "empty").stdout
    assert "is of camera 'x' and was rejected for 'empty'" in told
    assert run(kafka, "list", "--camera", "x", "--json").stdout == ""


def test_a_place_to_save_to_that_is_none_is_named(kafka: KafkaSettings, tmp_path: Path) -> None:
    """One message goes to a file in a folder that is there, several to a folder: before anything is read."""
    reject(kafka, b"x", [])
    file, folder = tmp_path / "e.png", tmp_path / "folder"
    file.write_bytes(b"mine")
    folder.mkdir()
    place = next(read_rejected(kafka)).place
    one = f"{place.partition}:{place.offset}"
    for arguments, says in (
        (("--reason", "odd", "--out", str(file)), f"{file} is a file, and a folder is needed"),
        (("--out", str(file / "deeper")), f"{file} is a file, and a folder is needed"),
        ((one, "--out", str(folder)), f"--out {folder} is a folder"),
        ((one, "--out", str(tmp_path / "none" / "e.png")), f"there is no folder {tmp_path / 'none'}"),
    ):
        failed = run(kafka, "save", *arguments)
        assert isinstance(failed.exception, SettingsError) and says in str(failed.exception)
    assert file.read_bytes() == b"mine"


def test_a_message_without_our_headers_is_listed(kafka: KafkaSettings) -> None:
    """What somebody else put on the topic is shown as far as it can be read."""
    with Publisher(kafka, client_id="test") as publisher:
        publisher.send(topic_name(kafka.prefix, "frames-rejected"), key=b"\xff", value=b"z", headers=[("a", b"\xfe")])
        assert publisher.flush(10) == 0
    (one,) = read_rejected(kafka)
    assert (one.reason, one.original, one.rejected_at) == ("unknown", None, "unknown")
    assert run(kafka, "list").exit_code == 0


def test_show_gives_headers_and_bytes(kafka: KafkaSettings) -> None:
    """One message in full: reason, the headers that it came with, the start of its bytes."""
    reject(kafka, b"hello\x00", [("ce_id", b"odd")], reason="missing_header")
    place = next(read_rejected(kafka)).place
    shown = run(kafka, "show", f"{place.partition}:{place.offset}").stdout
    assert "missing_header" in shown and "ce_id = b'odd'" in shown and "68 65 6c 6c 6f 00" in shown


@pytest.mark.parametrize("text", ["", "0", "0:", "x:1", "0:-1"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    """The error shows how a place is written."""
    with pytest.raises(BadRejectedMessage, match="PARTITION:OFFSET"):
        parse_place(text)


def test_nothing_at_a_place_is_an_error(kafka: KafkaSettings) -> None:
    """A place where nothing is kept is named."""
    with pytest.raises(BadRejectedMessage, match="no rejected message is kept at 1:99"):
        find_rejected(kafka, "1:99")


def test_saved_bytes_are_the_original_ones(kafka: KafkaSettings, tmp_path: Path) -> None:
    """Saving writes what came, one file each, named after camera and place, with the suffix of the content."""
    reject(kafka, JPEG, headers())
    reject(kafka, b"noise", [], key=b"../evil/\xff")
    assert "2 saved" in run(kafka, "save", "--out", str(tmp_path / "all")).stdout
    saved = {path.name: path.read_bytes() for path in (tmp_path / "all").iterdir()}
    assert sorted(saved.values()) == sorted([JPEG, b"noise"])
    assert any(name.startswith("line-1-") and name.endswith(".jpg") for name in saved)
    assert any(name.startswith(".._evil__") and name.endswith(".bin") for name in saved)


def test_retry_sends_the_frame_as_it_came(kafka: KafkaSettings) -> None:
    """Key, bytes and headers on `frames` are the first ones, so that a worker reads them as it would have."""
    reject(kafka, JPEG, headers(), reason="model_failed")
    with follow(kafka, [topic_name(kafka.prefix, "frames")], client_id="test", from_beginning=True) as consumer:
        assert "1 of 1 sent again" in run(kafka, "retry", "--all", "--reason", "model_failed").stdout
        message = next(found for _ in range(100) if (found := consumer.poll(0.1)) is not None)
        assert message.value() == JPEG and message.key() == b"line-1"
        assert read_frame(message.headers(), b"line-1").id == "line-1/e/0"


def test_retry_waits_for_room_in_the_client(kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the client's queue holds is sent all the same, in order; what `latest` makes of it is said."""
    for number in range(12):
        reject(kafka, JPEG + bytes([number]), headers(), reason="model_failed")
    monkeypatch.setattr("consumers.rejected.Publisher", partial(Publisher, queue_messages=2, linger_ms=50))
    done = run(kafka, "retry", "--all")
    assert done.exit_code == 0, done.output
    assert "12 of 12 sent again" in done.stdout and "under freshness `latest`" in done.stdout
    sent = [message.value() for message in read_to_end(kafka, topic_name(kafka.prefix, "frames"), client_id="test")]
    assert sent == [JPEG + bytes([number]) for number in range(12)]


def test_retry_says_what_cannot_be_sent(kafka: KafkaSettings) -> None:
    """A message whose headers are not kept is left, with the reason, and the command fails."""
    reject(kafka, JPEG, [])
    done = run(kafka, "retry", "--all")
    assert done.exit_code == 1 and "0 of 1 sent again" in done.stdout
    assert "the headers that it came with were not kept" in done.stderr


def test_retry_wants_one_or_all(kafka: KafkaSettings) -> None:
    """Neither a place nor --all, or both, is refused."""
    assert run(kafka, "retry").exit_code == 2
    assert run(kafka, "retry", "0:1", "--all").exit_code == 2
