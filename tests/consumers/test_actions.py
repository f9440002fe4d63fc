"""Operators' actions: at a terminal, on the broker, and in a worker's book."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from consumers.actions import parse_action, publish_action
from consumers.actions_cli import parse_span
from consumers.grounding.actions import ActionBook, ActionReader
from consumers.reading import read_to_end
from infra.contracts import ActionKind, OperatorAction
from infra.errors import BadOperatorAction
from infra.kafka import Publisher
from infra.settings import KafkaSettings
from infra.topics import topic_name
from simvg import app
from tests.consumers.test_alerts import make_alert, publish

UNREADABLE = "simvg_worker_operator_actions_unreadable_total"
AT = datetime(2026, 11, 27, 12, tzinfo=UTC)


def make_action(number: int, **facts: object) -> OperatorAction:
    base: dict[str, object] = {"id": str(number), "kind": "acknowledge", "at": AT, "by": "mia"}
    about: dict[str, object] = {} if {"alert_id", "query_id"} & set(facts) else {"alert_id": "a-1"}
    return OperatorAction.model_validate(base | about | facts)


def published(kafka: KafkaSettings) -> list[OperatorAction]:
    topic = topic_name(kafka.prefix, "operator-actions")
    return [parse_action(m.value(), m.headers()) for m in read_to_end(kafka, topic, client_id="test")]


def run(kafka: KafkaSettings, *arguments: str) -> str:
    options = ["--kafka", kafka.bootstrap, "--topic-prefix", kafka.prefix]
    result = CliRunner().invoke(app, ["alerts", *arguments, *options])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.mark.parametrize(
    ("value", "headers", "says"),
    [
        (None, None, "no value"),
        (b"\xff\x00garbage", None, "Invalid JSON"),
        (b"{}", None, "id: Field required"),
        (b"{}", [("ce_type", b"line.simvg.alert.v1")], "expected 'line.simvg.operator-action.v1'"),
    ],
)
def test_what_is_no_action_is_refused_with_the_reason(value: bytes | None, headers: object, says: str) -> None:
    """A message that breaks the contract names what is wrong."""
    with pytest.raises(BadOperatorAction, match=says):
        parse_action(value, headers)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (
            {"at": "0001-01-01T00:00:00+05:00"},
            "at: Value error, time 0001-01-01.* not in the years 1970 to 9998",
        ),
        ({"at": "9999-12-31T23:59:59-05:00"}, "not in the years"),
        ({"kind": "shelve", "until": "9999-12-31T00:00:00Z"}, "until: Value error, time 9999"),
        ({"kind": "shelve", "at": "9999-12-30T12:00:00Z", "until": "9999-12-31T00:00:00Z"}, "not in the years"),
        ({"kind": "shelve", "at": "9998-12-31T12:00:00Z", "until": "9998-12-31T11:00:00Z"}, "does not end within 24"),
        ({"at": 1e300}, "at: "),
        ({"kind": "verdict", "verdict": "true", "boxes": [[0, 0, float("nan"), 1]]}, "boxes.*finite number"),
        (
            {"kind": "verdict", "verdict": "true", "boxes": [[0, 0.5, 1, 0.5]]},
            r"box \(0.0, 0.5, 1.0, 0.5\) has no area",
        ),
    ],
    ids=[
        "before-year-1",
        "after-9999-in-utc",
        "shelf-to-9999",
        "shelved-in-9999",
        "shelf-into-9999",
        "number",
        "nan",
        "flat",
    ],
)
def test_absurd_times_and_numbers_are_no_action(facts: dict[str, object], says: str) -> None:
    """A time that could not be written in UTC or added to, or a number that is none, breaks the contract in words."""
    sound = {"id": "1", "kind": "acknowledge", "at": AT.isoformat(), "by": "mia", "alert_id": "a-1"}
    with pytest.raises(BadOperatorAction, match=says):
        parse_action(json.dumps(sound | facts).encode())


def test_book_finds_actions_by_what_they_are_about() -> None:
    """A query's actions hold at their camera or all, an alert's for that alert; the same one counts once."""
    book = ActionBook()
    here = make_action(1, query_id="q", camera="c1")
    everywhere, other = make_action(2, query_id="q"), make_action(3, query_id="q", camera="c2")
    of_alert = make_action(4, alert_id="a-7")
    for action in (here, everywhere, other, of_alert, of_alert):
        book.add(action)
    assert set(book.about("q", "c1", ["a-7"])) == {here, everywhere, of_alert}
    assert book.about("p", "c1", ["a-8"]) == ()
    assert len(book) == 4


def test_book_is_bounded() -> None:
    """Of too many actions the oldest go."""
    book = ActionBook(max_kept=2)
    for number in range(3):
        book.add(make_action(number, alert_id=f"a-{number}"))
    assert (len(book), book.about("q", "c1", ["a-0"])) == (2, ())


def test_reader_skips_garbage_and_goes_on(kafka: KafkaSettings, until: Callable[..., None]) -> None:
    """Bytes that are no action, on any partition, never stop the reader; what was there before it counts too."""
    topic = topic_name(kafka.prefix, "operator-actions")
    publish_action(kafka, make_action(1))
    with Publisher(kafka, client_id="test") as publisher:
        for number in range(8):
            publisher.send(topic, key=str(number).encode(), value=b"\xff\x00\xfe garbage", headers=[])
        publisher.send(topic, key=b"tombstone", value=b"", headers=[])
        far = {"id": "far", "kind": "acknowledge", "at": "0001-01-01T00:00:00+05:00", "by": "mia", "alert_id": "a-1"}
        publisher.send(topic, key=b"a-1", value=json.dumps(far).encode(), headers=[])
    book = ActionBook()
    before = REGISTRY.get_sample_value(UNREADABLE) or 0.0
    reader = ActionReader(kafka, book, client_id="test")
    reader.start()
    try:
        until(lambda: len(book) == 1)
        until(lambda: REGISTRY.get_sample_value(UNREADABLE) == before + 10)
        publish_action(kafka, make_action(2, query_id="q"))
        until(lambda: len(book) == 2)
    finally:
        reader.stop()


class FullBook(ActionBook):
    """Fails on one action as nothing should."""

    def add(self, action: OperatorAction) -> None:
        if action.id == "1":
            raise OverflowError("date value out of range")
        super().add(action)


def test_message_that_fails_unforeseen_is_counted_and_skipped(kafka: KafkaSettings, until: Callable[..., None]) -> None:
    """No message ends the thread that reads operators' actions, whatever it fails with."""
    publish_action(kafka, make_action(1))
    book, before = FullBook(), REGISTRY.get_sample_value(UNREADABLE) or 0.0
    reader = ActionReader(kafka, book, client_id="test")
    reader.start()
    try:
        until(lambda: REGISTRY.get_sample_value(UNREADABLE) == before + 1)
        publish_action(kafka, make_action(2))
        until(lambda: len(book) == 1)
    finally:
        reader.stop()


def test_reader_knows_when_it_has_all(kafka: KafkaSettings, kafka_without_topics: KafkaSettings) -> None:
    """Whoever takes alarms over waits for what operators did before, and not for what cannot be read."""
    book, stop = ActionBook(), threading.Event()
    reader = ActionReader(kafka, book, client_id="test")
    reader.start()
    try:
        for number in range(1, 6):
            publish_action(kafka, make_action(number, query_id=f"q-{number}"))
        assert reader.catch_up(stop)
        assert len(book) == 5
        stop.set()
        publish_action(kafka, make_action(6))
        assert ActionReader(kafka, book, client_id="idle").catch_up(stop) is False, "it was never started"
    finally:
        reader.stop()
    assert ActionReader(kafka_without_topics, book, client_id="none").catch_up(threading.Event()) is False


def test_alert_is_acknowledged_by_the_beginning_of_its_id(kafka: KafkaSettings) -> None:
    """The command finds the alert, publishes who did what, and says so."""
    alert = make_alert(1)
    publish(kafka, alert.model_dump_json().encode())
    assert f"acknowledge: {alert.id}" in run(kafka, "ack", alert.id[:6], "--by", "mia")
    (action,) = published(kafka)
    assert (action.kind, action.alert_id, action.by, action.target) == ("acknowledge", alert.id, "mia", alert.id)
    with pytest.raises(BadOperatorAction, match="no alert 'a-zz' is kept"):
        run(kafka, "ack", "a-zz")


def test_query_is_shelved_for_a_span(kafka: KafkaSettings) -> None:
    """Shelving by query needs no alert, and ends at its time."""
    run(kafka, "shelve", "--query", "q", "--camera", "line-1", "--for", "30m", "--by", "mia", "--comment", "refill")
    (action,) = published(kafka)
    assert action.until is not None and action.until - action.at == timedelta(minutes=30)
    assert (action.target, action.camera, action.comment) == ("q", "line-1", "refill")


def test_verdict_carries_corrected_boxes(kafka: KafkaSettings) -> None:
    """A verdict says what was right, with boxes where they were wrong; a word that is none is refused."""
    alert = make_alert(1)
    publish(kafka, alert.model_dump_json().encode())
    run(kafka, "verdict", alert.id, "false", "--box", "0.1,0.2,0.3,0.4", "--by", "mia")
    (action,) = published(kafka)
    assert (action.kind, action.verdict, action.boxes) == (ActionKind.VERDICT, "false", ((0.1, 0.2, 0.3, 0.4),))
    with pytest.raises(BadOperatorAction, match="'true', 'false' or 'unsure'"):
        run(kafka, "verdict", alert.id, "maybe")


@pytest.mark.parametrize("text", ["soon", "0m", "25h", "-3m"])
def test_span_without_sense_is_refused(text: str) -> None:
    """A shelving has an end, within a day."""
    with pytest.raises(BadOperatorAction, match=f"--for '{text}'"):
        parse_span(text)


def test_action_needs_one_target(kafka: KafkaSettings) -> None:
    """An alert or a query, not both and not none."""
    with pytest.raises(BadOperatorAction, match="say what it is about"):
        run(kafka, "ack")


def test_oversized_action_is_refused_unparsed() -> None:
    """A message of more than 64,000 bytes is named with its size."""
    with pytest.raises(BadOperatorAction, match=r"has 70000 bytes; an action has at most 64000"):
        parse_action(b"[" * 70_000)
