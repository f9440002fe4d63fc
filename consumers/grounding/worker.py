"""The worker: fetch, decode, batch, ground, judge, deliver. One place puts the parts together.

Threads: the caller's (:meth:`Worker.run`) polls Kafka; ``feeder`` takes the next frame from the mailbox and has it
decoded; ``grounder`` batches, asks the model and runs the alarms; ``deliveries`` writes the results in transactions;
``query-follower`` compiles query changes; ``reporter`` tells the registry what runs here.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from consumers.grounding.actions import ActionBook, ActionReader
from consumers.grounding.batching import Batcher
from consumers.grounding.book import AlarmBook
from consumers.grounding.commits import CommitBook
from consumers.grounding.decode import DecodePool
from consumers.grounding.ending import REST_SECONDS, Deadline, end, tell
from consumers.grounding.eyes import Eyes
from consumers.grounding.fetch import Fetcher
from consumers.grounding.findings import Engine
from consumers.grounding.frames import Frame, Picture
from consumers.grounding.judge import Judge
from consumers.grounding.ledger import Ledger, SkipReason, Totals
from consumers.grounding.mailbox import Mailbox
from consumers.grounding.outbox import Abandoned, Outbox
from consumers.grounding.pacing import Pacer
from consumers.grounding.plan import Look, Plan, make_plan
from consumers.grounding.restore import read_alarm_states
from consumers.grounding.scoring import Scorer
from consumers.grounding.settings import WorkerSettings
from consumers.grounding.skips import SkipLog
from infra.errors import BadFrameMessage, BrokerError, BrokerUnavailable, RegistryError, TopicMissing
from infra.follower import QueryFollower
from infra.health import Pulses
from infra.kafka import wait_for_broker
from infra.metrics import counter, gauge, histogram
from infra.queries import QueryRegistry, QuerySet
from infra.topics import TopicName, require_topics, set_session_timeout
from infra.transactions import TransactionalPublisher

logger = logging.getLogger(__name__)

NEEDED: tuple[TopicName, ...] = ("frames", "detections", "alerts", "evidence", "alarm-state", "frames-rejected")
IDLE_SECONDS = 0.1
TICK_SECONDS = 0.5
RESTORE_SECONDS = 120.0
TOPIC_SECONDS = 5.0
BROKER_SECONDS = 5.0

_STAGE = histogram("simvg_worker_stage_seconds", "time that a frame spends in each stage", ("camera", "stage"))
_BATCH = histogram("simvg_worker_batch_frames", "frames scored at once", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256))
_ACTIVE = gauge("simvg_worker_queries_active", "standing queries that this worker asks")
_REFUSED = gauge("simvg_worker_queries_refused", "standing queries that the model cannot take")
_MODEL_FAILURES = counter("simvg_worker_model_failures_total", "frames that the model failed on")


@dataclass(frozen=True, slots=True)
class _Ready:
    """A frame on its way through the decoder, and the queries that are due for it."""

    frame: Frame
    due: frozenset[str]
    picture: Future[Picture]
    taken_ns: int


class Worker:
    """Scores the frames of its share of the cameras until it is told to stop."""

    def __init__(self, settings: WorkerSettings, engine: Engine, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._settings = settings
        self._engine = engine
        self._clock_ns = clock_ns
        self._ledger = Ledger()
        self._skips = SkipLog()
        self._commits = CommitBook()
        self._mailbox = Mailbox(settings.freshness_of, settings.queue_frames)
        self._given_up = threading.Event()
        self._turn = threading.Lock()
        self._outbox = Outbox(
            self._publisher(),
            self._commits,
            prefix=settings.kafka.prefix,
            name=settings.worker_id,
            interval_s=settings.commit_interval_s,
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
        )
        self._decoder = DecodePool(settings.decode_threads, settings.max_pixels)
        self._ready: queue.Queue[_Ready] = queue.Queue(settings.batch_size)
        self._scorer = Scorer(engine)
        self._book = AlarmBook()
        self._actions = ActionBook()
        self._action_reader = ActionReader(settings.kafka, self._actions, client_id=settings.worker_id)
        self._eyes = Eyes(settings.limits_of)
        self._judge = Judge(
            self._book,
            self._outbox,
            model=engine.fingerprint,
            quality=settings.evidence_quality,
            actions=self._actions,
            limits=settings.limits_of,
            clock_ns=clock_ns,
        )
        self._pacer = Pacer()
        self._registry = QueryRegistry(settings.redis)
        cache = settings.cache_dir / f"queries-{settings.redis.prefix}.json"
        self._follower = QueryFollower(self._registry, cache, self._on_queries)
        self._plan = Plan(0, {})
        self._plans: deque[Plan] = deque()
        self._recheck = threading.Event()
        self._feeding = threading.Event()
        self._grounding = threading.Event()
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._started = False
        self.pulses = Pulses({"poll loop": settings.alive_s, "device": settings.alive_s})

    def _publisher(self) -> TransactionalPublisher:
        settings = self._settings
        return TransactionalPublisher(
            settings.kafka,
            # Of a worker's name there is one at a time, in one group of one plant.
            transactional_id="/".join(("simvg", settings.kafka.prefix, settings.group, settings.worker_id)),
            client_id=settings.worker_id,
            given_up=self._given_up.is_set,
            timeout_s=settings.transaction_timeout_s,
        )

    @property
    def totals(self) -> Totals:
        """What became of the frames so far."""
        return self._ledger.totals()

    @property
    def plan(self) -> Plan:
        """The queries in use now; its ``refused`` says which the model cannot take, and why."""
        return self._plan

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
    def backed_up(self) -> bool:
        """Whether so many results wait for Kafka that no more frames are taken in."""
        return self._outbox.full

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
        if not self._wait_for_topics():
            return
        threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for name, work in (("feeder", self._feed), ("grounder", self._ground), ("reporter", self._report))
        ]
        self._feeding.set()
        self._grounding.set()
        self._wanted.set()
        self._outbox.start()
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

    def _wait_for_topics(self) -> bool:
        """Waits for Kafka without limit, and a moment for topics that were only just created. False when stopped."""
        told = False
        missing_since: float | None = None
        while not self._stop.is_set():
            try:
                wait_for_broker(self._settings.kafka, BROKER_SECONDS)
                require_topics(self._settings.kafka, NEEDED)
                self._set_session_timeout()
                return True
            except BrokerUnavailable as error:
                if not told:
                    logger.warning("waiting for Kafka: %s", error)
                told = True
                self._stop.wait(IDLE_SECONDS)
            except TopicMissing:
                missing_since = missing_since or time.monotonic()
                if time.monotonic() > missing_since + TOPIC_SECONDS:
                    raise
                self._stop.wait(IDLE_SECONDS)
        return False

    def _set_session_timeout(self) -> None:
        settings = self._settings
        if settings.kafka.group_protocol == "classic":
            return  # the consumer says it itself
        try:
            set_session_timeout(settings.kafka, settings.group, settings.session_timeout_s)
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            logger.warning("session time-out stays as the broker has it: %s", error, extra={"group": settings.group})

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
        left = self._outbox.close(by.left)
        if self._outbox.ended:
            self._fetcher.close(by.left)
        if left:
            logger.error("results of %d frames were not committed; they are done again by the next worker", left)
        t = self.totals
        facts = {"fetched": t.fetched, "scored": t.scored, "left": t.in_flight, "seconds": round(by.passed, 1)}
        logger.info("worker stopped", extra=facts)
        self._registry.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Abandoned as error:
            logger.debug("%s", error)
        except Exception as error:
            logger.exception("worker thread failed")
            self._failure = error

    # Queries

    def _on_queries(self, queries: QuerySet) -> None:
        plan = make_plan(queries, self._engine)
        for query_id, reason in plan.refused.items():
            facts = {"query": query_id, "text": plan.queries[query_id].text}
            logger.error("query cannot be asked: %s", reason, extra=facts)
        self._plans.append(plan)

    def _swap_plan(self) -> None:
        """Between two batches: takes the newest plan over and closes what it has no place for."""
        plan = None
        while self._plans:
            plan = self._plan = self._plans.popleft()
        if plan is not None:
            _ACTIVE.set(len(plan.active))
            _REFUSED.set(len(plan.refused))
            logger.info("queries active", extra={"revision": plan.revision, "queries": len(plan.active)})
        if plan is not None or self._recheck.is_set():
            self._recheck.clear()
            with self._turn:
                self._judge.end(self._plan, self._commits.lease)

    def _report(self) -> None:
        """Tells the registry which revision runs here. Redis being away is the follower's to log."""
        while self._feeding.is_set():
            try:
                self._registry.report_worker(self._settings.worker_id, self._plan.revision, self._settings.report_ttl_s)
            except RegistryError as error:
                logger.debug("worker could not report: %s", error)
            revision, until = self._plan.revision, time.monotonic() + self._settings.report_ttl_s / 3
            while self._feeding.is_set() and self._plan.revision == revision and time.monotonic() < until:
                time.sleep(IDLE_SECONDS)

    # Partitions

    def _take_over(self, partitions: set[int]) -> Callable[[], None]:
        """Reads how the alarms of these partitions stand. What it returns, called in turn, goes on with them.

        Without the states, raised alerts would be raised again and never closed: no frame is taken before.
        """
        deadline = time.monotonic() + RESTORE_SECONDS
        while True:
            try:
                states = read_alarm_states(self._settings.kafka, client_id=self._settings.worker_id)
                break
            except BrokerUnavailable as error:
                if time.monotonic() > deadline or self._stop.is_set():
                    raise
                logger.warning("alarm states cannot be read yet: %s", error)

        def adopt() -> None:
            adopted = self._book.adopt(states, partitions)
            logger.info("alarm states restored: %d", adopted, extra={"partitions": sorted(partitions)})
            self._recheck.set()

        return adopt

    def _hand_over(self, partitions: set[int]) -> None:
        self._book.drop(partitions)
        self._eyes.forget()

    # Frames

    def _feed(self) -> None:
        while self._feeding.is_set():
            # A frame that waits in the mailbox can still give way to a newer one; a decoded one cannot.
            if not self._wanted.wait(IDLE_SECONDS):
                continue
            frame = self._mailbox.wait(IDLE_SECONDS, time.monotonic)
            if frame is None:
                continue
            reason, due = self._asked(frame)
            if reason is not None:
                self._judge.heard(frame.camera)
                self._fetcher.skip(frame, reason)
                continue
            ready = _Ready(frame, due, self._decoder.submit(frame), self._clock_ns())
            while True:
                try:
                    self._ready.put(ready, timeout=IDLE_SECONDS)
                    break
                except queue.Full:
                    if not self._feeding.is_set():
                        self._fetcher.leave(frame, "stopped")
                        break

    def _asked(self, frame: Frame) -> tuple[SkipReason | None, frozenset[str]]:
        """Which queries the frame is to be scored for, or why it is not."""
        looks = self._plan.looks(frame.camera)
        if not looks:
            return "no_query", frozenset()
        if self._expired(frame):
            return "expired", frozenset()
        captured_ns = frame.header.captured_ns
        if not self._pacer.due((frame.camera,), self._settings.rate, captured_ns):
            return "rate", frozenset()
        due = frozenset(
            look.query.id
            for look in looks
            if self._pacer.due((frame.camera, look.query.id), look.query.rate, captured_ns)
        )
        return (None, due) if due else ("rate", due)

    def _expired(self, frame: Frame) -> bool:
        now, header = self._clock_ns(), frame.header
        if header.expires_ns is not None and now > header.expires_ns:
            return True
        return self._settings.expiry_s is not None and now - header.captured_ns > self._settings.expiry_s * 1e9

    def _ground(self) -> None:
        batcher: Batcher[tuple[_Ready, Picture]] = Batcher(
            self._settings.batch_size, self._settings.batch_deadline_ms / 1e3
        )
        ticked = time.monotonic()
        while self._grounding.is_set():
            self.pulses.beat("device")
            self._swap_plan()
            if time.monotonic() - ticked >= TICK_SECONDS:
                ticked = time.monotonic()
                with self._turn:
                    self._judge.tick(self._commits.lease, waiting=self._mailbox.cameras())
            wait = batcher.wait(time.monotonic())
            try:
                ready = self._ready.get(timeout=IDLE_SECONDS if wait is None else max(wait, 1e-4))
                picture = self._decoded(ready)
                if picture is not None:
                    batcher.add((ready, picture), time.monotonic())
            except queue.Empty:
                pass
            if batcher.due(time.monotonic()):
                if not self._settings.decodes_ahead:
                    self._wanted.clear()
                self._score(batcher.take())
                self._wanted.set()

    def _decoded(self, ready: _Ready) -> Picture | None:
        try:
            return ready.picture.result()
        except BadFrameMessage as error:
            self._fetcher.reject(ready.frame, error.reason, error)
            return None

    def _score(self, batch: list[tuple[_Ready, Picture]]) -> None:
        plan, asked = self._plan, []
        for ready, picture in batch:
            # The plan may have changed since the frame was taken: what is gone is not asked any more.
            looks = tuple(look for look in plan.looks(ready.frame.camera) if look.query.id in ready.due)
            if not looks:
                self._fetcher.skip(ready.frame, "no_query")
            elif self._expired(ready.frame):
                self._fetcher.skip(ready.frame, "expired")
            else:
                asked.append((ready, picture, looks))
        if not asked:
            return
        started_ns = self._clock_ns()
        answers = self._scorer.score([self._eyes.question(picture, looks) for _, picture, looks in asked])
        ended_ns = self._clock_ns()
        _BATCH.observe(len(asked))
        for (ready, picture, looks), answer in zip(asked, answers, strict=True):
            frame = ready.frame
            if isinstance(answer, Exception):
                _MODEL_FAILURES.inc()
                self._fetcher.reject(frame, "model_failed", answer)
                continue
            stages = _stage_ms(frame, picture, started_ns, ended_ns)
            self._outbox.wait_for_room()
            with self._turn:
                if self._commits.lease(frame.place.partition) != frame.lease:
                    self._fetcher.leave(frame, "handed_over")
                    continue
                skipped = self._skips.take(frame.camera)
                self._judge.frame(picture, looks, answer, revision=plan.revision, stage_ms=stages, skipped=skipped)
            self._ledger.scored(frame.camera, (frame.place.partition, frame.place.offset))
            for stage, ms in stages.items():
                _STAGE.labels(frame.camera, stage).observe(ms / 1e3)


def _stage_ms(frame: Frame, picture: Picture, started_ns: int, ended_ns: int) -> dict[str, float]:
    """Milliseconds per stage: camera to publisher, through Kafka, decoding, waiting here, the model (whole batch)."""
    header = frame.header
    return {
        "capture": (header.published_ns - header.captured_ns) / 1e6,
        "transport": (frame.fetched_ns - header.published_ns) / 1e6,
        "decode": picture.decode_ms,
        "queue": (started_ns - frame.fetched_ns) / 1e6 - picture.decode_ms,
        "ground": (ended_ns - started_ns) / 1e6,
    }


__all__ = ["Look", "Worker"]
