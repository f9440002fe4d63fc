"""Reading alerts, as values and at a terminal."""

from __future__ import annotations

import json
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

import simvg
from consumers.alerts import Outage, UnreadableAlert, parse_alert, read_alerts
from consumers.alerts_cli import alerts
from consumers.moments import parse_moment
from infra.broker import LocalBroker
from infra.cloudevents import event_headers
from infra.contracts import Alert, AlertState, FrameReference, Transition, alert_id
from infra.errors import BadAlertMessage, SettingsError
from infra.kafka import Publisher
from infra.settings import KafkaSettings
from infra.topics import create_topics, topic_name
from simvg import app as simvg_app


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


def test_a_list_that_was_broken_off_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the end: what was read by then is not shown as all that there is, nor that there is none."""

    def broken_off(kafka: KafkaSettings, **options: object) -> Iterator[Alert]:
        yield make_alert(1)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("consumers.alerts_cli.read_alerts", broken_off)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
    try:
        done = CliRunner().invoke(simvg_app, ["alerts", "--json"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.exit_code, done.stdout) == (130, "")


def test_ctrl_c_while_a_command_is_put_together_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback; the code is that of a shell."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["simvg", "alerts"])
    monkeypatch.setattr(simvg, "app", interrupted)
    with pytest.raises(SystemExit) as ended:
        simvg.main()
    assert ended.value.code == 130


def test_a_camera_or_query_of_no_alert_is_told_from_none_at_all(kafka: KafkaSettings) -> None:
    """A mistyped id is named with the one that may be meant, and with how many alerts there are."""
    publish(kafka, make_alert(1).model_dump_json().encode(), make_alert(2).model_dump_json().encode())
    assert "none of the 2 alerts kept is of camera 'lime-1' (did you mean 'line-1'?)" in run(
        kafka, "--camera", "lime-1"
    )
    assert "none of the 2 alerts kept is of query 'x'" in run(kafka, "--query", "x")
    both = run(kafka, "--query", "q", "--camera", "nosuch")
    assert "none of the 2 alerts kept is of camera 'nosuch' and of query 'q'" in both
    assert run(kafka, "--query", "x", "--json") == ""


def test_a_line_has_a_date_and_a_zone_that_can_be_pasted(kafka: KafkaSettings) -> None:
    """Alerts are kept for four weeks: the hour alone does not say when."""
    publish(kafka, make_alert(1).model_dump_json().encode())
    line = run(kafka)
    assert line.startswith("2026-11-23 13:37:01Z raised")
    assert parse_moment(line[:20], now=datetime.now(UTC)) == make_alert(1).raised_at


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--topic-prefix", "plant-b", "shelve", "--query", "q"], "write --topic-prefix behind 'shelve'"),
        (["--kafka", "b:9092", "ack", "a-1"], "write --kafka behind 'ack'"),
        (["--config", "b.yaml", "comment", "a-1", "words"], "write --config behind 'comment'"),
        (["--camera", "line-1", "unshelve", "--query", "q"], "write --camera behind 'unshelve'"),
        (["--json", "verdict", "a-1", "true"], "'verdict' takes no --json: leave it away"),
        (["-f", "ack", "a-1"], "'ack' takes no --follow: leave it away"),
    ],
)
def test_options_in_front_of_a_subcommand_are_refused(arguments: list[str], says: str) -> None:
    """They would say nothing to it: it would act on another plant than the one that was named."""
    done = CliRunner().invoke(simvg_app, ["alerts", *arguments])
    assert isinstance(done.exception, SettingsError)
    assert says in str(done.exception)


def test_outage_is_said_once_with_its_beginning_and_end() -> None:
    """Not a moment's silence; what is away in part says of how much."""
    said: list[str] = []
    now = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
    times = iter([now, now + 1, now + 3, now + 4, now + 5, now + 60, now + 61, now + 62, now + 70, now + 71])
    outage = Outage("broker:9092", said.append, clock=lambda: next(times))
    for silent in (0, 2, 2, 2, 2, 0, 0, 1, 1):
        outage.look(silent, of=2)
    assert said == [
        "no broker answers at broker:9092 since 2026-11-30 12:00:01Z: alerts wait until one does",
        "Kafka at broker:9092 answers again, at 2026-11-30 12:01:01Z; what came meanwhile follows",
        "no broker answers at broker:9092 since 2026-11-30 12:01:02Z: alerts on 1 of 2 partitions wait until one does",
    ]


def test_outage_is_told_beside_the_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, so that JSON piped elsewhere stays JSON."""

    def read(*_: object, say: Callable[[str], None], **__: object) -> Iterator[Alert]:
        say("no broker answers")
        yield make_alert(1)

    monkeypatch.setattr("consumers.alerts_cli.read_alerts", read)
    done = CliRunner().invoke(simvg_app, ["alerts", "--follow", "--json"])
    assert json.loads(done.stdout) == make_alert(1).model_dump(mode="json")
    assert done.stderr == "no broker answers\n"


def test_follower_hears_that_the_broker_is_away_and_back(broker: LocalBroker) -> None:
    """Who waits for alerts is told that none can come, and gets those that come afterwards."""
    kafka = KafkaSettings(bootstrap=broker.settings.bootstrap, prefix="outage", partitions=1)
    create_topics(kafka)
    stop, said, found = threading.Event(), queue.Queue[str](), queue.Queue[Alert | UnreadableAlert]()

    def follow() -> None:
        for one in read_alerts(kafka, from_beginning=True, stop=stop, say=said.put):
            found.put(one)

    following = threading.Thread(target=follow)
    following.start()
    try:
        publish(kafka, make_alert(1).model_dump_json().encode())
        assert found.get(timeout=20) == make_alert(1)
        broker.stop()
        assert f"no broker answers at {kafka.bootstrap} since 20" in said.get(timeout=20)
        broker.start()
        assert "answers again" in said.get(timeout=30)
        publish(kafka, make_alert(2).model_dump_json().encode())
        assert found.get(timeout=20) == make_alert(2)
    finally:
        stop.set()
        following.join()
    assert said.empty()
