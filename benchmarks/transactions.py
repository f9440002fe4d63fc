"""What transactions cost: frames/s with and without them in one run, and how soon an alert is visible.

    .venv/bin/python benchmarks/transactions.py

A real broker and Redis and the whole worker; the colour engine of the tests stands in for the model, so that the cost
is not hidden behind it (`--model-ms` adds a model's time per batch). The baseline is the same worker with an idempotent
producer and offsets that are committed beside the messages, not with them. Cases take turns; the ratio is the median
over the rounds. Writes docs/benchmarks/transactions.md.
"""

from __future__ import annotations

import argparse
import functools
import os
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Producer, TopicPartition

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import command, machine, positive, write  # noqa: E402  # the repository is on the path only now
from consumers.alerts import read_alerts  # noqa: E402
from consumers.grounding.cameras import CameraLimits  # noqa: E402
from consumers.grounding.settings import WorkerSettings  # noqa: E402
from consumers.grounding.worker import Worker  # noqa: E402
from infra.broker import LocalBroker  # noqa: E402
from infra.consumer import Consumer  # noqa: E402
from infra.contracts import Alert, Delay, StandingQuery  # noqa: E402
from infra.kafka import Publisher  # noqa: E402
from infra.process import free_port  # noqa: E402
from infra.queries import QueryRegistry  # noqa: E402
from infra.redis_server import LocalRedis  # noqa: E402
from infra.settings import KafkaSettings, RedisSettings  # noqa: E402
from infra.topics import create_topics, delete_topics  # noqa: E402
from infra.transactions import TransactionalPublisher  # noqa: E402
from tests.consumers.grounding.colour import ColourEngine  # noqa: E402
from tests.faults.script import QUERIES, write_script  # noqa: E402

PAGE = Path("docs/benchmarks/transactions.md")
FRAMES_PER_SECOND = 20.0


class PlainPublisher(TransactionalPublisher):
    """The same without transactions: confirmed messages, then offsets."""

    def __init__(self, kafka: KafkaSettings, worker: Worker) -> None:
        super().__init__(kafka, transactional_id="none", client_id="plain", given_up=lambda: False)
        for name in ("transactional.id", "transaction.timeout.ms"):
            del self._config[name]
        self._config["enable.idempotence"] = True
        self._worker = worker
        self._offsets: queue.SimpleQueue[Sequence[TopicPartition]] = queue.SimpleQueue()
        self._polling: Consumer | None = None

    def connect(self) -> None:
        if self._producer is None:
            self._producer = Producer(self._config)

    def begin(self) -> None:
        self.connect()
        self._sent = []

    def commit(self, offsets: Sequence[TopicPartition], group: Any) -> None:
        self.flush()
        consumer = self._worker._fetcher._consumer
        assert consumer is not None
        if self._polling is not consumer:
            self._polling = consumer
            consumer.poll = functools.partial(self._poll, consumer)  # type: ignore[method-assign]
        self._offsets.put(offsets)
        self._sent = []

    def _poll(self, consumer: Consumer, seconds: float) -> Any:
        """Commits from the thread that polls: from another one the library waits for a gap in the polling."""
        while not self._offsets.empty():
            consumer.commit(self._offsets.get(), wait=False)
        return Consumer.poll(consumer, seconds)

    def abort(self) -> None:
        self._sent = []


class Bench:
    """Servers, and one worker at a time on topics of its own."""

    def __init__(self, folder: Path, model_ms: float) -> None:
        self.folder = folder
        self.model_s = model_ms / 1e3
        self.broker = LocalBroker(folder / "broker", port=free_port(), controller_port=free_port())
        self.redis = LocalRedis(folder / "redis", port=free_port())
        self.number = 0

    def plant(self) -> tuple[KafkaSettings, RedisSettings]:
        self.number += 1
        kafka = KafkaSettings(bootstrap=self.broker.settings.bootstrap, prefix=f"b{self.number}", partitions=2)
        redis = RedisSettings(url=self.redis.url, prefix=kafka.prefix)
        create_topics(kafka)
        now, registry = datetime.now(UTC), QueryRegistry(redis)
        for text in QUERIES:
            registry.add(
                StandingQuery(
                    id=text, text=text, raise_threshold=0.8, on_delay=Delay(value=3), created=now, changed=now
                )
            )
        registry.close()
        return kafka, redis

    def worker(self, kafka: KafkaSettings, redis: RedisSettings) -> Worker:
        settings = WorkerSettings(
            kafka=kafka,
            redis=redis,
            group=kafka.prefix,
            worker_id=f"w-{kafka.prefix}",
            freshness="every",
            camera_limits=(CameraLimits(frozen_s=None, blind_s=None),),
            cache_dir=self.folder / kafka.prefix,
        )
        return Worker(settings, ColourEngine(seconds_per_batch=self.model_s))

    def throughput(self, frames: int, *, transactions: bool) -> float:
        """Frames/s, from the first frame fetched to the last one committed; all frames wait in the topic before."""
        kafka, redis = self.plant()
        with Publisher(kafka, client_id="cameras") as publisher:
            for shot in write_script(self.number, 1, frames // 4, frozenset())[0]:
                publisher.send(**shot.message(kafka, time.time_ns()))  # type: ignore[arg-type]
                publisher.poll(0)
            publisher.flush(60)
        worker = self.worker(kafka, redis)
        if not transactions:
            worker._outbox._publisher = PlainPublisher(kafka, worker)
        stop, started = threading.Event(), 0.0
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        while alive(thread):
            fetched = worker.totals.fetched
            if fetched and not started:
                started = time.perf_counter()
            if fetched >= frames // 4 * 4 and worker._outbox.drain(worker.partitions, 0.05):
                break
            time.sleep(0.002)
        seconds = time.perf_counter() - started
        stop.set()
        thread.join()
        delete_topics(kafka)
        return frames / seconds

    def visibility(self, frames: int) -> list[float]:
        """Milliseconds from the decision on each alert until a reader of committed messages has it."""
        kafka, redis = self.plant()
        worker = self.worker(kafka, redis)
        decided: dict[tuple[str, int], float] = {}
        seen: dict[tuple[str, int], float] = {}
        put = worker._judge._put

        def noting(partition: int, lease: int, offset: int | None, alerts: Any, *rest: Any, **more: Any) -> None:
            now = time.perf_counter()
            decided.update({(alert.id, len(alert.timeline)): now for alert, _ in alerts})
            put(partition, lease, offset, alerts, *rest, **more)

        worker._judge._put = noting  # type: ignore[method-assign]
        stop = threading.Event()

        def read() -> None:
            for alert in read_alerts(kafka, from_beginning=True, stop=stop):
                if isinstance(alert, Alert):
                    seen[alert.id, len(alert.timeline)] = time.perf_counter()

        threads = [
            threading.Thread(target=worker.run, args=(stop,), daemon=True),
            threading.Thread(target=read, daemon=True),
        ]
        for thread in threads:
            thread.start()
        while alive(threads[0]) and (not worker.partitions or not worker.plan.active):
            time.sleep(0.05)
        with Publisher(kafka, client_id="cameras") as publisher:
            for shot in write_script(self.number, 1, frames // 4, frozenset())[0]:
                publisher.send(**shot.message(kafka, time.time_ns()))  # type: ignore[arg-type]
                publisher.poll(1 / FRAMES_PER_SECOND)
                time.sleep(1 / FRAMES_PER_SECOND)
            publisher.flush(30)
        deadline = time.monotonic() + 30
        while (worker.totals.fetched < frames // 4 * 4 or len(seen) < len(decided)) and time.monotonic() < deadline:
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join()
        assert len(seen) == len(decided), f"{len(decided)} alerts decided, {len(seen)} seen"
        return sorted((seen[one] - at) * 1e3 for one, at in decided.items())


def alive(worker: threading.Thread) -> bool:
    """True. Raises SystemExit when the worker's thread has ended: what is waited for would never come."""
    if not worker.is_alive():
        raise SystemExit("the worker has ended; see what it says above")
    return True


def main() -> int:
    """Measures and writes the page; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=positive, default=2000)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--alert-frames", type=positive, default=1200)
    parser.add_argument("--model-ms", type=float, default=0.0)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    rates: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="simvg-bench-") as name:
        bench = Bench(Path(name), options.model_ms)
        bench.broker.start()
        bench.redis.start()
        try:
            bench.throughput(options.frames // 4, transactions=True)  # warms the broker up
            for number in range(options.rounds):
                for case in (True, False) if number % 2 else (False, True):
                    rates[case].append(bench.throughput(options.frames, transactions=case))
            waits = bench.visibility(options.alert_frames)
        finally:
            bench.broker.stop(kill=True)
            bench.redis.stop(kill=True)
    ratio = statistics.median(a / b for a, b in zip(rates[True], rates[False], strict=True))
    p50, p99 = waits[len(waits) // 2], waits[min(len(waits) - 1, int(len(waits) * 0.99))]
    both = f"{statistics.median(rates[True]):.0f} / {statistics.median(rates[False]):.0f}"
    share = f"frames/s with transactions, of those without (median of {options.rounds} pairs)"
    engine = f"colour engine and {options.model_ms:g} ms per batch" if options.model_ms else "colour engine"
    lines = [
        "# What transactions cost",
        "",
        f"`{command()}` on {machine()}; {os.cpu_count()} cores, load average {os.getloadavg()[0]:.0f} at the end;",
        f"{engine}; {datetime.now(UTC):%Y-%m-%d}. Settings are the defaults.",
        "",
        "| | target | measured |",
        "| --- | --- | --- |",
        f"| {share} | ≥ 95 % | {ratio:.1%} |",
        f"| frames/s with / without, medians | | {both} |",
        f"| decision to visible, p50 / p99 of {len(waits)} transitions | ≤ 100 ms at p99 | {p50:.0f} / {p99:.0f} ms |",
    ]
    write(options.out, lines)
    return 0 if ratio >= 0.95 and p99 <= 100 else 1


if __name__ == "__main__":
    sys.exit(main())
