"""The model is asked: a batch after the other, or as many at once as its engine takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue

from consumers.grounding.overload import Overload
from consumers.grounding.scoring import Question, Scorer
from consumers.grounding.stages import BATCH, stage_ms
from consumers.grounding.verdicts import Answered

Job = Callable[[], None]


class Asking:
    """Has a scorer look at batches. :meth:`start` it; then one thread asks: first :meth:`free`, then :meth:`ask`."""

    def __init__(
        self, scorer: Scorer, overload: Overload, at_once: int, *, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._scorer, self._overload, self._clock_ns = scorer, overload, clock_ns
        self._free = threading.Semaphore(at_once)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._counting = threading.Lock()
        self._asked = self._answered = self._told = 0
        # Not of a pool's: a model that never answers must not keep the process from ending.
        self._crew = [threading.Thread(target=self._serve, name=f"model-{n}", daemon=True) for n in range(at_once)]

    def start(self) -> None:
        for thread in self._crew:
            thread.start()

    def moves(self) -> bool:
        """Whether the model has answered since the last call, or has nothing to answer."""
        answered, before = self._answered, self._told
        self._told = answered
        return answered != before or answered == self._asked

    def free(self, seconds: float) -> bool:
        """Waits up to so long until one more batch may be asked; True takes its place."""
        return self._free.acquire(timeout=seconds)

    def give_back(self) -> None:
        """There is nothing to ask after all."""
        self._free.release()

    def ask(self, batch: Sequence[Question], revision: int, done: Callable[[], object]) -> Future[list[Answered]]:
        """Has the batch looked at; ``done`` is called when it is. The future raises what the model cannot recover from.

        ``revision``: of the queries that are asked.
        """
        fetched_ns = min(question.picture.frame.fetched_ns for question in batch)
        answers: Future[list[Answered]] = Future()

        def job() -> None:
            try:
                answers.set_result(self._answer(batch, revision, fetched_ns))
            except Exception as error:
                answers.set_exception(error)
            finally:
                with self._counting:
                    self._answered += 1
                self._free.release()
                done()

        self._asked += 1
        self._overload.begin(fetched_ns)
        self._jobs.put(job)
        return answers

    def close(self) -> None:
        """Nothing more is asked; what is being answered may be so to its end."""
        for _ in self._crew:
            self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _answer(self, batch: Sequence[Question], revision: int, fetched_ns: int) -> list[Answered]:
        started_ns = self._clock_ns()
        scores = self._scorer.score(batch)
        ended_ns = self._clock_ns()
        self._overload.end(fetched_ns, len(batch), scores.views, scores.pairs, scores.gate)
        BATCH.observe(len(batch))
        return [
            Answered(
                question.picture,
                question.looks,
                answer,
                revision,
                stage_ms(question.picture.frame, question.picture, started_ns, ended_ns),
            )
            for question, answer in zip(batch, scores.answers, strict=True)
        ]
