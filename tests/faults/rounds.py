"""The faults, and a run of them: what the cameras show goes through a plant where things are killed."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.redis_server import LocalRedis
from infra.settings import KafkaSettings, RedisSettings
from infra.topics import create_topics
from tests.faults.compare import Differences, Story, compare, story
from tests.faults.plant import SESSION_S, Plant, wait
from tests.faults.script import CAMERAS, Deed, Shot, write_deeds, write_script

KILL_INSIDE = "kill a worker inside a transaction"
BROKER = "kill and restart the broker"
REDIS = "Redis away, a worker restarted meanwhile"
FAULTS = (
    "kill a worker",
    KILL_INSIDE,
    BROKER,
    REDIS,
    "camera away",
    "add a worker",
    "remove a worker",
    "pause a worker past its session",
)
LOSE_BROKER = "lose a broker of three"
"""Of a cluster, each of them in turn: it stays away until all frames of the round are done."""

STOP_SECONDS = 10.0
"""A worker that is told to stop has ended by then."""

BASE = ("w1", "w2")
HANDFUL = len(CAMERAS)

QUIET_SECONDS = 1.0
"""A worker may be held so long and keep its partitions: less than its session."""

BUSY_SECONDS = 2.0
"""What a worker has of a handful of frames has reached Kafka by then."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one fault run."""

    seed: int
    faults: tuple[str, ...]
    frames: int = 40
    pace_s: float = 0.01
    redis_away_s: float = 60.0
    catch_up_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Round:
    """What one round was, and what came of it. `open_messages`: of transactions that the fault left unfinished."""

    number: int
    fault: str
    frames: int
    transitions: int
    seconds: float
    open_messages: int
    differences: Differences


def plan_faults(seed: int, rounds: int) -> tuple[str, ...]:
    """Every fault once before any comes again, in a seeded order."""
    chance = random.Random(f"faults {seed}")
    planned: list[str] = []
    while len(planned) < rounds:
        planned += chance.sample(FAULTS, len(FAULTS))
    return tuple(planned[:rounds])


def plan_losses(seed: int, rounds: int) -> tuple[str, ...]:
    """For a cluster: every second round loses a broker, the others are other faults, in a seeded order."""
    others = [fault for fault in plan_faults(seed, 2 * rounds) if fault != BROKER]
    return tuple(LOSE_BROKER if number % 2 else others[number // 2] for number in range(rounds))


class Server(Protocol):
    """What can be taken away and brought back."""

    def start(self) -> bool: ...

    def stop(self, *, kill: bool = False) -> bool: ...


class FaultRun:
    """One run on servers of its own, or on a cluster's."""

    def __init__(
        self, settings: Settings, kafka: KafkaSettings, broker: Server, redis: LocalRedis, folder: Path
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._redis = redis
        self._faults = settings.faults
        restarts = frozenset(n for n, fault in enumerate(self._faults) if fault == "camera away")
        self._script = write_script(settings.seed, len(self._faults), settings.frames, restarts)
        self._chance = random.Random(f"moments {settings.seed}")
        self._open = 0
        self._deeds: list[list[Deed]] = []
        base_ns = time.time_ns() // 1_000_000 * 1_000_000
        redis_settings = [RedisSettings(url=redis.url, prefix=name, timeout_s=1.0) for name in ("calm", "storm")]
        self._calm, self._storm = (
            Plant(kafka.model_copy(update={"prefix": one.prefix}), one, folder / one.prefix, base_ns)
            for one in redis_settings
        )

    def run(self, report: Callable[[Round], None]) -> bool:
        """All rounds; whether nothing differed. Raises TimeoutError when a plant does not catch up."""
        stories = self._undisturbed()
        storm = self._storm
        create_topics(storm.kafka)
        storm.add_queries()
        same = True
        try:
            for number, fault in enumerate(self._faults):
                self._staff()
                wait(self._shared, 120, "both workers hold partitions")
                storm.do(self._deeds[number])
                began, self._open = time.monotonic(), 0
                self._disturb(fault, self._script[number])
                self._staff()
                wait(storm.caught_up, self._settings.catch_up_s, f"all frames are committed after: {fault}")
                found = compare(storm, stories[number])
                transitions = sum(map(len, stories[number].values()))
                spent = time.monotonic() - began
                report(Round(number + 1, fault, len(storm.published), transitions, spent, self._open, found))
                same = same and not found
                if fault == LOSE_BROKER:
                    self._broker.start()
            return same
        finally:
            storm.close()

    def _undisturbed(self) -> list[Story]:
        """What one worker gives when nothing happens, after each round's frames."""
        calm = self._calm
        create_topics(calm.kafka)
        calm.add_queries()
        calm.start("calm")
        stories = []
        try:
            for number, shots in enumerate(self._script):
                self._deeds.append(write_deeds(self._settings.seed, number, shots, calm.alerts()))
                calm.do(self._deeds[number])
                calm.publish(shots)
                wait(calm.caught_up, self._settings.catch_up_s, "the undisturbed run is done")
                stories.append(story(calm.alerts()))
            assert calm.workers["calm"].end(signal.SIGTERM) == 0, "the undisturbed worker stops cleanly"
            return stories
        finally:
            calm.close()

    def _staff(self) -> None:
        """Restarts what has ended, as a supervisor does."""
        for name in BASE:
            worker = self._storm.workers.get(name)
            if worker is None or not worker.running:
                self._storm.start(name)

    def _shared(self) -> bool:
        return all(self._storm.workers[name].working for name in BASE)

    def _disturb(self, fault: str, shots: list[Shot]) -> None:
        """Publishes the round's frames; the fault happens somewhere in the first half of them."""
        storm, moment = self._storm, self._chance.randrange(len(shots) // 4, len(shots) // 2)
        victim = self._chance.choice(BASE)
        if fault == "camera away":
            away = [shot for shot in shots if shot.camera == CAMERAS[0]]
            storm.publish([shot for shot in shots if shot.camera != CAMERAS[0]], self._settings.pace_s)
            return storm.publish(away, self._settings.pace_s)
        storm.publish(shots[:moment], self._settings.pace_s)
        if fault == KILL_INSIDE:
            return self._kill_inside(victim, shots[moment:])
        left, pace_s = shots[moment:], self._settings.pace_s
        if fault == REDIS:  # frames come all the while
            pace_s = max(pace_s, self._settings.redis_away_s / len(left))
        publishing = threading.Thread(target=storm.publish, args=(left, pace_s))
        publishing.start()
        try:
            self._happen(fault, victim)
        finally:
            publishing.join()

    def _happen(self, fault: str, victim: str) -> None:
        storm = self._storm
        if fault == "kill a worker":
            time.sleep(self._chance.random())
            storm.workers[victim].end(signal.SIGKILL)
        elif fault == BROKER:
            self._broker.stop(kill=True)
            time.sleep(self._chance.uniform(0.5, 2.0))
            self._broker.start()
        elif fault == LOSE_BROKER:
            self._broker.stop(kill=True)
        elif fault == REDIS:
            self._redis.stop(kill=True)
            away_s = self._settings.redis_away_s / 2
            time.sleep(away_s)
            # what knows the queries only from its last life must do with that
            storm.workers[victim].end(signal.SIGKILL)
            storm.start(victim)
            time.sleep(away_s)
            self._redis.start()
        elif fault == "add a worker":
            storm.start(f"w{len(storm.workers) + 1}")
        elif fault == "remove a worker":
            status = storm.workers[victim].end(signal.SIGTERM, STOP_SECONDS)
            assert status == 0, f"a worker that is told to stop ends with 0, not {status}"
        elif fault == "pause a worker past its session":
            storm.workers[victim].send(signal.SIGSTOP)
            time.sleep(SESSION_S + 3.0)
            storm.workers[victim].send(signal.SIGCONT)

    def _kill_inside(self, victim: str, shots: list[Shot]) -> None:
        """Holds the worker at a random moment of a transaction, and kills it there.

        It is held too while some frames are published and the others end theirs: what is open then is its own. One
        that had none of these frames, or whose transaction had ended by that moment, is tried again with the next.
        """
        storm, worker, left = self._storm, self._storm.workers[victim], list(shots)
        being_written = storm.watch()
        while left and not self._open:
            worker.send(signal.SIGSTOP)
            storm.publish(left[:HANDFUL])
            del left[:HANDFUL]
            _until(lambda: not being_written(), QUIET_SECONDS)
            worker.send(signal.SIGCONT)
            _until(being_written, BUSY_SECONDS)
            time.sleep(self._chance.uniform(0.0, 0.01))
            worker.send(signal.SIGSTOP)
            self._open = storm.left_open()
        worker.end(signal.SIGKILL)
        self._storm.publish(left, self._settings.pace_s)


def _until(condition: Callable[[], bool], seconds: float) -> None:
    """Returns at the moment when it holds, or after so long."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        pass
