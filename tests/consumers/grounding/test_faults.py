"""What happens when a part is away: nothing is lost without a count, and every alert arrives once it can."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from consumers.grounding.work import Outgoing, Work
from infra.broker import LocalBroker
from infra.contracts import AlertState
from infra.errors import ProducerFenced
from infra.redis_server import LocalRedis
from infra.settings import KafkaSettings, RedisSettings
from infra.topics import create_topics
from tests.consumers.grounding.colour import ColourEngine
from tests.consumers.grounding.conftest import Line

REPOSITORY = Path(__file__).resolve().parents[3]


def spawn(line: Line, folder: Path, name: str, **changes: object) -> subprocess.Popen[bytes]:
    """A worker in a process of its own, which can be killed."""
    command = [sys.executable, "-m", "tests.consumers.grounding.colour_worker"]
    settings = line.settings(worker_id=name, **changes).model_dump_json()
    settings = settings.replace(line.redis.shown_url, line.redis.url)
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen([*command, settings], cwd=REPOSITORY, stdout=log, stderr=log)


def distinct(line: Line) -> list[tuple[str, str, int]]:
    """Transitions, repeated deliveries of the same one counted once: camera, state, sequence of the onset."""
    return sorted({(a.camera, str(a.state), a.onset.sequence) for a in line.alerts()})


def test_killed_worker_loses_no_alert(line: Line, tmp_path: Path) -> None:
    """kill -9 at any moment: the next worker goes on with the open alert and pending counts; ids stay the same."""
    line.add("red")
    camera = line.camera()
    script = "..rrrrr....rr.rrrr.rr....rrrrrrrr"
    expected = [
        ("cleared", 2),
        ("cleared", 14),
        ("closed", 2),
        ("closed", 14),
        ("raised", 2),
        ("raised", 14),
        ("raised", 25),
    ]
    worker = spawn(line, tmp_path, "k0")
    try:
        for number, letter in enumerate(script):
            camera.play(letter)
            if number in (3, 6, 12, 17, 26):  # pending, raised, pending, raised, pending
                line.until(lambda done=number: len(line.detections()) > done - 2, 60)
                worker.kill()
                worker.wait()
                worker = spawn(line, tmp_path, f"k{number}")
        line.until(lambda: len(distinct(line)) >= len(expected), 90)
    finally:
        worker.kill()
        worker.wait()
    assert [(state, onset) for _, state, onset in distinct(line)] == expected
    ids = {a.onset.sequence: a.id for a in line.alerts()}
    assert all(a.id == ids[a.onset.sequence] for a in line.alerts())


@pytest.mark.parametrize("static", [True, False])
def test_static_member_that_restarts_moves_no_partition(static: bool, line: Line, tmp_path: Path) -> None:
    """Within its session time-out it finds its own cameras again, and the other worker hears nothing of it."""
    cameras = [line.camera(f"line-{number}") for number in range(6)]
    line.add("red")
    changes: dict[str, object] = {"static_member": static, "session_timeout_s": 45.0}
    folders = {name: tmp_path / name for name in ("first", "stays", "again")}
    for folder in folders.values():
        folder.mkdir()

    def given(where: str, name: str) -> int:
        """How often a worker was given partitions, or lost some."""
        path = folders[where] / f"{name}.log"
        return path.read_bytes().count(b"partitions ") if path.exists() else 0

    def round_of_frames(number: int) -> None:
        for camera in cameras:
            camera.play("r")
        line.until(lambda: len(line.detections()) == number * len(cameras), 90)

    workers = [spawn(line, folders["first"], "s1", **changes)]
    try:
        line.until(lambda: given("first", "s1") > 0, 60)
        before = given("first", "s1")
        workers.append(spawn(line, folders["stays"], "s2", **changes))
        line.until(lambda: given("stays", "s2") > 0 and given("first", "s1") > before, 90)
        round_of_frames(1)
        told = given("stays", "s2")
        workers[0].send_signal(signal.SIGTERM)
        assert workers[0].wait(20) == 0
        workers[0] = spawn(line, folders["again"], "s1", **changes)
        line.until(lambda: given("again", "s1") > 0, 90)
        round_of_frames(2)
        assert (given("stays", "s2") == told) is static
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_stopped_worker_leaves_nothing_to_do_again(line: Line, tmp_path: Path) -> None:
    """SIGTERM ends within seconds; what was done is committed, and the next worker reads none of it again."""
    line.add("red")
    worker = spawn(line, tmp_path, "s0")
    camera = line.camera()
    try:
        camera.play("rrrr")
        line.wait_for_alerts("raised")
        line.until(lambda: len(line.detections()) == 4)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(15) == 0
    finally:
        worker.kill()
    second = line.start()
    camera.play("...")
    line.wait_for_alerts("raised", "cleared", "closed")
    assert second.totals.fetched == 3


def test_two_workers_share_the_cameras(line: Line) -> None:
    """A second worker takes some partitions over; alerts open at the hand-over go on under the same id."""
    line.add("red")
    cameras = [line.camera(f"line-{n}") for n in range(8)]
    first = line.start()
    for camera in cameras:
        camera.play("rrr")
    line.until(lambda: Counter(a.state for a in line.alerts()) == {"raised": 8})
    second = line.start()
    line.until(lambda: first.partitions and second.partitions, 60)
    assert first.partitions | second.partitions == {0, 1} and not first.partitions & second.partitions
    for camera in cameras:
        camera.play("..")
    line.until(lambda: Counter(a.state for a in line.alerts()) == {"raised": 8, "cleared": 8, "closed": 8})
    assert len({a.id for a in line.alerts()}) == 8
    assert first.totals.scored and second.totals.scored
    line.stop(second)
    line.until(lambda: first.partitions == {0, 1}, 60)
    for camera in cameras:
        camera.play("rrr")
    line.until(lambda: Counter(a.state for a in line.alerts())[AlertState.RAISED] == 16)


@pytest.fixture
def own_kafka(broker: LocalBroker) -> KafkaSettings:
    settings = KafkaSettings(bootstrap=broker.settings.bootstrap, prefix="f", partitions=2)
    create_topics(settings)
    return settings


@pytest.mark.timeout(600)
def test_broker_restart_loses_nothing(
    own_kafka: KafkaSettings,
    broker: LocalBroker,
    redis_settings: RedisSettings,
    tmp_path: Path,
    until: Callable[..., None],
) -> None:
    """A power cut of the broker in mid-run: the worker waits and goes on; no frame is lost, no alert doubled."""
    line = Line(own_kafka, redis_settings, tmp_path, until)
    try:
        line.add("red")
        worker = line.start()
        camera = line.camera()
        camera.play("..rrr")
        line.wait_for_alerts("raised")
        broker.stop(kill=True)
        time.sleep(2)
        broker.start()
        camera.play("rr....rrr")
        until(lambda: len(distinct(line)) == 4, 60)
        assert distinct(line) == [
            ("line-1", "cleared", 2),
            ("line-1", "closed", 2),
            ("line-1", "raised", 2),
            ("line-1", "raised", 11),
        ]
        until(lambda: {d.frame.sequence for d in line.detections()} == set(range(14)))
        assert worker.totals.balanced
    finally:
        line.close()


def test_broker_away_at_start_is_waited_for(
    stopped_broker: LocalBroker, redis_settings: RedisSettings, tmp_path: Path, until: Callable[..., None]
) -> None:
    """A worker started before Kafka says that it waits, and works as soon as the broker and its topics are there."""
    kafka = KafkaSettings(bootstrap=stopped_broker.settings.bootstrap, prefix="f", partitions=2)
    line = Line(kafka, redis_settings, tmp_path, until)
    try:
        line.add("red")
        worker = line.start(wait=False)
        time.sleep(1.5)
        assert worker.health() == "worker is starting: waiting for Kafka"
        stopped_broker.start()
        create_topics(kafka)
        until(lambda: worker.partitions or line.failures, 60)
        assert line.failures == []
        assert worker.health() is None
        line.camera().play("rrr")
        line.wait_for_alerts("raised")
    finally:
        line.close()


def test_redis_away_in_mid_run_changes_nothing(
    kafka: KafkaSettings, redis_server: LocalRedis, tmp_path: Path, until: Callable[..., None]
) -> None:
    """While Redis is away the known queries stand; changes made after its return are taken over."""
    line = Line(kafka, RedisSettings(url=redis_server.url, timeout_s=0.5), tmp_path, until)
    try:
        line.add("red")
        worker = line.start()
        until(lambda: worker.plan.active)
        redis_server.stop()
        camera = line.camera()
        camera.play("rrr")
        line.wait_for_alerts("raised")
        redis_server.start()
        line.add("green")
        until(lambda: len(worker.plan.active) == 2)
        camera.play("ggg")
        until(lambda: {a.query.id for a in line.alerts()} == {"red", "green"})
    finally:
        line.close()


def test_redis_away_at_start_uses_the_last_known_queries(
    kafka: KafkaSettings, redis_server: LocalRedis, tmp_path: Path, until: Callable[..., None]
) -> None:
    """A worker that starts without Redis takes the queries from its cache, and closes no alert for want of them."""
    line = Line(kafka, RedisSettings(url=redis_server.url, timeout_s=0.5), tmp_path, until)
    try:
        line.add("red")
        first = line.start()
        camera = line.camera()
        camera.play("rrr")
        line.wait_for_alerts("raised")
        line.stop(first)
        redis_server.stop()
        line.start()
        camera.play("..")
        line.wait_for_alerts("raised", "cleared", "closed")
    finally:
        line.close()


def test_no_registry_and_no_cache_closes_nothing(
    kafka: KafkaSettings, redis_server: LocalRedis, tmp_path: Path, until: Callable[..., None]
) -> None:
    """A new machine that cannot reach the registry knows no query: that is no order to close open alerts."""
    line = Line(kafka, RedisSettings(url=redis_server.url, timeout_s=0.5), tmp_path, until)
    try:
        line.add("red")
        first = line.start()
        camera = line.camera()
        camera.play("rrr")
        line.wait_for_alerts("raised")
        line.stop(first)
        redis_server.stop()
        second = line.start(ColourEngine(), cache_dir=tmp_path / "empty")
        camera.play("..")
        line.wait_for_frames(second, 2)
        assert second.totals.skipped == {"no_query": 2}
        line.wait_for_alerts("raised")
        redis_server.start()
        until(lambda: second.plan.active)
        camera.play("..")
        line.wait_for_alerts("raised", "cleared", "closed")
    finally:
        line.close()


def test_worker_whose_producer_failed_goes_on_while_it_polls(line: Line) -> None:
    """Held up past its time-out, its producer is fenced: it finds out what counts, although it polls all the time."""
    line.add("red")
    worker = line.start(transaction_timeout_s=2.0, worker_id="held-up")
    settings, partition = line.settings(worker_id="held-up"), min(worker.partitions)
    name = "/".join(("simvg", line.kafka.prefix, settings.group, "held-up"))
    calls: list[object] = []

    def messages(places: object) -> list[Outgoing]:
        calls.append(places)
        if len(calls) == 1:
            other = Producer({"bootstrap.servers": line.kafka.bootstrap, "transactional.id": name})
            other.init_transactions(30)  # as the broker does after the time-out
            line.until(lambda: worker.backed_up is not None)
        return [Outgoing.json("detections", key="line-1", value="{}", id="1", source="/cameras/line-1")]

    picture = Outgoing.image("evidence", key="a", value=b"jpeg", id="a/1", source="/cameras/line-1", part="frame")
    lease = worker._commits.lease(partition)
    worker._outbox.put(Work(partition=partition, lease=lease, offset=None, messages=messages, evidence=(picture,)))
    line.until(lambda: line.messages("detections") or line.failures, 30)
    assert not line.failures
    assert [value for *_, value, _ in line.messages("evidence")] == [b"jpeg"]
    assert len(calls) == 2
    assert worker.backed_up is None
    line.camera().play("rrrr")
    line.wait_for_alerts("raised")


def test_restarted_worker_ends_what_its_last_life_left_open(line: Line) -> None:
    """A worker killed inside a transaction and started again waits for no time-out: it undoes what it left itself."""
    line.add("red")
    killed = line.leave_open(line.settings(worker_id="again", transaction_timeout_s=300.0))
    line.start(worker_id="again")
    line.camera().play("rrrr")
    line.wait_for_alerts("raised")
    with pytest.raises(ProducerFenced):
        killed.commit([], None)
