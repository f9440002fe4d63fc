"""What a frame costs a worker, by the number of its standing queries: the model's passes, and what is made of them.

    .venv/bin/python benchmarks/worker.py

Of every picture so many texts of the line's language are asked, five of them true of it and the others false, each a
standing query with the thresholds that it has when nothing else is set. A frame goes the way that it goes in a worker:
engine, findings, alarms, and the messages that tell of them, which are composed and not sent. Alarms of what is true
stand all the time. Writes docs/benchmarks/worker.md.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.gate import TRUE, Bench  # noqa: E402  # the path is set only now
from benchmarks.measure import Case, command, interleaved, machine, positive, write  # noqa: E402
from consumers.grounding.book import AlarmBook  # noqa: E402
from consumers.grounding.engine import GrounderEngine  # noqa: E402
from consumers.grounding.findings import Finding  # noqa: E402
from consumers.grounding.frames import Frame, Picture  # noqa: E402
from consumers.grounding.judge import Judge  # noqa: E402
from consumers.grounding.plan import Plan, views_asked  # noqa: E402
from consumers.grounding.plans import Plans  # noqa: E402
from consumers.grounding.scoring import Question, Scorer  # noqa: E402
from consumers.grounding.views import WHOLE  # noqa: E402
from consumers.grounding.vision import sample  # noqa: E402
from consumers.grounding.work import Work  # noqa: E402
from infra.contracts import FrameHeader, FrameReference, StandingQuery, utc_from_ns  # noqa: E402
from infra.queries import QuerySet  # noqa: E402
from simvg_core.memory import few_heaps, keep_memory  # noqa: E402

PAGE = Path("docs/benchmarks/worker.md")
CAMERA, PERIOD_NS, START_NS = "line-1", 200_000_000, 1_790_000_000_000_000_000
SETTLED = 8
"""Frames until the alarms of what is true stand."""


class Desk:
    """A worker's way of one picture, shown again and again, from the engine to composed messages."""

    def __init__(self, engine: GrounderEngine, queries: list[StandingQuery], pixels: NDArray[np.uint8]) -> None:
        plans = Plans(engine)
        plans.offer(QuerySet(1, tuple(queries)))
        plan = plans.swap()
        assert isinstance(plan, Plan), "it was just offered"
        self.engine, self.scorer, self.pixels = engine, Scorer(engine), pixels
        self.looks, self.number, self.bytes = plan.looks(CAMERA), 0, 0
        self.judge = Judge(AlarmBook(), self, model=engine.fingerprint, quality=80)
        self.judge.end(plan, lambda _: 1)

    def put(self, work: Work) -> None:
        """As the outbox, of which the messages go nowhere."""
        self.bytes = sum(len(one.value or b"") for one in work.messages({}))

    def ground(self) -> None:
        """The engine alone."""
        self.engine.ground([self.pixels], [views_asked(self.looks)[WHOLE]])

    def score(self) -> Mapping[str, Finding]:
        """And what it found, by query."""
        (answer,) = self.scorer.score([Question(self._picture(), self.looks)]).answers
        assert not isinstance(answer, Exception), answer
        return answer

    def frame(self) -> None:
        """And alarms and messages."""
        found, picture = self.score(), self._picture()
        error = self.judge.frame(picture, self.looks, found, revision=1, stage_ms={"ground": 1.0})
        assert error is None, error
        self.number += 1

    def _picture(self) -> Picture:
        height, width = self.pixels.shape[:2]
        taken_ns = START_NS + self.number * PERIOD_NS
        header = FrameHeader(
            id=f"{CAMERA}/e/{self.number}", camera=CAMERA, sequence=self.number, epoch="e", captured_ns=taken_ns,
            published_ns=taken_ns, width=width, height=height,
        )  # fmt: skip
        place = FrameReference(
            topic="frames", partition=0, offset=self.number, sequence=self.number, captured_at=utc_from_ns(taken_ns)
        )
        return Picture(Frame(header, place, b"", taken_ns), self.pixels, sample(self.pixels), 0.0)


def times(bench: Bench, count: int, pictures: int, rounds: int) -> tuple[dict[str, float], float]:
    """Seconds a frame, of each picture the median and of these the mean; and bytes of its messages."""
    found: dict[str, list[float]] = {}
    sizes = []
    now = datetime.now(UTC)
    for number in range(pictures):
        image = bench.images[number * len(bench.images) // pictures]
        places = [place for own in bench.thousand(image, number, count) for place in own]
        queries = [
            StandingQuery(id=f"q{place:05}", text=bench.pool[place].text, created=now, changed=now) for place in places
        ]
        desk = Desk(GrounderEngine(bench.grounder), queries, bench.frame(image))
        for _ in range(SETTLED):
            desk.frame()
        cases: dict[str, Case] = {
            "frame pass": partial(bench.full.encode_frames, [desk.pixels]),
            "engine": desk.ground,
            "findings": desk.score,
            "alarms": desk.frame,
        }
        for name, seconds in interleaved(cases, rounds).items():
            found.setdefault(name, []).append(statistics.median(seconds))
        sizes.append(desk.bytes)
    return {name: statistics.mean(seconds) for name, seconds in found.items()}, statistics.mean(sizes)


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/line-small"))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/line/test"))
    parser.add_argument("--queries", type=positive, nargs="+", default=[16, 64, 256, 1000])
    parser.add_argument("--pictures", type=positive, default=10, help="evenly over the split")
    parser.add_argument("--rounds", type=positive, default=9)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    few_heaps()  # as a worker does
    keep_memory()
    bench = Bench(given.model, given.split, given.pictures, 1, None)
    gc.collect()
    gc.freeze()
    lines = [
        "# What a frame costs a worker",
        "",
        f"`{command()}` on {machine()}; ONNX Runtime, 1 thread. `{given.model}`, the mean of {given.pictures} pictures "
        f"of `{given.split}`; of each the median of {given.rounds} interleaved rounds. {TRUE} of the queries are true; "
        "thresholds are those that queries have when nothing else is set.",
        "",
        "| queries | frame pass, ms | rest of the engine | findings | alarms and messages | all, of the frame pass "
        "| kB of results |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for count in given.queries:
        seconds, size = times(bench, count, given.pictures, given.rounds)
        steps = [seconds[name] * 1e3 for name in ("frame pass", "engine", "findings", "alarms")]
        more = " | ".join(f"+ {after - before:.1f}" for before, after in pairwise(steps))
        whole = steps[-1] / steps[0]
        lines.append(f"| {count:,} | {steps[0]:.1f} | {more} | {whole:.2f} | {size / 1e3:.1f} |")
    write(given.out, lines)


if __name__ == "__main__":
    main()
