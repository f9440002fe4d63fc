"""The pipeline through Kafka against the bare model, and frames/s and latency by batch, cameras and workers.

    .venv/bin/python benchmarks/pipeline.py

Frames of the demo clip lie in the topic before a worker (a real `simvg work` process, freshness `every`) starts; its
rate is that of the frames' results on `detections`, without the first ones. The bare model answers the same decoded
frames and queries, with the same engine, batch, batches at once and threads, in a process of its own. They take turns
of 1.5 s, stopped in between (:mod:`benchmarks.turns`). Broker and Redis run on the same cores. Two processes that do
the same differ by some per cent for as long as they live, by where their memory happens to lie: there are several sets
of them, one after the other.

Through Kafka twice: once as on a line in order, where no query is true, and once with alarms all the time: parts that
are always there are asked for, and the clip plays many times too fast.
Writes docs/benchmarks/pipeline.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from confluent_kafka import Message

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.bare import WARM, bare_model  # noqa: E402  # the repository is on the path only now
from benchmarks.measure import TEXTS, command, decoded, machine, note, positive, write  # noqa: E402
from benchmarks.turns import turns  # noqa: E402
from consumers.reading import read_to_end  # noqa: E402
from infra.broker import LocalBroker  # noqa: E402
from infra.cloudevents import frame_headers  # noqa: E402
from infra.contracts import Detections, FrameHeader, StandingQuery  # noqa: E402
from infra.kafka import Publisher, follow  # noqa: E402
from infra.process import free_port  # noqa: E402
from infra.queries import QueryRegistry  # noqa: E402
from infra.redis_server import LocalRedis  # noqa: E402
from infra.settings import KafkaSettings, RedisSettings  # noqa: E402
from infra.topics import create_topics, delete_topics, topic_name  # noqa: E402

PAGE = Path("docs/benchmarks/pipeline.md")
CLIP = Path("simvg_core/lineworld/assets/demo.mp4")
MODEL = Path("models/line-small")
QUIET, ALARMS = 0.9999999, 0.95
"""Thresholds from which a query is true: a score that nothing has, and one that ordinary parts have."""
CASES = ("bare", "quiet", "alarms")
TURN_S = 1.5
FASTEST, START_S = 75, 15
"""Frames/s that no case reaches: so many frames lie in the topic for each second of its turns, and of the time in which
it already works while the next one starts."""
TOGETHER_MS = 50
"""Results of one transaction are written within this time."""
LOAD = "load"
"""Stands for what is only known at the end."""


@dataclass(frozen=True)
class Run:
    """Frames that a process has answered in its turns, and alerts that it has raised."""

    frames: int
    seconds: float
    alerts: int = 0


def rate(runs: Iterable[Run]) -> float:
    """Frames per second."""
    found = list(runs)
    return sum(run.frames for run in found) / sum(run.seconds for run in found)


class Plant:
    """Topics of one measurement, with its queries and frames."""

    def __init__(self, broker: LocalBroker, redis: LocalRedis, number: int, partitions: int, threshold: float) -> None:
        prefix, self.partitions = f"b{number}", partitions
        self.kafka = KafkaSettings(bootstrap=broker.settings.bootstrap, prefix=prefix, partitions=partitions)
        self.redis = RedisSettings(url=redis.url, prefix=prefix)
        create_topics(self.kafka)
        registry, now = QueryRegistry(self.redis), datetime.now(UTC)
        clears = threshold if threshold == QUIET else None
        for place, text in enumerate(TEXTS):
            registry.add(
                StandingQuery(
                    id=f"q-{place}", text=text, created=now, changed=now,
                    raise_threshold=threshold, clear_threshold=clears,
                )
            )  # fmt: skip
        registry.close()

    def cameras(self, count: int) -> list[str]:
        """Names that spread evenly over the partitions: by chance, four cameras may all lie in one."""
        names: dict[int, list[str]] = {}
        for number in range(100 * count):
            name = f"line-{number}"
            names.setdefault(zlib.crc32(name.encode()) % self.partitions, []).append(name)
        return [names[place % self.partitions][place // self.partitions] for place in range(count)]

    def publish(self, images: list[bytes], cameras: int, *, fps: float | None) -> None:
        """Frame after frame, each camera in turn; with ``fps`` at that rate per camera, else all at once."""
        height, width = decoded(images[0]).shape[:2]
        started, names = time.time(), self.cameras(cameras)
        with Publisher(self.kafka, client_id="cameras") as publisher:
            for number, image in enumerate(images):
                camera, sequence = names[number % cameras], number // cameras
                if fps is not None:
                    time.sleep(max(0.0, started + number / cameras / fps - time.time()))
                now = time.time_ns()
                header = FrameHeader(
                    id=f"{camera}/b/{sequence}", camera=camera, sequence=sequence, epoch="b", captured_ns=now,
                    published_ns=now, width=width, height=height,
                )  # fmt: skip
                topic = topic_name(self.kafka.prefix, "frames")
                publisher.send(topic, key=camera.encode(), value=image, headers=frame_headers(header))
                publisher.poll(0)
            publisher.flush(60)

    @contextmanager
    def workers(self, count: int, batch: int, threads: int, freshness: str) -> Iterator[list[int]]:
        """Real worker processes, by their ids."""
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            pids = []
            for number in range(count):
                arguments = [
                    "work", "--model", str(MODEL), "--batch", str(batch), "--torch-threads", str(threads),
                    "--freshness", freshness, "--kafka", self.kafka.bootstrap, "--topic-prefix", self.kafka.prefix,
                    "--redis", self.redis.url, "--id", f"w{number}", "--cache-dir", folder, "--log-level", "ERROR",
                ]  # fmt: skip
                environment = {
                    "SIMVG_REDIS__PREFIX": self.redis.prefix,
                    "SIMVG_SESSION_TIMEOUT_S": "30",  # stopped while others have their turns, it is not gone
                    "PATH": "/usr/bin:/bin",
                }
                program = [str(Path(sys.executable).with_name("simvg")), *arguments]
                process = subprocess.Popen(program, env=environment, cwd=REPOSITORY)
                running.callback(process.wait, 30)
                running.callback(process.terminate)
                pids.append(process.pid)
            yield pids

    def raised(self, since_ms: float) -> int:
        """Alerts that were raised since a moment, ms since 1970."""
        first: dict[object, int] = {}
        for message in read_to_end(self.kafka, topic_name(self.kafka.prefix, "alerts"), client_id="reader"):
            first.setdefault(message.key(), message.timestamp()[1])
        return sum(moment >= since_ms for moment in first.values())

    def detections(self, count: int, limit_s: float) -> list[tuple[Message, Detections]]:
        """The first ``count`` results, as they come."""
        found: list[Message] = []
        deadline = time.monotonic() + limit_s
        with follow(
            self.kafka, [topic_name(self.kafka.prefix, "detections")], client_id="reader", from_beginning=True
        ) as consumer:
            while len(found) < count and time.monotonic() < deadline:
                message = consumer.poll(0.1)
                if message is not None:
                    found.append(message)
        # read when all are there: a reader's work is none of the pipeline's
        return [(message, Detections.model_validate_json(message.value() or b"")) for message in found]


class Bench:
    """Servers, pictures, and the measurements."""

    def __init__(self, folder: Path, frames: int) -> None:
        self.broker = LocalBroker(folder / "broker", port=free_port(), controller_port=free_port())
        self.redis = LocalRedis(folder / "redis", port=free_port())
        self.images = clip_images(frames)
        self.number = 0

    def plant(self, partitions: int, threshold: float = ALARMS) -> Plant:
        self.number += 1
        return Plant(self.broker, self.redis, self.number, partitions, threshold)

    def through_kafka(self, *, batch: int, threads: int, cameras: int = 2, workers: int = 1) -> float:
        """Frames/s of frames that lie in the topic already, with alarms all the time."""
        note(f"through Kafka: batch {batch}, {cameras} cameras, {workers} workers")
        plant = self.plant(max(2, workers))
        plant.publish(self.images, cameras, fps=None)
        with plant.workers(workers, batch, threads, "every"):
            found = plant.detections(len(self.images), 300)
        delete_topics(plant.kafka)
        if len(found) < len(self.images):
            raise SystemExit(f"only {len(found)} of {len(self.images)} frames were scored within 300 s")
        if (held := len({message.partition() for message, _ in found})) < min(cameras, plant.partitions):
            raise SystemExit(
                f"the frames of {cameras} cameras lie in {held} partitions only; not every worker had some"
            )
        written = moments(found)
        count, begun, ended = steady(written, written[WARM])
        return count / (ended - begun)

    def compared(self, batch: int, threads: int, sets: int, rounds: int) -> str:
        """A row of the first table: of several sets of processes, each the bare model and a worker for each case."""
        found = [self._set(batch, threads, rounds) for _ in range(sets)]
        rates = {case: rate(one[case] for one in found) for case in CASES}
        cells = []
        for case in CASES[1:]:
            parts = [100 * rate([one[case]]) / rate([one["bare"]]) for one in found]
            whole = 100 * rates[case] / rates["bare"]
            cells.append(f"{rates[case]:.1f} ({whole:.1f} %; {min(parts):.1f} … {max(parts):.1f})")
        alarms = [one["alarms"] for one in found]
        per_second = sum(one.alerts for one in alarms) / sum(one.seconds for one in alarms)
        return f"| {batch} | {rates['bare']:.1f} | {' | '.join(cells)} | {per_second:.1f} |"

    def _set(self, batch: int, threads: int, rounds: int) -> dict[str, Run]:
        images = self.images * (int((START_S + rounds * TURN_S) * FASTEST) // len(self.images) + 1)
        with ExitStack() as running:
            count, bare = running.enter_context(bare_model(self.images, MODEL, TEXTS, ALARMS, batch, threads))
            pids, plants = {"bare": bare}, {}
            for case, threshold in zip(CASES[1:], (QUIET, ALARMS), strict=True):
                plant = plants[case] = self.plant(2, threshold)
                plant.publish(images, 2, fps=None)
                pids[case] = running.enter_context(plant.workers(1, batch, threads, "every"))[0]
                if len(plant.detections(WARM, 120)) < WARM:
                    raise SystemExit(f"{case}: the worker does not begin")
            note(f"bare model and both workers in turns: batch {batch}")
            with turns(pids) as taken:
                before, since = count.value, time.time() * 1000
                taken.take(rounds, TURN_S)
                runs = {"bare": Run(count.value - before, taken.run_s("bare"))}
                for case, plant in plants.items():
                    found = plant.detections(len(images), 3)
                    if len(found) == len(images):
                        raise SystemExit(f"{case}: all frames were done before the end; more must lie in the topic")
                    scored, begun, ended = steady(moments(found), since)
                    seconds = taken.run_s(case, ended) - taken.run_s(case, begun)
                    runs[case] = Run(scored, seconds, plant.raised(since))
        for plant in plants.values():
            delete_topics(plant.kafka)
        if runs["quiet"].alerts:
            raise SystemExit("alerts were raised on a line in order")
        return runs

    def latency(self, *, batch: int, threads: int, cameras: int, fps: float) -> tuple[float, float, float]:
        """Milliseconds from capture to the written result, p50 and p99, and the share of frames that were scored."""
        note(f"latency: batch {batch}, {cameras} cameras")
        plant = self.plant(2)
        with plant.workers(1, batch, threads, "latest"):
            plant.publish(self.images[: 4 * cameras], cameras, fps=fps)  # until the worker has joined and warmed up
            plant.detections(1, 60)
            time.sleep(1.0)
            begun = time.time() * 1000
            plant.publish(self.images, cameras, fps=fps)
            time.sleep(1.5)
            found = plant.detections(10**9, 5)
        delete_topics(plant.kafka)
        delays = [
            message.timestamp()[1] - result.frame.captured_at.timestamp() * 1000
            for message, result in found
            if result.frame.captured_at.timestamp() * 1000 >= begun
        ]
        if not delays:
            raise SystemExit("no frame was scored")
        return float(np.percentile(delays, 50)), float(np.percentile(delays, 99)), len(delays) / len(self.images)


def moments(found: list[tuple[Message, Detections]]) -> list[int]:
    """When the results were written, ms since 1970, in order."""
    return sorted(message.timestamp()[1] for message, _ in found)


def steady(written_ms: list[int], since_ms: float) -> tuple[int, float, float]:
    """Of results that are written in transactions, some twenty at once: how many were written after the first
    transaction since a moment, and when that was and the last of all, seconds since 1970. The time that the first one
    took began before: with its results counted, the rate of ten transactions would be a tenth too high."""
    written = [moment for moment in written_ms if moment >= since_ms]
    later = [moment for moment in written if moment > written[0] + TOGETHER_MS]
    if not later:
        raise SystemExit(f"{len(written)} results are too few for a rate")
    return len(later), written[len(written) - len(later) - 1] / 1000, later[-1] / 1000


def clip_images(frames: int) -> list[bytes]:
    """The first frames of the demo clip as JPEG, from the beginning again when it is too short."""
    video = cv2.VideoCapture(str(REPOSITORY / CLIP))
    images: list[bytes] = []
    while len(images) < frames:
        read, pixels = video.read()
        if not read:
            break
        images.append(bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]))
    video.release()
    return (images * (frames // len(images) + 1))[:frames]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=positive, default=400)
    parser.add_argument("--sets", type=positive, default=5, help="sets of processes, the bare model and the workers")
    parser.add_argument("--rounds", type=positive, default=10, help="turns of each process")
    parser.add_argument("--threads", type=positive, default=2, help="threads of the model")
    parser.add_argument("--batches", type=positive, nargs="+", default=[1, 4, 8], help="frames per batch")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), given.frames)
        for server in (bench.broker, bench.redis):
            server.start()
            stack.callback(server.stop, kill=True)
        lines = [
            "# The pipeline",
            "",
            f"{machine()}. Model `{MODEL}`, {len(TEXTS)} queries, 640×480 JPEG frames, {given.threads} threads of "
            "the model; broker and Redis on the same cores.",
            LOAD,
            "",
            f"`{command()}`",
            "",
            "## Through Kafka against the bare model",
            "",
            "Each frames/s with its part of the bare model's: of all, and of the worst and best set. "
            f"{given.sets} sets of processes, {given.rounds} turns of {TURN_S:g} s for each process.",
            "",
            "| batch | bare model | no query is true | alarms all the time | alerts raised per second then |",
            "| ---: | ---: | ---: | ---: | ---: |",
        ]
        bench.through_kafka(batch=given.batches[0], threads=given.threads)  # a broker compiles itself at first
        lines += [bench.compared(batch, given.threads, given.sets, given.rounds) for batch in given.batches]
        lines += [
            "",
            "## Cameras and workers",
            "",
            "Frames that lie in the topic, batch 4, alarms all the time.",
            "",
            "| cameras | workers | threads each | frames/s |",
            "| ---: | ---: | ---: | ---: |",
        ]
        for cameras, workers, threads in ((1, 1, 2), (4, 1, 2), (4, 2, 1)):
            rate = bench.through_kafka(batch=4, threads=threads, cameras=cameras, workers=workers)
            lines.append(f"| {cameras} | {workers} | {threads} | {rate:.1f} |")
        lines += [
            "",
            "## Latency at a camera's pace",
            "",
            "From capture to the result written to Kafka, freshness `latest`, one worker; a frame that is not scored "
            "was skipped for a newer one of its camera.",
            "",
            "| cameras | frames/s each | batch | p50, ms | p99, ms | frames scored |",
            "| ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for cameras, fps, batch in ((2, 5.0, 1), (2, 5.0, 4), (4, 5.0, 4)):
            p50, p99, share = bench.latency(batch=batch, threads=given.threads, cameras=cameras, fps=fps)
            lines.append(f"| {cameras} | {fps:g} | {batch} | {p50:.0f} | {p99:.0f} | {100 * share:.0f} % |")
        load = os.getloadavg()[0]
        write(given.out, [f"Load average {load:.0f} at the end." if line == LOAD else line for line in lines])


if __name__ == "__main__":
    main()
