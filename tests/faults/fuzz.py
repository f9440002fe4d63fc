"""Thousands of broken inputs through a whole worker: `python -m tests.faults.fuzz --inputs 10000 --seed 7`.

Frames, headers, keys, operator actions and stored queries are mutated at random, and the model gives no numbers at
times. The worker must go on with all its threads, count every input once, keep every refused frame, do what readable
actions say, ask the good queries, and still judge the good frames among them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import redis
import typer
from prometheus_client import REGISTRY

from consumers.actions import parse_action, publish_action
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from consumers.grounding.worker import Worker
from infra.broker import LocalBroker
from infra.cloudevents import event_headers
from infra.contracts import ActionKind, OperatorAction, State, utc_from_ns
from infra.errors import BadOperatorAction
from infra.kafka import Publisher
from infra.process import free_port
from infra.queries import QueryRegistry
from infra.redis_server import LocalRedis
from infra.schedule import Schedule
from infra.settings import KafkaSettings, RedisSettings
from infra.topics import create_topics, topic_name
from tests.consumers.grounding.colour import ColourEngine
from tests.consumers.grounding.conftest import Line
from tests.faults.mutations import NAN, Mutator
from tests.faults.plant import wait
from tests.faults.script import Shot

REPOSITORY = Path(__file__).resolve().parents[2]
GOOD_EVERY, ACTION_EVERY, QUERY_EVERY, COUNTER_EVERY = 20, 5, 50, 500
PATIENCE_S = 60.0


@dataclass
class Outcome:
    """What came of a fuzz run. ``mistaken``: what was read otherwise than it was meant to be."""

    sent: int
    fetched: int
    scored: int
    skipped: int
    rejected: int
    kept: int
    unknown: int
    good_sent: int
    good_scored: int
    transitions: list[str]
    actions: int
    actions_read: int
    actions_refused: int
    actions_known: int
    queries: int
    queries_used: int
    queries_refused: int
    mistaken: list[str] = field(default_factory=list)
    threads: Mapping[str, str] = field(default_factory=dict)

    @property
    def fault(self) -> str | None:
        """What is wrong, or None."""
        faults = {
            "frames are not all counted once": self.fetched == self.sent == self.scored + self.skipped + self.rejected,
            "refused frames are not all kept": self.kept == self.rejected,
            "good frames among them were not all judged": self.good_scored == self.good_sent,
            "operators' actions are not all counted once": self.actions == self.actions_read + self.actions_refused,
            "a readable action was not applied": self.transitions == ["raised", "acknowledged"],
            "stored queries are not all used or refused": self.queries == self.queries_used + self.queries_refused,
            f"read otherwise than meant: {self.mistaken[:5]}": not self.mistaken,
            f"threads: {self.threads}": not self.threads,
        }
        return next((said for said, holds in faults.items() if not holds), None)


class Numberless(ColourEngine):
    """Gives no numbers for bright pictures."""

    def _find(self, view: Pixels, text: str) -> Finding:
        return Finding(State.ABSENT, NAN) if view.min() > 180 else super()._find(view, text)


def _total(name: str) -> float:
    """A metric of this process, over all its labels."""
    return sum(
        sample.value for metric in REGISTRY.collect() for sample in metric.samples if sample.name == f"simvg_{name}"
    )


class Operators:
    """Sends actions, and knows how they are to be read."""

    def __init__(self, line: Line, publisher: Publisher, mutator: Mutator) -> None:
        self._line, self._publisher, self._mutator = line, publisher, mutator
        self._topic = topic_name(line.kafka.prefix, "operator-actions")
        self._before = self._read()
        self.sent, self.readable, self.ids = 0, 0, set[str]()
        self.mistaken: list[str] = []

    def send(self, number: int) -> None:
        value, good = self._mutator.action(number)
        headers = event_headers("operator-actions", id=f"x-{number}", source="/operators")
        key = self._mutator.chance.choice([b"a-1", b"", b"\xff"])
        headers = self._mutator.action_headers(headers)
        self._publisher.send(self._topic, key=key, value=value, headers=headers)
        self.sent += 1
        try:
            self.ids.add(parse_action(value, headers).id)
            self.readable += 1
            readable = True
        except BadOperatorAction:
            readable = False
        if good not in (None, readable):
            self.mistaken.append(f"action {value.decode(errors='replace')[:200]}")

    def _read(self) -> tuple[float, float]:
        return _total("worker_operator_actions_total"), _total("worker_operator_actions_unreadable_total")

    @property
    def counted(self) -> tuple[int, int]:
        """Actions that the worker has read, and messages that it could not read."""
        now = self._read()
        return int(now[0] - self._before[0]), int(now[1] - self._before[1])


class Store:
    """Writes to the registry as somebody who knows nothing of it."""

    def __init__(self, line: Line, mutator: Mutator, sound: str) -> None:
        self._line, self._mutator, self._sound = line, mutator, sound
        self._client = redis.Redis.from_url(line.redis.url)
        self._names = [f"{line.redis.prefix}:queries{part}" for part in ("", ":changes", ":revision")]
        self._meant: dict[str, bool | None] = {}
        self._before = _total("queries_broken_total")

    def write(self, number: int) -> None:
        id = f"stored-{number}"
        value, self._meant[id] = self._mutator.query(self._sound, id)
        self._client.hset(self._names[0], id, value)
        self._tell()

    def spoil_counter(self) -> None:
        """The registry's own counter is overwritten, and soon after set right again."""
        self._client.set(self._names[2], self._mutator.chance.choice([b"x", b"-1", b"9" * 400, b""]))
        self._tell()

    def mend_counter(self) -> None:
        self._client.set(self._names[2], 1000)
        self._tell()

    def _tell(self) -> None:
        self._client.xadd(self._names[1], {"revision": self._mutator.chance.choice(["x", "-1", "7"])})

    def settle(self, worker: Worker) -> tuple[int, int, int, list[str]]:
        """Queries written, used and refused, and those read otherwise than meant, when the worker knows them all."""
        self.mend_counter()

        def used() -> set[str]:
            return set(worker.plan.queries) & set(self._meant)

        def refused() -> int:
            return int(_total("queries_broken_total") - self._before)

        wait(lambda: len(used()) + refused() >= len(self._meant), PATIENCE_S, "every stored query is used or refused")
        counted = len(self._meant), len(used()), refused()
        registry = QueryRegistry(self._line.redis)
        found = registry.snapshot()
        registry.close()
        broken = {one.id for one in found.broken}
        mistaken = [f"query {id}" for id, good in self._meant.items() if good is not None and good != (id in used())]
        mistaken += [f"query {id} is used and refused" for id in broken & used()]
        return *counted, mistaken


def run_fuzz(line: Line, inputs: int, seed: int) -> Outcome:
    """Sends ``inputs`` broken messages and some good ones through a worker of this line."""
    mutator = Mutator(seed)
    good = line.add("red", id="good", cameras=("good",), latch=True)
    line.add("red", id="any", cameras=("fuzz-*",), schedule=Schedule.parse("00:00-24:00 Pacific/Kiritimati"))
    worker = line.start(Numberless())
    frames, good_sent = topic_name(line.kafka.prefix, "frames"), 0
    with Publisher(line.kafka, client_id="fuzz") as publisher:

        def send_good() -> None:
            shot = Shot("good", "e0", good_sent, frozenset({("green", 0), ("red", 0)}), broken=False)
            publisher.send(**shot.message(line.kafka, time.time_ns()))  # type: ignore[arg-type]

        operators, store = Operators(line, publisher, mutator), Store(line, mutator, good.model_dump_json())
        for number in range(inputs):
            key, value, headers = mutator.frame(number)
            publisher.send(frames, key=key, value=value, headers=headers)  # type: ignore[arg-type]  # no key: a fault too
            if number % GOOD_EVERY == 0:
                send_good()
                good_sent += 1
            if number % ACTION_EVERY == 0:
                operators.send(number)
            if number % QUERY_EVERY == 0:
                store.write(number)
            if number % COUNTER_EVERY == COUNTER_EVERY // 2:
                store.spoil_counter()
            if number % COUNTER_EVERY == COUNTER_EVERY // 2 + 10:
                store.mend_counter()
            publisher.poll(0)
        undelivered = publisher.flush(60)
        assert undelivered == 0, f"{undelivered} messages were not published"

        def dealt_with() -> bool:
            assert not line.failures, f"the worker ended: {line.failures}"
            return worker.totals.fetched >= inputs + good_sent and worker.totals.in_flight == 0

        wait(dealt_with, PATIENCE_S + inputs / 10, "every input is dealt with")
        queries = store.settle(worker)
        wait(lambda: sum(operators.counted) >= operators.sent, PATIENCE_S, "every action is read or refused")
        counted = operators.counted
        wait(lambda: bool(line.alerts("good")), PATIENCE_S, "an alert of the good camera is raised")
        (alert,) = line.alerts("good")
        at = utc_from_ns(time.time_ns())
        publish_action(
            line.kafka, OperatorAction(id="ack", kind=ActionKind.ACKNOWLEDGE, at=at, by="Ada", alert_id=alert.id)
        )
        wait(lambda: sum(operators.counted) > operators.sent, PATIENCE_S, "the worker knows of it")
        send_good()
        good_sent += 1
        publisher.flush(60)
        wait(dealt_with, PATIENCE_S, "the last frame is dealt with")
        threads = {name: said for name, said in worker.threads().items() if said is not None}
        if worker.health() is not None or not worker.queries_known:
            threads["worker"] = str(worker.health())
        known = int(_total("worker_operator_actions_kept"))
    line.stop(worker)
    totals, found = worker.totals, line.detections()
    return Outcome(
        sent=inputs + good_sent,
        fetched=totals.fetched,
        scored=totals.scored,
        skipped=sum(totals.skipped.values()),
        rejected=sum(totals.rejected.values()),
        kept=len(line.messages("frames-rejected")),
        unknown=sum(any(result.state is State.UNKNOWN for result in one.results) for one in found),
        good_sent=good_sent,
        good_scored=sum(one.camera == "good" for one in found),
        transitions=[str(alert.state) for alert in line.alerts("good")],
        actions=operators.sent,
        actions_read=counted[0],
        actions_refused=counted[1],
        actions_known=known,
        queries=queries[0],
        queries_used=queries[1],
        queries_refused=queries[2],
        mistaken=[*operators.mistaken, *queries[3], *_miscounted(operators, counted, known)],
        threads=threads,
    )


def _miscounted(operators: Operators, counted: tuple[int, int], known: int) -> list[str]:
    """Where the worker has read other actions than the contract allows."""
    wanted = {"read": operators.readable, "different": len(operators.ids | {"ack"})}
    found = {"read": counted[0], "different": known}
    return [f"{found[what]} actions {what}, not {number}" for what, number in wanted.items() if found[what] != number]


def main(
    inputs: Annotated[
        int, typer.Option(help="Broken frames; every tenth comes with a broken operator action.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="What is broken, and how.")] = 7,
) -> None:
    """Ends with 1 when the worker ends, a partition gets stuck, or an input is not counted and kept."""
    with tempfile.TemporaryDirectory(prefix="simvg-fuzz-") as name:
        folder = Path(name)
        cache = REPOSITORY / ".cache"
        broker = LocalBroker(folder / "broker", port=free_port(), controller_port=free_port(), cache_dir=cache)
        server = LocalRedis(folder / "redis", port=free_port())
        try:
            broker.start()
            server.start()
            kafka = KafkaSettings(bootstrap=broker.settings.bootstrap, partitions=2)
            create_topics(kafka)
            line = Line(
                kafka,
                RedisSettings(url=server.url),
                folder,
                lambda condition, seconds=60.0: wait(condition, seconds, "the worker is ready"),
            )
            try:
                outcome = run_fuzz(line, inputs, seed)
            finally:
                line.close()
        finally:
            broker.stop(kill=True)
            server.stop(kill=True)
    typer.echo(f"{outcome}: {outcome.fault or 'every input counted and kept'}")
    sys.exit(1 if outcome.fault else 0)


app = typer.Typer(pretty_exceptions_enable=False)
app.command()(main)

if __name__ == "__main__":
    app()
