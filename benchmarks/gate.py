"""What the gate keeps out, and what a thousand standing queries then cost.

    .venv/bin/python benchmarks/gate.py --model models/line-small

Of every picture two sets are asked: the benchmark's own questions, and a thousand texts of the line's language
(`simvg_core/lineworld/diverse.py`) of which five are true of it and the others are false. Counted is, of the parts that
the model is asked for them, what the object tokens alone give a score that matters, rightly or wrongly, and what of it
the gate lets pass; from which score on it matters is the query's affair: it is the model's threshold here, and what a
query's alarm clears below when nothing else is set (0.40). Then the thousand are answered with every text asked and
with those only that pass: answers must be the same. Writes docs/benchmarks/gate.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import Case, command, interleaved, machine, positive, write  # noqa: E402  # the path is set only now
from simvg_core.composing import Plan  # noqa: E402
from simvg_core.derived import Cells, asked_for, is_derived  # noqa: E402
from simvg_core.edge.grounder import EdgeGrounder  # noqa: E402
from simvg_core.edge.passes import Passes  # noqa: E402
from simvg_core.edge.queries import EdgeTexts  # noqa: E402
from simvg_core.gate_run import Pool, in_parts  # noqa: E402
from simvg_core.lineworld.benchmark import scene_of  # noqa: E402
from simvg_core.lineworld.diverse import diverse  # noqa: E402
from simvg_core.questions import gate_logits  # noqa: E402
from simvg_core.reading import read  # noqa: E402
from simvg_core.training.sets.line import LineDocument, LineImage, read_document  # noqa: E402

PAGE = Path("docs/benchmarks/gate.md")
THOUSAND, TRUE, POOL = 1000, 5, 4000
DEFAULT_FLOOR, TIMED = 0.4, 10
Mask = NDArray[np.bool_]


class Count:
    """Pairs of picture and text: those given a score that matters by the object tokens, rightly and wrongly, and how
    many of each pass the gate."""

    def __init__(self) -> None:
        self.pairs = self.passing = 0
        self.found = {True: 0, False: 0}
        self.kept = {True: 0, False: 0}

    def add(self, truth: Sequence[bool | None], found: Mask, passing: Mask) -> None:
        """The pairs of one picture; of some nobody knows whether they are true."""
        self.pairs += len(found)
        self.passing += int(passing.sum())
        for right in (True, False):
            these = found & np.array([one is right for one in truth])
            self.found[right] += int(these.sum())
            self.kept[right] += int((these & passing).sum())

    def row(self, floor: float, name: str) -> str:
        """One line of the page."""
        right, wrong = (
            f"{self.found[kind]:,} | {100 * self.kept[kind] / max(1, self.found[kind]):.2f}" for kind in (True, False)
        )
        return f"| {floor:.2f} | {name} | {self.pairs:,} | {right} | {wrong} | {100 * self.passing / self.pairs:.1f} |"


class Bench:
    """One model with its gate, on the pictures of one split."""

    def __init__(self, model: Path, split: Path, pictures: int, threads: int, floors: list[float] | None) -> None:
        self.grounder = EdgeGrounder(model, threads=threads, check_quality=False)
        self.full = EdgeGrounder(model, threads=threads, check_quality=False, gate=False)
        self.passes = Passes.load(model, self.full.config, threads)
        self.floors = floors or [self.full.config.score_threshold, DEFAULT_FLOOR]
        self.split, self.document = split, read_document(split)
        step = max(1, len(self.document.images) // pictures)
        self.images = list(self.document.images)[::step][:pictures]
        self.pool = diverse(POOL, 99)
        whole: Pool = {ask.text: ask for ask in self.pool}
        self.composing = self.grounder.composing
        self.asked = dict(whole) if self.composing is None else in_parts(whole, self.composing)

    def frame(self, image: LineImage) -> NDArray[np.uint8]:
        """Its pixels."""
        pixels = cv2.imread(str(self.split / "images" / image.file_name))
        assert pixels is not None, "the benchmark's pictures are in the repository"
        return pixels.astype(np.uint8, copy=False)

    def thousand(self, image: LineImage, seed: int, count: int = THOUSAND) -> tuple[list[int], list[int]]:
        """Places in the pool of texts that are false of a picture, and of texts that are true; so many together."""
        rng, scene = np.random.default_rng(seed), scene_of(self.document, image)
        verdicts = [(place, self.pool[place].judge(scene)) for place in rng.permutation(POOL).tolist()]
        true = [place for place, verdict in verdicts if verdict is True][:TRUE]
        return [place for place, verdict in verdicts if verdict is False][: count - len(true)], true

    def judged(self, image: LineImage, texts: EdgeTexts) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the object tokens alone and the gate give; (texts,) each."""
        seen = self.passes.encode([self.frame(image)])
        scores, _ = self.passes.objects(seen, texts)
        return scores[0].max(axis=-1), self.passes.warmth(seen, texts)[0][0]

    def counts(self) -> list[str]:
        """Rows of the page: of the benchmark's questions, and of the thousand; each as the model is asked."""
        names = "the benchmark's questions", f"{THOUSAND:,} texts, {TRUE} of them true"
        counts = {(floor, name): Count() for floor in self.floors for name in names}
        asked = asked_of(self.document)
        ready, place = self.grounder.compile_rows(list(self.asked)), {text: n for n, text in enumerate(self.asked)}
        assert ready is not None
        for number, image in enumerate(self.images):
            own = asked[image.id] if self.composing is None else known_of(asked[image.id], self.composing)
            compiled = self.grounder.compile_rows(list(own))
            assert compiled is not None, "every picture is asked something"
            wrong, right = self.thousand(image, number)
            texts = [self.pool[one].text for one in (*wrong, *right)]
            plan = Plan.of(texts, self.composing)
            many = texts if plan is None else plan.rows[: plan.first]
            scene = scene_of(self.document, image)
            truth = [None if (ask := self.asked[text]) is None else ask.judge(scene) for text in many]
            sets = (
                (list(own.values()), *self.judged(image, compiled)),
                (truth, *self.judged(image, ready.select([place[text] for text in many]))),
            )
            for floor in self.floors:
                least = float(gate_logits(np.array([floor], np.float32), self.full.config)[0])
                for name, (true, scores, warmth) in zip(names, sets, strict=True):
                    counts[floor, name].add(true, scores >= floor, warmth >= least)
        return [count.row(floor, name) for (floor, name), count in counts.items()]

    def differing(self, pictures: int) -> tuple[int, int]:
        """Of the thousand texts' answers from each floor on, how many are not the same with only those asked that pass,
        and how many there are."""
        differ = total = 0
        for number in range(pictures):
            image = self.images[number * len(self.images) // pictures]
            places = [*(lists := self.thousand(image, number))[0], *lists[1]]
            compiled = self.grounder.compile([self.pool[place].text for place in places])
            for floor in self.floors:
                rows = [one.ground([self.frame(image)], compiled, floor)[0] for one in (self.full, self.grounder)]
                found = [[(box, round(one.score or 0, 4)) for box in one.boxes_xyxy_px] for row in rows for one in row]
                half = len(found) // 2
                total += sum(map(len, found[:half]))
                differ += sum(
                    len(one) != len(two) or not np.allclose(_numbers(one), _numbers(two), atol=1e-2)
                    for one, two in zip(found[:half], found[half:], strict=True)
                )
        return differ, total

    def times(self, pictures: int, rounds: int) -> dict[str, float]:
        """Seconds of the parts for a picture and its thousand texts: of each the median, of these the mean."""
        found: dict[str, list[float]] = {}
        for number in range(pictures):
            for name, values in self._times_of(number, rounds).items():
                found.setdefault(name, []).append(statistics.median(values))
        return {name: statistics.mean(values) for name, values in found.items()}

    def _times_of(self, number: int, rounds: int) -> dict[str, list[float]]:
        image = self.images[number * len(self.images) // TIMED]
        frame, places = self.frame(image), [*(lists := self.thousand(image, number))[0], *lists[1]]
        names = [self.pool[place].text for place in places]
        compiled = self.grounder.compile(names)
        texts, seen = compiled._state[1], self.full.encode_frames([frame])
        assert texts is not None
        plan = Plan.of(names, self.composing)
        if plan is not None:
            texts = texts.head(plan.first)
        # as a worker does: what is asked is made ready once, not with every frame
        asked = {floor: self.grounder.question(compiled, floor) for floor in self.floors}
        cases: dict[str, Case] = {
            "frame pass": partial(self.full.encode_frames, [frame]),
            "gate": partial(self.passes.warmth, seen, texts),
            "frame, object tokens of all, answers": partial(
                self.full.ground_each, [frame], [self.full.question(compiled, self.floors[0])]
            ),
        }
        cases |= {
            f"frame, gate, object tokens of those that pass, answers, from {floor:.2f} on": partial(
                self.grounder.ground_each, [frame], [asked[floor]]
            )
            for floor in self.floors
        }
        return interleaved(cases, rounds, warm_up=2)


def _numbers(answers: Sequence[tuple[tuple[float, ...], float]]) -> list[float]:
    return [number for box, score in answers for number in (*box, score)]


def known_of(asked: Mapping[str, bool], cells: Cells) -> dict[str, bool | None]:
    """Parts of texts, and whether they are in the picture; None: of a text that is not true some part may be."""
    found: dict[str, bool | None] = {}
    for text, true in asked.items():
        reading = read(text)
        for part in reading.parts:
            if is_derived(part, cells):
                found |= {row: found.get(row) for row in asked_for(part, cells)}
            elif true or not reading.composed:
                found[part] = true
            else:
                found.setdefault(part, None)
    return found


def asked_of(document: LineDocument) -> dict[object, dict[str, bool]]:
    """The benchmark's questions by picture, and whether they have an answer."""
    asked: dict[object, dict[str, bool]] = {image.id: {} for image in document.images}
    for one in document.expressions:
        asked[one.image_id][one.text] = len(one.annotation_ids) > 0
    return asked


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/line-small"))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/line/test"))
    parser.add_argument("--pictures", type=positive, default=60, help="evenly over the split")
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--floors", type=float, nargs="+", help="scores from which on it matters")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    bench = Bench(given.model, given.split, given.pictures, given.threads, given.floors)
    if not bench.full.config.gate_floors:
        raise SystemExit(
            f"{given.model} has no gate; run `simvg gate {given.model} …` and `simvg export {given.model}`."
        )
    rows, seconds = bench.counts(), bench.times(TIMED, given.rounds)
    differ, total = bench.differing(TIMED)
    lines = [
        "# What the gate keeps out",
        "",
        f"`{command()}` on {machine()}; ONNX Runtime, {given.threads} threads. `{given.model}`, {len(bench.images)} "
        f"pictures of `{given.split}`. Pairs are of a picture and a text as the model is asked it, in parts; found is "
        "what the object tokens alone give a score that matters.",
        "",
        "| matters from | asked | pairs | found rightly | of these pass, % | found wrongly | of these pass, % | "
        "of all pass, % |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        f"Answers to the thousand texts in {TIMED} pictures, from either score on: {total:,}; not the same when only "
        f"the texts are asked that pass: {differ}.",
        "",
        f"A picture and its {THOUSAND:,} texts, the mean of {TIMED} pictures over the split; of each the median of "
        f"{given.rounds} interleaved rounds.",
        "",
        "| | ms | of the frame pass |",
        "| --- | ---: | ---: |",
    ]
    for name, values in seconds.items():
        lines.append(f"| {name} | {values * 1e3:.1f} | {values / seconds['frame pass']:.2f} |")
    write(given.out, lines)


if __name__ == "__main__":
    main()
