"""How a worker ends when it is told to: within ten seconds, whatever is away, with nothing lost."""

from __future__ import annotations

import re
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import TopicPartition

from consumers.grounding.ending import Deadline, end
from consumers.grounding.settings import WorkerSettings
from infra.broker import LocalBroker
from infra.kafka_client import client_config
from infra.process import free_port
from infra.settings import KafkaSettings, RedisSettings
from infra.topics import create_topics, topic_name
from infra.transactions import Sent, TransactionalPublisher
from tests.consumers.grounding.conftest import Line
from tests.consumers.grounding.test_faults import spawn

LIMIT = 10.0
"""Container platforms kill what has not ended by then."""


@pytest.fixture
def own_line(
    broker: LocalBroker, redis_settings: RedisSettings, tmp_path: Path, until: Callable[..., None]
) -> Iterator[Line]:
    """A line on a broker of its own; results wait for five seconds before they are written, unless they are urgent."""
    kafka = KafkaSettings(bootstrap=broker.settings.bootstrap, prefix="s", partitions=2)
    create_topics(kafka)
    changes: dict[str, object] = {"drain_s": WorkerSettings().drain_s, "commit_interval_s": 5.0}
    found = Line(kafka, redis_settings, tmp_path, until, changes=changes | {"telemetry": {"metrics_port": free_port()}})
    yield found
    found.close()


def waiting(line: Line) -> int:
    """Frames whose results the worker holds."""
    port = line.settings().telemetry.metrics_port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        found = re.search(rb"^simvg_worker_outbox_works (\S+)$", answer.read(), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def seconds_to_end(worker: subprocess.Popen[bytes]) -> float:
    """Tells it to end, as platforms do; how long that took."""
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(120)
    return time.monotonic() - began


def started(line: Line, until: Callable[..., None], name: str) -> subprocess.Popen[bytes]:
    """A worker process that has raised the alert of four red frames, and holds the results of six more."""
    worker, camera = spawn(line, line.folder, name), line.camera()
    camera.play("rrrr")
    until(lambda: [str(alert.state) for alert in line.alerts()] == ["raised"], 120)
    camera.play("rrrrrr")
    until(lambda: waiting(line) >= 6, 120)
    return worker


def sequences(line: Line) -> Counter[int]:
    """How often each frame has results."""
    return Counter(found.frame.sequence for found in line.detections())


@pytest.mark.timeout(400)
def test_stop_writes_what_is_in_flight(own_line: Line, tmp_path: Path, until: Callable[..., None]) -> None:
    """Results that were still waiting are committed within the time, each once, and the next worker repeats none."""
    own_line.add("red")
    worker = started(own_line, until, "w0")
    try:
        took = seconds_to_end(worker)
    finally:
        worker.kill()
    said = (tmp_path / "w0.log").read_text()
    assert worker.returncode == 0 and took < LIMIT, said
    assert sequences(own_line) == dict.fromkeys(range(10), 1)
    assert "not committed" not in said
    second = own_line.start()
    own_line.camera().send()
    own_line.wait_for_frames(second, 1)
    assert second.totals.fetched == 1


@pytest.mark.parametrize("away", ["killed", "silent"])
@pytest.mark.timeout(600)
def test_stop_without_a_broker_is_in_time_and_says_what_was_not_committed(
    own_line: Line, broker: LocalBroker, tmp_path: Path, until: Callable[..., None], away: str
) -> None:
    """The broker loses its power, or takes packets and answers none: the worker ends all the same, and the next one
    does again what this one could not commit."""
    own_line.add("red")
    pid = broker.process.pid
    assert pid is not None
    worker = started(own_line, until, "w0")
    try:
        if away == "silent":
            psutil.Process(pid).suspend()
        else:
            broker.stop(kill=True)
        took = seconds_to_end(worker)
    finally:
        worker.kill()
        if away == "silent":
            psutil.Process(pid).resume()
        else:
            broker.start()
    said = (tmp_path / "w0.log").read_text()
    assert worker.returncode == 0 and took < LIMIT, said
    # The transaction with the alert may still wait for the broker's word, though all can read it.
    assert re.search(r"results of [67] frames were not committed; they are done again by the next worker", said), said
    assert "Traceback" not in said, said
    own_line.start()
    until(lambda: sequences(own_line) == dict.fromkeys(range(10), 1), 120)
    assert [str(alert.state) for alert in own_line.alerts()] == ["raised"]


@pytest.mark.parametrize("left_open", ["offsets", "alarm states"])
@pytest.mark.timeout(400)
def test_stop_while_another_s_transaction_is_waited_for_is_in_time(
    own_line: Line, tmp_path: Path, until: Callable[..., None], left_open: str
) -> None:
    """A worker that takes cameras over waits until what their last owner has left open is settled; told to stop in
    the meantime, it does."""
    own_line.add("red")
    frames, group = topic_name("s", "frames"), own_line.settings().group
    own_line.camera().play("r")
    member = KafkaConsumer(client_config(own_line.kafka, client_id="last") | {"group.id": group})
    owner = TransactionalPublisher(
        own_line.kafka, transactional_id="last", client_id="last", given_up=lambda: False, timeout_s=120.0
    )
    owner.begin()
    if left_open == "offsets":
        offsets = [TopicPartition(frames, number, 0) for number in range(2)]
        owner._open().send_offsets_to_transaction(offsets, member.consumer_group_metadata(), 60.0)
    else:
        owner.send(Sent(), topic_name("s", "alarm-state"), key=b"k", value=b"v")
        owner.flush()
    worker, log = spawn(own_line, tmp_path, "w0"), tmp_path / "w0.log"
    awaited = "committed offsets cannot be read yet" if left_open == "offsets" else "partitions assigned"
    try:
        until(lambda: awaited in log.read_text(), 120)
        took = seconds_to_end(worker)
    finally:
        worker.kill()
        member.close()
    said = log.read_text()
    assert worker.returncode == 0 and took < LIMIT, said
    assert "told to stop while partitions were being taken over" in said
    assert "alarm states restored" not in said or left_open == "offsets"


def test_waits_share_one_deadline() -> None:
    """What hangs takes the time that is left and no more."""
    told: list[tuple[str, float]] = []
    now = [0.0]

    def part(name: str, takes: float) -> Callable[[float], None]:
        def stop(seconds: float) -> None:
            told.append((name, seconds))
            now[0] += min(takes, seconds)

        return stop

    by = Deadline(9.0, clock=lambda: now[0])
    now[0] = 6.0
    end(by, [], [part("quick", 1.0), part("hangs", 99.0), part("last", 99.0)])
    assert told == [("quick", 3.0), ("hangs", 2.0), ("last", 0.0)]
    assert by.left == 0.0 and by.passed == 9.0
