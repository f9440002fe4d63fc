"""The alarms have a thread of their own: what the model has answered is judged while it looks at the next batch."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass

from consumers.grounding.commits import CommitBook
from consumers.grounding.fetch import Fetcher
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Picture
from consumers.grounding.judge import Judge
from consumers.grounding.ledger import Ledger
from consumers.grounding.outbox import Outbox
from consumers.grounding.plan import Look, Plan
from consumers.grounding.skips import SkipLog
from consumers.grounding.stages import FAILURES, observe

IDLE_SECONDS = 0.1
TICK_SECONDS = 0.5
WAITING = 1
"""Batches and plans behind the one that is judged or waited for."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A frame, what it was asked under which revision of the queries, and what the model found or failed with."""

    picture: Picture
    looks: tuple[Look, ...]
    answer: Mapping[str, Finding] | Exception
    revision: int
    stage_ms: dict[str, float]


class Verdicts:
    """Judges what the model answers, ends what a new plan has no place for, and lets time pass, each in its turn.

    The thread of :meth:`run` is the only one that changes alarms; ``turn`` keeps it from doing so while partitions come
    and go.
    """

    def __init__(
        self,
        judge: Judge,
        fetcher: Fetcher,
        outbox: Outbox,
        commits: CommitBook,
        ledger: Ledger,
        skips: SkipLog,
        *,
        turn: threading.Lock,
    ) -> None:
        self._judge = judge
        self._fetcher = fetcher
        self._outbox = outbox
        self._commits = commits
        self._ledger = ledger
        self._skips = skips
        self._turn = turn
        self._waiting: queue.Queue[Plan | Future[list[Answered]]] = queue.Queue(WAITING)
        self._ticked = time.monotonic()

    def put(self, item: Plan | Future[list[Answered]], running: threading.Event, moved: Callable[[], object]) -> None:
        """Takes in a batch that the model looks at, or the plan of the batches after it; waits for its turn while
        ``running``, calling ``moved`` meanwhile."""
        while running.is_set():
            moved()
            try:
                self._waiting.put(item, timeout=IDLE_SECONDS)
                break
            except queue.Full:
                pass

    def run(self, running: threading.Event, moved: Callable[[], object]) -> None:
        """Judges while ``running``; ``moved`` is called in every turn. Raises what the model, or the alarms on too many
        frames in a row, fail with, and Abandoned."""
        while running.is_set():
            moved()
            self._pass_time()
            try:
                item = self._waiting.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, Plan):
                with self._turn:
                    self._judge.end(item, self._commits.lease)
                continue
            while running.is_set() and wait([item], IDLE_SECONDS).not_done:
                moved()
                self._pass_time()
            if item.done():
                for answered in item.result():
                    moved()
                    self._frame(answered)

    def _pass_time(self) -> None:
        if time.monotonic() - self._ticked >= TICK_SECONDS:
            self._ticked = time.monotonic()
            with self._turn:
                # In this order: what was read up to then has its frames in flight, or done with.
                listened_ns = self._fetcher.listened_ns()
                waiting = self._ledger.cameras_in_flight()
                self._judge.tick(self._commits.lease, waiting=waiting, listened_ns=listened_ns)

    def _frame(self, one: Answered) -> None:
        frame = one.picture.frame
        if isinstance(one.answer, Exception):
            FAILURES.labels("model").inc()
            self._fetcher.reject(frame, "model_failed", one.answer)
            return
        self._outbox.wait_for_room()
        with self._turn:
            if self._commits.lease(frame.place.partition) != frame.lease:
                self._fetcher.leave(frame, "handed_over")
                return
            runs = self._skips.take(frame.camera)
            error = self._judge.frame(
                one.picture, one.looks, one.answer, revision=one.revision, stage_ms=one.stage_ms, skipped=runs
            )
        if error is not None:
            FAILURES.labels("alarms").inc()
            self._skips.put_back(frame.camera, runs)
            self._fetcher.reject(frame, "judging_failed", error)
            return
        self._ledger.scored(frame.camera, (frame.place.partition, frame.place.offset))
        observe(frame.camera, one.stage_ms)
