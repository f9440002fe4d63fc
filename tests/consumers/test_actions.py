"""Operators' actions: at a terminal, on the broker, and in a worker's book."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from consumers.actions import new_action, parse_action, publish_action, read_actions
from consumers.actions_cli import parse_span
from consumers.grounding.actions import ActionBook, ActionReader
from consumers.grounding.alarm_state import AlarmState
from consumers.grounding.episode import Shelf
from consumers.reading import read_to_end
from consumers.why_cli import _action_line
from infra.contracts import ActionKind, AlertQuery, AlertState, OperatorAction, StandingQuery
from infra.cost import Prices
from infra.errors import BadOperatorAction, UnknownAlert
from infra.kafka import Publisher
from infra.process import free_port
from infra.queries import QueryRegistry
from infra.reports import Load, WorkerReport
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
    with pytest.raises(UnknownAlert, match="no alert 'a-zz' is kept"):
        run(kafka, "ack", "a-zz")


def make_query(id: str) -> StandingQuery:
    return StandingQuery(id=id, text="missing bolt", created=AT, changed=AT)


def publish_state(kafka: KafkaSettings, camera: str, query: str, shelf: Shelf | None = None) -> None:
    """What a worker keeps of an alarm that is at rest."""
    frame = make_alert(1).frame
    state = AlarmState(
        camera=camera, query_id=query, revision=1, epoch="e", frame=frame, captured_ns=1_000_000, shelf=shelf
    )
    with Publisher(kafka, client_id="test") as publisher:
        topic, key = topic_name(kafka.prefix, "alarm-state"), f"{camera}/{query}".encode()
        publisher.send(topic, key=key, value=state.model_dump_json().encode())
        assert publisher.flush(10) == 0


def test_query_is_shelved_for_a_span(kafka: KafkaSettings, registry: QueryRegistry) -> None:
    """Shelving by query needs no alert, and ends at its time; the camera is said."""
    registry.add(make_query("q"))
    publish_state(kafka, "line-1", "camera-blind")
    where = ("--query", "q", "--camera", "line-1")
    shown = run(kafka, "shelve", *where, "--for", "30m", "--by", "mia", "--comment", "refill")
    (action,) = published(kafka)
    assert action.until is not None and action.until - action.at == timedelta(minutes=30)
    assert (action.target, action.camera, action.comment) == ("q", "line-1", "refill")
    assert f"shelve until {action.until:%Y-%m-%d %H:%M:%S}Z: query q at camera line-1, by mia" in shown
    assert "acknowledge: query q at all cameras, by mia" in run(kafka, "ack", "--query", "q", "--by", "mia")


@pytest.mark.parametrize("kind", ["ack", "shelve", "unshelve"])
def test_mistyped_query_or_camera_is_refused(kafka: KafkaSettings, registry: QueryRegistry, kind: str) -> None:
    """Nothing is sent; the near one is named, and --force insists."""
    registry.add(make_query("missing-bolt"))
    load = Load(prices=Prices(pass_s=0.001, pair_s=0.001), budget=0.9, cameras={"line-1": 1.0}, cost=0.1, busy=0.1)
    registry.report_worker("w0", WorkerReport.of(1, load, refused={}), 60)
    with pytest.raises(BadOperatorAction, match=r"no query 'mising-bolt' is known \(did you mean 'missing-bolt'\?\)"):
        run(kafka, kind, "--query", "mising-bolt")
    with pytest.raises(BadOperatorAction, match=r"no camera 'lime-1' is known \(did you mean 'line-1'\?\).*--force"):
        run(kafka, kind, "--query", "missing-bolt", "--camera", "lime-1")
    assert published(kafka) == []
    run(kafka, kind, "--query", "missing-bolt", "--camera", "line-1")
    run(kafka, kind, "--query", "mising-bolt", "--camera", "lime-1", "--force")
    assert [action.query_id for action in published(kafka)] == ["missing-bolt", "mising-bolt"]


def test_without_the_registry_alarms_tell_which_queries_there_are(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has an alarm is known; of the rest it is said that the registry was not asked."""
    publish_state(kafka, "line-1", "q")
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    assert "at camera line-1" in run(kafka, "ack", "--query", "q", "--camera", "line-1", "--redis", nowhere)
    assert "camera-blind" in run(kafka, "ack", "--query", "camera-blind", "--redis", nowhere)
    with pytest.raises(BadOperatorAction, match=r"no query 'x' is known.*the registry was not asked: "):
        run(kafka, "ack", "--query", "x", "--redis", nowhere)


def test_unshelved_alert_of_a_shelved_query_is_told(kafka: KafkaSettings) -> None:
    """The alert calls for nothing before the query's shelving ends, which its operator is told, with the way out."""
    alert = make_alert(1)
    publish(kafka, alert.model_dump_json().encode())
    until = datetime.now(UTC) + timedelta(hours=1)
    publish_state(kafka, "line-1", "q", Shelf(by="mia [/x]", until=until))
    shown = run(kafka, "unshelve", alert.id, "--by", "tom")
    assert f"its query stays shelved until {until:%Y-%m-%d %H:%M:%S}Z (by mia [/x])" in shown
    assert "`simvg alerts unshelve --query q --camera line-1` ends that" in shown
    publish_state(kafka, "line-1", "q")
    assert "stays shelved" not in run(kafka, "unshelve", alert.id)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ack",), "nothing is left to do"),
        (("shelve",), "nothing is left to do"),
        (("unshelve",), "kept; the alert is closed, its timeline does not change"),
        (("comment", "late [/words]"), "kept; the alert is closed, its timeline does not change"),
        (("verdict", "false"), "kept; the alert is closed, its timeline does not change"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_comes_after_the_close_is_said_to_be_late(
    kafka: KafkaSettings, arguments: tuple[str, ...], says: str
) -> None:
    """It is kept, and read by `simvg why`; the timeline of the alert does not tell of it."""
    alert = make_alert(1, state=AlertState.CLOSED)
    publish(kafka, alert.model_dump_json().encode())
    kind, *words = arguments
    assert says in run(kafka, kind, alert.id, *words, "--by", "mia")
    (action,) = read_actions(kafka, alert.id, client_id="test")
    assert (action.kind, action.alert_id) in {(k, alert.id) for k in ActionKind}


def test_actions_on_one_alert_are_read_by_its_id(kafka: KafkaSettings) -> None:
    """In the order of their times, each once; garbage, and what is about others, is left out."""
    second, first = make_action(2, at=AT + timedelta(seconds=1)), make_action(1, kind="comment", comment="x")
    for action in (second, first, second, make_action(3, alert_id="a-10"), make_action(4, query_id="a-1")):
        publish_action(kafka, action)
    with Publisher(kafka, client_id="test") as publisher:
        publisher.send(topic_name(kafka.prefix, "operator-actions"), key=b"a-1", value=b"garbage")
    assert read_actions(kafka, "a-1", client_id="test") == [first, second]


def test_words_with_brackets_are_shown_as_they_are(kafka: KafkaSettings) -> None:
    """Names and the words of a query are no markup of the terminal."""
    alert = make_alert(1).model_copy(update={"query": AlertQuery(id="q", text="bolt [/bold] [red]", revision=1)})
    publish(kafka, alert.model_dump_json().encode())
    shown = run(kafka, "comment", alert.id, "seen", "--by", "[/mia]")
    assert "“bolt [/bold] [red]”" in shown and "by [/mia]" in shown


def test_verdict_carries_corrected_boxes(kafka: KafkaSettings) -> None:
    """A verdict says what was right, with boxes where they were wrong; a word that is none is refused."""
    alert = make_alert(1)
    publish(kafka, alert.model_dump_json().encode())
    run(kafka, "verdict", alert.id, "false", "--box", "0.1,0.2,0.3,0.4", "--by", "mia")
    (action,) = published(kafka)
    assert (action.kind, action.verdict, action.boxes) == (ActionKind.VERDICT, "false", ((0.1, 0.2, 0.3, 0.4),))
    with pytest.raises(BadOperatorAction, match="'true', 'false' or 'unsure'"):
        run(kafka, "verdict", alert.id, "maybe")


@pytest.mark.parametrize("text", ["soon", "0m", "25h", "-3m", "99999999999999h", "9" * 400 + "h"])
def test_span_without_sense_is_refused(text: str) -> None:
    """A shelving has an end, within a day."""
    with pytest.raises(BadOperatorAction, match=f"--for '{text}'"):
        parse_span(text)


def test_action_needs_one_target(kafka: KafkaSettings) -> None:
    """An alert or a query, not both and not none."""
    with pytest.raises(BadOperatorAction, match="say what it is about"):
        run(kafka, "ack")


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"by": "x" * 101}, r"^--by 'x+': String should have at most 100 characters$"),
        ({"comment": "y" * 2001}, r"^--comment 'y+': String should have at most 2000 characters$"),
        ({"kind": ActionKind.COMMENT, "comment": "  "}, "a comment has no words"),
        ({"kind": ActionKind.VERDICT, "verdict": "maybe"}, "^VERDICT 'maybe': Input should be 'true', 'false' or 'un"),
        ({"alert_id": None, "query_id": "red thing"}, "^'red thing' is no valid id: use"),
        ({"kind": ActionKind.FORGET, "alert_id": None, "query_id": "camera-blind", "by": "x" * 101}, "--by"),
    ],
    ids=["long name", "long comment", "no words", "no verdict", "no id", "forget"],
)
def test_what_an_action_cannot_keep_is_named(facts: dict[str, Any], says: str) -> None:
    """The option, what it was given, and what is right."""
    given = {"kind": ActionKind.ACKNOWLEDGE, "by": "mia", "comment": None, "at": AT, "alert_id": "a-1"} | facts
    with pytest.raises(BadOperatorAction, match=says):
        new_action(**given)


@pytest.mark.parametrize("fails", [KeyError("getpwuid(): uid not found: 4321"), OSError("no user name")])
def test_who_has_no_login_name_is_asked_for_one(fails: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number; a name that is given, or blanks in place of one, are no matter."""

    def nobody() -> str:
        raise fails

    monkeypatch.setattr("getpass.getuser", nobody)
    assert new_action(ActionKind.ACKNOWLEDGE, by="mia", comment=" ", at=AT, alert_id="a-1").comment is None
    for by in (None, "", "  "):
        with pytest.raises(BadOperatorAction, match=r"no name for its user \d+; write --by NAME"):
            new_action(ActionKind.ACKNOWLEDGE, by=by, comment=None, at=AT, alert_id="a-1")


def test_no_id_is_the_beginning_of_none(kafka: KafkaSettings) -> None:
    """A shell's variable that is not set is not taken for the only alert that is kept."""
    publish(kafka, make_alert(1).model_dump_json().encode())
    with pytest.raises(UnknownAlert, match="'' is no id of an alert"):
        run(kafka, "ack", "", "--by", "mia")


def test_oversized_action_is_refused_unparsed() -> None:
    """A message of more than 64,000 bytes is named with its size."""
    with pytest.raises(BadOperatorAction, match=r"has 70000 bytes; an action has at most 64000"):
        parse_action(b"[" * 70_000)


def test_a_verdict_is_told_with_its_boxes() -> None:
    """By `simvg why`: what was drawn last is what `simvg alerts collect` goes by."""
    drawn = make_action(1, kind="verdict", verdict="true", boxes=((0.1, 0.2, 0.35, 0.4), (0.5, 0.5, 1, 1)))
    assert "verdict[/] true (0.1, 0.2, 0.35, 0.4) (0.5, 0.5, 1, 1) by mia" in _action_line(drawn)
