"""The worker: fetch, decode, batch, ground, judge, deliver. One place puts the parts together.

Threads: the caller's (:meth:`Worker.run`) polls Kafka; ``feeder`` takes the next frame and has it decoded; ``grounder``
batches and asks the model; ``alarms`` judges what it answered; ``deliveries`` writes the results in transactions;
``query-follower`` compiles query changes; ``reporter`` tells the registry what runs here; ``overload`` decides which
looks are left out.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import lru_cache

from consumers.grounding.actions import ActionBook, ActionReader
from consumers.grounding.asking import Asking
from consumers.grounding.batching import Batcher
from consumers.grounding.book import AlarmBook
from consumers.grounding.commits import CommitBook
from consumers.grounding.decode import DecodePool
from consumers.grounding.ending import REST_SECONDS, Deadline, end, tell
from consumers.grounding.eyes import Eyes
from consumers.grounding.fetch import Fetcher
from consumers.grounding.findings import Engine
from consumers.grounding.frames import Picture, Ready
from consumers.grounding.intake import Intake
from consumers.grounding.judge import Judge
from consumers.grounding.ledger import Ledger, Totals
from consumers.grounding.lives import Lives
from consumers.grounding.mailbox import Mailbox
from consumers.grounding.outbox import Outbox
from consumers.grounding.overload import Overload
from consumers.grounding.plan import Plan
from consumers.grounding.plans import Plans
from consumers.grounding.reporter import Reporter
from consumers.grounding.restore import read_patiently
from consumers.grounding.scoring import Scorer
from consumers.grounding.settings import WorkerSettings
from consumers.grounding.skips import SkipLog
from consumers.grounding.startup import end_earlier_lives, transactional_publisher, wait_for_topics
from consumers.grounding.verdicts import Verdicts
from consumers.grounding.work import Abandoned
from infra.errors import BadFrameMessage
from infra.follower import QueryFollower
from infra.health import ENDED, Pulses
from infra.queries import QueryRegistry

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.1

THREADS = ("poll loop", "feeder", "device", "alarms", "query follower", "operator actions", "reporter", "overload")
"""Whose pulse a worker's health feels; that of the deliveries is what :attr:`Worker.backed_up` says."""
DELIVERIES = "deliveries"


class Worker:
    """Scores the frames of its share of the cameras until it is told to stop."""

    def __init__(self, settings: WorkerSettings, engine: Engine, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._settings = settings
        self._ledger = Ledger()
        self._skips = SkipLog()
        self._commits = CommitBook()
        self._overload = Overload(
            engine,
            self._ledger,
            budget=settings.time_budget,
            batch=settings.batch_size,
            rate=settings.rate,
            freshness_of=settings.freshness_of,
            stalled=lambda: self._outbox.full,
            clock_ns=clock_ns,
        )
        self._mailbox = Mailbox(
            settings.freshness_of, settings.queue_bytes, first=self._overload.first, offered=self._overload.seen
        )
        self.pulses = Pulses(dict.fromkeys(THREADS, settings.alive_s))
        self._given_up = threading.Event()
        self._turn = threading.Lock()
        self._lives = Lives(settings)
        self._outbox = Outbox(
            transactional_publisher(settings, self._given_up),
            self._commits,
            prefix=settings.kafka.prefix,
            name=settings.worker_id,
            interval_s=settings.commits_after_s,
            works=settings.commit_frames,
            read_metadata=lambda partitions: self._fetcher.committed_metadata(partitions),
            given_up=self._given_up,
        )
        self._fetcher = Fetcher(
            settings,
            self._mailbox,
            self._ledger,
            self._commits,
            self._outbox,
            self._skips,
            turn=self._turn,
            stopping=lambda: self._stop.is_set(),
            on_assigned=self._take_over,
            on_revoked=self._hand_over,
            heard=lambda camera: self._judge.heard(camera),
        )
        self._decoder = DecodePool(settings.decode_threads, settings.max_pixels, engine.reduced)
        self._ready: queue.Queue[Ready] = queue.Queue(settings.batch_size)
        at_once = engine.at_once if settings.decodes_ahead else 1
        self._asking = Asking(Scorer(engine), self._overload, at_once, clock_ns=clock_ns)
        self._book = AlarmBook()
        self._actions = ActionBook()
        self._action_reader = ActionReader(
            settings.kafka, self._actions, client_id=settings.worker_id, moved=self.pulses.of("operator actions")
        )
        limits_of = lru_cache(maxsize=1024)(settings.limits_of)  # asked three times a frame
        self._eyes = Eyes(limits_of)
        self._judge = Judge(
            self._book,
            self._outbox,
            model=engine.fingerprint,
            quality=settings.evidence_quality,
            actions=self._actions,
            limits=limits_of,
            clock_ns=clock_ns,
        )
        self._verdicts = Verdicts(
            self._judge, self._fetcher, self._outbox, self._commits, self._ledger, self._skips, turn=self._turn
        )
        self._intake = Intake(settings, self._overload, clock_ns)
        self._plans = Plans(engine)
        self._registry = QueryRegistry(settings.redis)
        cache = settings.cache_dir / f"queries-{settings.redis.prefix}.json"
        self._follower = QueryFollower(self._registry, cache, self._plans.offer, moved=self.pulses.of("query follower"))
        self._reporter = Reporter(
            self._registry,
            settings.worker_id,
            settings.report_ttl_s,
            plan=lambda: self.plan,
            load=self._overload.load,
            memory=lambda: engine.memory,
        )
        self._recheck = threading.Event()
        self._feeding = threading.Event()
        self._grounding = threading.Event()
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._started = False

    @property
    def totals(self) -> Totals:
        """What became of the frames so far."""
        return self._ledger.totals()

    @property
    def plan(self) -> Plan:
        """The queries in use now; its ``refused`` says which the model cannot take, and why."""
        return self._plans.now

    @property
    def partitions(self) -> set[int]:
        """Partitions of frames that this worker holds."""
        return self._commits.partitions

    @property
    def started(self) -> bool:
        """Whether Kafka was found and the group is being joined."""
        return self._started

    @property
    def queries_known(self) -> bool:
        """Whether there is a set of queries, from the registry or, while it is away, the last known one."""
        return self._follower.available or self._follower.current.revision > 0

    @property
    def backed_up(self) -> str | None:
        """Why results do not leave this worker now, in words, or None."""
        return self._outbox.trouble

    @property
    def acknowledging(self) -> str | None:
        """Why operators' actions do not reach this worker now, in words, or None."""
        return self._action_reader.trouble

    def threads(self) -> dict[str, str | None]:
        """Each thread and what is wrong with it, in words, or None. What waits for Kafka, or for the model to prepare
        queries, is excused; and what has ended because it was told to."""
        held_up = self.backed_up is not None
        excused = {"device": held_up, "alarms": held_up, "query follower": self._follower.offering}
        excused["operator actions"] = self.acknowledging is not None
        stops = self._stop.is_set()
        delivers = stops or not self._started or not self._outbox.ended
        return self.pulses.checks(excused, THREADS if stops else ()) | {DELIVERIES: None if delivers else ENDED}

    def health(self) -> str | None:
        """What is wrong, in words, or None."""
        if self._failure is not None:
            return f"worker failed: {self._failure}"
        if self._outbox.failure is not None:
            return f"worker failed: {self._outbox.failure}"
        return None if self._started else "worker is starting: waiting for Kafka"

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop`` is set, then finishes what is in flight, commits and leaves the group.

        Waits for Kafka, and goes on without Redis with the last known queries.

        Raises:
            TopicMissing: a topic was never created.
            Exception: whatever ended one of the worker's threads; what was in flight is done again by the next worker.
        """
        self._stop = stop
        if not wait_for_topics(self._settings, stop):
            return
        end_earlier_lives(self._settings, self._lives, stop)
        self._outbox.start()
        self._asking.start()
        self._overload.calibrate()
        works: dict[str, Callable[[], None]] = {
            "feeder": self._feed,
            "grounder": self._ground,
            "alarms": lambda: self._verdicts.run(self._grounding, self.pulses.of("alarms")),
            "reporter": lambda: self._reporter.watch(self._feeding, self.pulses.of("reporter")),
            "overload": lambda: self._overload.watch(self._feeding, self.pulses.of("overload")),
        }
        threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True) for name, work in works.items()
        ]
        self._feeding.set()
        self._grounding.set()
        self._wanted.set()
        self._follower.start()
        self._action_reader.start()
        self._fetcher.open()
        for thread in threads:
            thread.start()
        self._started = True
        try:
            while not stop.is_set() and self._failure is None and self._outbox.failure is None:
                self._fetcher.step()
                self.pulses.beat("poll loop")
        finally:
            self._shut_down(threads)
        failure = self._failure or self._outbox.failure
        if failure is not None:
            raise failure

    def _shut_down(self, threads: list[threading.Thread]) -> None:
        by, stops = Deadline(self._settings.drain_s + REST_SECONDS), (self._follower.stop, self._action_reader.stop)
        self._feeding.clear()
        tell(stops)
        for frame in self._mailbox.drop(self._commits.partitions):
            self._fetcher.leave(frame, "stopped")
        healthy = self._failure is None and self._outbox.failure is None
        if healthy and not self._outbox.drain(self._commits.partitions, self._settings.drain_s):
            logger.warning("stopping with frames in flight; they are done again by the next worker")
        self._grounding.clear()
        self._given_up.set()
        end(by, threads, stops)
        self._decoder.close()
        self._asking.close()
        left = self._outbox.close(by.left)
        if self._outbox.ended:
            self._fetcher.close(by.left)
        if left:
            logger.error("results of %d frames were not committed; they are done again by the next worker", left)
        t = self.totals
        facts = {"fetched": t.fetched, "scored": t.scored, "left": t.in_flight, "seconds": round(by.passed, 1)}
        logger.info("worker stopped", extra=facts)
        self._registry.close()
        self._lives.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Abandoned as error:
            logger.debug("%s", error)
        except Exception as error:
            logger.exception("worker thread failed")
            self._failure = error

    # Queries

    def _swap_plan(self) -> None:
        """Between two batches: takes the newest plan over and closes what it has no place for."""
        plan = self._plans.swap()
        if plan is not None:
            self._overload.adopt(plan)
        if plan is not None or self._recheck.is_set():
            self._recheck.clear()
            self._verdicts.put(self.plan, self._grounding, self._beat)

    # Partitions

    def _take_over(self, partitions: set[int]) -> Callable[[], None]:
        """Reads how the alarms of these partitions stand. What it returns, called in turn, goes on with them.

        Without the states, raised alerts would be raised again and never closed: no frame is taken before.
        """
        self._action_reader.catch_up(self._stop)
        states = read_patiently(self._settings.kafka, client_id=self._settings.worker_id, stop=self._stop)

        def adopt() -> None:
            adopted = self._book.adopt(states, partitions)
            logger.info("alarm states restored: %d", adopted, extra={"partitions": sorted(partitions)})
            self._recheck.set()

        return adopt

    def _hand_over(self, partitions: set[int]) -> None:
        self._book.drop(partitions)
        self._eyes.forget()
        self._overload.forget()

    # Frames

    def _feed(self) -> None:
        while self._feeding.is_set():
            self.pulses.beat("feeder")
            # A frame that waits in the mailbox can still give way to a newer one; a decoded one cannot.
            if not self._wanted.wait(IDLE_SECONDS):
                continue
            frame = self._mailbox.wait(IDLE_SECONDS, time.monotonic)
            if frame is None:
                continue
            reason, due = self._intake.asked(frame, plan := self.plan)
            if reason is not None:
                self._fetcher.skip(frame, reason)
                self._mailbox.keeps_turn(frame.camera)
                continue
            ready = Ready(frame, due, self._decoder.submit(frame, plan.whole(frame.camera, due)))
            while True:
                self.pulses.beat("feeder")
                try:
                    self._ready.put(ready, timeout=IDLE_SECONDS)
                    break
                except queue.Full:
                    if not self._feeding.is_set():
                        self._fetcher.leave(frame, "stopped")
                        break

    def _ground(self) -> None:
        batcher: Batcher[tuple[Ready, Picture]] = Batcher(
            self._settings.batch_size, self._settings.batch_deadline_ms / 1e3
        )
        while self._grounding.is_set():
            self._beat()
            self._swap_plan()
            if len(batcher) < self._settings.batch_size:
                self._gather(batcher, batcher.wait(time.monotonic()))
            if not batcher.due(time.monotonic()) or not self._asking.free(IDLE_SECONDS):
                continue
            # Whatever has become ready while the model was busy comes along.
            while len(batcher) < self._settings.batch_size and self._gather(batcher, 0.0):
                pass
            self._ask(batcher.take())

    def _beat(self) -> None:
        """The device moves, unless it owes an answer."""
        if self._asking.moves():
            self.pulses.beat("device")

    def _gather(self, batcher: Batcher[tuple[Ready, Picture]], wait: float | None) -> bool:
        """Takes the next frame in, waiting so long for it; False when there is none."""
        try:
            ready = self._ready.get(timeout=IDLE_SECONDS if wait is None else max(wait, 1e-4))
        except queue.Empty:
            return False
        if (picture := self._decoded(ready)) is not None:
            batcher.add((ready, picture), time.monotonic())
        return True

    def _decoded(self, ready: Ready) -> Picture | None:
        try:
            return ready.picture.result()
        except BadFrameMessage as error:
            self._fetcher.reject(ready.frame, error.reason, error)
            return None

    def _ask(self, batch: list[tuple[Ready, Picture]]) -> None:
        plan, asked = self.plan, []
        for ready, picture in batch:
            # The plan may have changed since the frame was taken: what is gone is not asked any more.
            looks = tuple(look for look in plan.looks(ready.frame.camera) if look.query.id in ready.due)
            if not looks:
                self._fetcher.skip(ready.frame, "no_query")
            elif self._intake.expired(ready.frame):
                self._fetcher.skip(ready.frame, "expired")
            else:
                asked.append(self._eyes.question(picture, looks))
        if not asked:
            self._asking.give_back()
            return
        if not self._settings.decodes_ahead:
            self._wanted.clear()
        answers = self._asking.ask(asked, plan.revision, self._wanted.set)
        self._verdicts.put(answers, self._grounding, self._beat)
