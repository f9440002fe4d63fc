"""Thousands of broken inputs through a whole worker: `python -m tests.faults.fuzz --inputs 10000 --seed 7`.

Frames, headers, keys, operator actions and stored queries are mutated at random. The worker must go on, count every
frame once, keep every refused one, and still judge the good frames among them.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import redis
import typer

from infra.broker import LocalBroker
from infra.cloudevents import event_headers
from infra.kafka import Publisher
from infra.process import free_port
from infra.redis_server import LocalRedis
from infra.settings import KafkaSettings, RedisSettings
from infra.topics import create_topics, topic_name
from tests.consumers.grounding.conftest import Line, picture
from tests.faults.plant import wait
from tests.faults.script import SQUARE, Shot

REPOSITORY = Path(__file__).resolve().parents[2]
GOOD_EVERY = 20
Headers = list[tuple[str, bytes]]

_NASTY = (
    b"",
    b"-1",
    b"0",
    b"9" * 40,
    b"NaN",
    b"\xff\xfe\x00",
    b"\x00",
    b"null",
    b"../../etc/passwd",
    "line\u202e-1".encode(),
)


@dataclass
class Outcome:
    """What came of a fuzz run."""

    sent: int
    fetched: int
    scored: int
    skipped: int
    rejected: int
    kept: int
    good_sent: int
    good_scored: int
    actions: int
    queries: int
    raised: bool

    @property
    def fault(self) -> str | None:
        """What is wrong, or None."""
        if self.fetched != self.sent or self.fetched != self.scored + self.skipped + self.rejected:
            return "frames are not all counted once"
        if self.kept != self.rejected:
            return "refused frames are not all kept"
        if self.good_scored != self.good_sent or not self.raised:
            return "good frames among them were not all judged"
        return None


class Mutator:
    """Breaks things at random; the same things for the same seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"fuzz {seed}")
        png = cv2.imencode(".png", np.full((40, 60, 3), 90, np.uint8))[1].tobytes()
        self._images = [picture(), picture(("red", SQUARE)), png, png[:40], b"GIF89a\x01\x00\x01\x00", b""]

    def frame(self, number: int) -> tuple[bytes | None, bytes, Headers]:
        """Key, value and headers of a message that was a frame once."""
        camera = f"fuzz-{number % 7}"
        shot = Shot(camera, "e0", number, frozenset(), broken=False)
        message = shot.message(KafkaSettings(), time.time_ns())
        key: bytes | None = camera.encode()
        value, headers = self.chance.choice(self._images), list(message["headers"])  # type: ignore[call-overload]
        for _ in range(self.chance.randint(1, 3)):
            kind = self.chance.randrange(8)
            if kind == 0:
                headers.pop(self.chance.randrange(len(headers)))
            elif kind == 1:
                headers = [
                    (name, self._bytes(text)) if self.chance.random() < 0.2 else (name, text) for name, text in headers
                ]
            elif kind == 2:
                headers.append((self.chance.choice(headers)[0], self._bytes(b"twice")))
            elif kind == 3:
                key = self.chance.choice([None, b"", b"\xff", b"another", key])
            elif kind == 4:
                value = self._bytes(value)
            elif kind == 5:
                value = self._resized(value)
            elif kind == 6:
                headers = self.chance.choice([[], headers[:3], headers])
            if not headers:
                break
        return key, value, headers

    def text(self, sound: str) -> bytes:
        """Broken JSON, or sound JSON with broken content."""
        if self.chance.random() < 0.5:
            return self._bytes(sound.encode())
        content = json.loads(sound)
        name = self.chance.choice(sorted(content))
        content[name] = self.chance.choice([None, -1, 1e308, "", "x" * 5000, [], {}, [[[]]], True, "\u0000"])
        return json.dumps(content).encode()

    def _bytes(self, text: bytes) -> bytes:
        kind = self.chance.randrange(5)
        if kind == 0:
            return self.chance.choice(_NASTY)
        if kind == 1:
            return text[: self.chance.randint(0, len(text))]
        if kind == 2:
            return self.chance.randbytes(self.chance.randint(0, 300))
        changed = bytearray(text)
        for _ in range(self.chance.randint(1, 8)):
            if changed:
                changed[self.chance.randrange(len(changed))] = self.chance.randrange(256)
        return bytes(changed)

    def _resized(self, value: bytes) -> bytes:
        """A JPEG that says it is of another size, up to 65,535 pixels square."""
        at = value.find(b"\xff\xc0")
        if at < 0:
            return value
        size = self.chance.choice([0, 1, 7, 65_535]).to_bytes(2, "big")
        return value[: at + 5] + size + size + value[at + 9 :]


def run_fuzz(line: Line, inputs: int, seed: int) -> Outcome:
    """Sends ``inputs`` broken messages and some good ones through a worker of this line."""
    mutator = Mutator(seed)
    good = line.add("red", id="good", cameras=("good",))
    line.add("red", id="any", cameras=("fuzz-*",))
    worker = line.start()
    actions, queries, good_sent = 0, 0, 0
    store = redis.Redis.from_url(line.redis.url)
    frames, operators = (topic_name(line.kafka.prefix, name) for name in ("frames", "operator-actions"))  # type: ignore[arg-type]
    sound_action = json.dumps(
        {"id": "x-1", "kind": "acknowledge", "alert_id": "a-1", "by": "Ada", "at": datetime.now(UTC).isoformat()}
    )
    with Publisher(line.kafka, client_id="fuzz") as publisher:
        for number in range(inputs):
            key, value, headers = mutator.frame(number)
            publisher.send(frames, key=key, value=value, headers=headers)  # type: ignore[arg-type]  # no key: a fault too
            if number % GOOD_EVERY == 0:
                shot = Shot("good", "e0", good_sent, frozenset({"red"}), broken=False)
                publisher.send(**shot.message(line.kafka, time.time_ns()))  # type: ignore[arg-type]
                good_sent += 1
            if number % 10 == 0:
                told = event_headers("operator-actions", id=f"x-{number}", source="/operators")
                publisher.send(operators, key=b"a-1", value=mutator.text(sound_action), headers=told)
                actions += 1
            if number % 100 == 0:
                store.hset(f"{line.redis.prefix}:queries", f"broken-{number % 7}", mutator.text(good.model_dump_json()))
                store.xadd(
                    f"{line.redis.prefix}:queries:changes", {"revision": mutator.chance.choice(["x", "-1", "7"])}
                )
                queries += 1
            publisher.poll(0)
        sent = inputs + good_sent
        undelivered = publisher.flush(60)
        assert undelivered == 0, f"{undelivered} messages were not published"

        def dealt_with() -> bool:
            assert not line.failures, f"the worker ended: {line.failures}"
            return worker.totals.fetched >= sent and worker.totals.in_flight == 0

        wait(dealt_with, 60 + inputs / 20, "every input is dealt with")
    line.stop(worker)
    totals = worker.totals
    return Outcome(
        sent=sent,
        fetched=totals.fetched,
        scored=totals.scored,
        skipped=sum(totals.skipped.values()),
        rejected=sum(totals.rejected.values()),
        kept=len(line.messages("frames-rejected")),
        good_sent=good_sent,
        good_scored=sum(found.camera == "good" for found in line.detections()),
        actions=actions,
        queries=queries,
        raised=any(str(alert.state) == "raised" for alert in line.alerts("good")),
    )


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
