"""What distillation gives the token branch, and what standing attention costs it: one model, data, seed and budget.

    .venv/bin/python benchmarks/distillation.py                 # all trainings, then the table
    .venv/bin/python benchmarks/distillation.py --train dwbd    # one of them; other processes may do the others

Interrupted trainings go on where they stopped when the command is given again. The table is written when all are done.
The pictures are made by `simvg line render --images 1000 --seed 112 --split train --out data/line-train`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import command, machine, positive  # noqa: E402  # the repository is on the path only now
from simvg_core.boxes import cxcywh_to_xyxy, iou  # noqa: E402
from simvg_core.calibration import calibrated  # noqa: E402
from simvg_core.fingerprint import fingerprint_of_folder  # noqa: E402
from simvg_core.model import SimVGForGrounding, SimVGOutput  # noqa: E402
from simvg_core.processing import SimVGProcessor  # noqa: E402
from simvg_core.training.data import LineSet  # noqa: E402
from simvg_core.training.metrics import auc  # noqa: E402
from simvg_core.training.sets.line import LineExpression, read_document  # noqa: E402
from simvg_core.training.settings import read_settings  # noqa: E402
from simvg_core.training.train import CHECKPOINT, Trainer  # noqa: E402

CONFIGS = REPOSITORY / "simvg_core/training/configs"
RUNS = ("token-alone", "dwbd", "standing")
EARLIER = """## What was tried before

The same with 700 steps, on 950 other pictures, scored on 250 of another set: token branch alone 13.0, with DWBD 12.0
(-0.9 points, 95 % interval -1.8 … -0.2), decoder branch 15.7, token branch in standing attention 12.8; W was 0.07 at
the end. All four had hardly begun to learn."""
ROWS = (
    ("token branch, alone", "token-alone", "token"),
    ("token branch, DWBD", "dwbd", "token"),
    ("decoder branch (teacher)", "dwbd", "decoder"),
    ("token branch, alone, standing attention", "standing", "token"),
)
KINDS = ("plain", "position", "relation", "superlative")
CPU_SECONDS = "cpu_seconds.json"
ENCODER = "encoder.txt"
"""The fingerprint of the model whose encoder all trainings began from."""


def link_pictures(source: Path, folder: Path, count: int) -> Path:
    """The first `count` pictures of a set, as links, so that a set that still grows is the same for both trainings."""
    names = LineSet(source).names()
    if len(names) < count:
        raise SystemExit(f"{source} holds {len(names)} pictures, {count} are wanted; render more or pass --pictures.")
    for name in names[:count]:
        for part in (f"images/{name}.jpg", f"truth/{name}.json"):
            link, target = folder / part, (source / part).resolve()
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # the other training makes the same ones
                link.symlink_to(target)
            if link.resolve() != target:
                raise SystemExit(f"{link} is of another set than {source}; name another folder with --runs.")
    if (held := len(LineSet(folder).names())) != count:
        raise SystemExit(f"{folder} holds {held} pictures, {count} are wanted; name another folder with --runs.")
    return folder


def train(name: str, args: argparse.Namespace) -> None:
    """Trains to the end, from the checkpoint where there is one; nothing to do where the model is written."""
    output = args.runs / name
    check_steps(output, args.steps)
    if (output / "model/model.safetensors").is_file():
        return
    data = link_pictures(args.data, args.runs / "pictures", args.pictures)
    settings = read_settings(
        CONFIGS / f"distill-{name}.yaml", data=[str(data)], output=str(output), max_steps=args.steps
    )
    assert settings.start_from is not None, "the settings of all trainings name it"
    check_encoder(args.runs / ENCODER, Path(settings.start_from))
    before = cpu_seconds(output)

    def note(step: int, terms: dict[str, float]) -> None:
        if step % 20 == 0:
            spent = before + time.process_time()
            (output / CPU_SECONDS).write_text(json.dumps({"step": step, "seconds": spent}))

    Trainer(settings, resume=(output / CHECKPOINT).is_file(), on_step=note).run()


def check_steps(output: Path, steps: int) -> None:
    """Raises SystemExit when a run that is there, whole or in part, was asked for another number of steps: the page
    would tell of `steps`."""
    log = output / "log.jsonl"
    if log.is_file() and (asked := noted(log, "settings")["max_steps"]) != steps:
        raise SystemExit(f"{output} is a training of {asked} steps, not of {steps}; name another folder with --runs.")


def check_encoder(kept: Path, model: Path) -> None:
    """Keeps the model's fingerprint in a file; raises SystemExit when another one was kept by an earlier training: only
    trainings from one encoder can be compared."""
    now = fingerprint_of_folder(model)
    if not kept.is_file():
        kept.write_text(now)
    if (before := kept.read_text()) != now:
        raise SystemExit(
            f"{model} is {now} now, earlier trainings began from {before}; name another folder with --runs."
        )


def cpu_seconds(output: Path) -> float:
    """What a training has cost so far; work between the last checkpoint and an interruption counts as well."""
    path = output / CPU_SECONDS
    return float(json.loads(path.read_text())["seconds"]) if path.is_file() else 0.0


@dataclass(frozen=True)
class Scores:
    """One branch on all questions, in the same order for every branch."""

    overlap: NDArray[np.float64]  # IoU of its box with the target; NaN without a target
    score: NDArray[np.float64]
    kind: NDArray[np.str_]
    picture: NDArray[np.int64]

    @property
    def targets(self) -> NDArray[np.bool_]:
        """Questions with a target."""
        return ~np.isnan(self.overlap)

    def precision(self, chosen: NDArray[np.bool_] | None = None) -> float:
        """P@0.5 in percent, of all questions with a target or the chosen ones."""
        asked = self.targets if chosen is None else self.targets & chosen
        return 100 * float((self.overlap[asked] >= 0.5).mean())


@torch.no_grad()
def evaluate(folder: Path, branches: list[str], args: argparse.Namespace) -> dict[str, Scores]:
    """The benchmark's questions with one target or none."""
    model, processor = SimVGForGrounding.from_pretrained(folder), SimVGProcessor.from_pretrained(folder)
    model.train(False)
    document = read_document(args.split)
    things = {thing.id: thing for thing in document.annotations}
    asked: dict[Any, list[LineExpression]] = {image.id: [] for image in document.images}
    for question in document.expressions:
        if len(question.annotation_ids) <= 1:
            asked[question.image_id].append(question)
    found: dict[str, list[tuple[float, float, str, int]]] = {branch: [] for branch in branches}
    for number, image in enumerate(document.images):
        questions = asked[image.id]
        if not questions:
            continue
        frame = cv2.imread(str(args.split / "images" / image.file_name))
        assert frame is not None, "the benchmark's pictures are in the repository"
        texts = processor.texts([question.text for question in questions], pad_to_longest=True)
        out = model(
            processor.frames([frame]).pixel_values,
            texts.input_ids,
            texts.attention_mask,
            image_index=torch.zeros(len(questions), dtype=torch.long),
            branches=branches,
        )
        for branch in branches:
            scores, boxes = answers(out, branch, model)
            for index, question in enumerate(questions):
                overlap = float("nan")
                if question.annotation_ids:
                    x, y, w, h = things[question.annotation_ids[0]].bbox
                    truth = torch.tensor([[x, y, x + w, y + h]]) / torch.tensor([image.width, image.height] * 2)
                    overlap = float(iou(boxes[index : index + 1], truth)[0])
                found[branch].append((overlap, float(scores[index]), question.kind, number))
    return {branch: Scores(*map(np.array, zip(*rows, strict=True))) for branch, rows in found.items()}


def answers(out: SimVGOutput, branch: str, model: SimVGForGrounding) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (N,) and corners (N, 4) of the only answer; of the decoder its last layer's."""
    if branch == "token":
        logits, boxes = out.token_logits, out.token_boxes
    else:
        assert out.decoder_logits is not None and out.decoder_boxes is not None
        logits, boxes = out.decoder_logits[-1], out.decoder_boxes[-1]
    assert logits is not None and boxes is not None
    return calibrated(logits[:, 0], model.config), cxcywh_to_xyxy(boxes[:, 0])


def gain(base: Scores, other: Scores, rounds: int = 2000) -> tuple[float, float, float]:
    """How much more P@0.5 `other` has, and its 95 % interval from drawing whole pictures anew."""
    hits = [(one.overlap >= 0.5).astype(float) for one in (base, other)]
    asked = base.targets
    count = base.picture.max() + 1
    difference = np.bincount(base.picture[asked], (hits[1] - hits[0])[asked], count)
    questions = np.bincount(base.picture[asked], minlength=count)
    drawn = np.random.default_rng(0).integers(0, count, (rounds, count))
    gains = 100 * difference[drawn].sum(axis=1) / questions[drawn].sum(axis=1)
    low, high = np.percentile(gains, [2.5, 97.5])
    return other.precision() - base.precision(), float(low), float(high)


def compared(base: Scores, other: Scores) -> str:
    """The gain in words."""
    better, low, high = gain(base, other)
    verdict = "more" if low > 0 else "less" if high < 0 else "not measurably different"
    return f"{better:+.1f} points of P@0.5 (95 % interval {low:+.1f} … {high:+.1f}, pictures drawn anew): {verdict}"


def branches_of(name: str) -> list[str]:
    """Those that the run trains."""
    return [branch for _, run, branch in ROWS if run == name]


def row(label: str, scores: Scores) -> str:
    """One line of the table."""
    asked = scores.targets
    kinds = " | ".join(f"{scores.precision(scores.kind == kind):.1f}" for kind in KINDS)
    present, absent = scores.score[asked].tolist(), scores.score[~asked].tolist()
    area = auc(present, absent)
    told = "–" if area is None else f"{area:.3f}"
    return f"| {label} | {scores.precision():.1f} | {kinds} | {100 * scores.overlap[asked].mean():.1f} | {told} |"


def report(args: argparse.Namespace) -> str:
    """The table with everything that made it."""
    scores = {name: evaluate(args.runs / name / "model", branches_of(name), args) for name in RUNS}
    logs = {name: noted(args.runs / name / "log.jsonl", "train") for name in RUNS}
    settings = read_settings(CONFIGS / "distill-dwbd.yaml", max_steps=args.steps)
    precision = noted(args.runs / "dwbd" / "log.jsonl", "start")["precision"]
    asked = scores["dwbd"]["token"].targets
    lead = scores["dwbd"]["decoder"].precision() - scores["token-alone"]["token"].precision()
    distilled = compared(scores["token-alone"]["token"], scores["dwbd"]["token"])
    standing = compared(scores["token-alone"]["token"], scores["standing"]["token"])
    costs = ", ".join(f"{name} {cpu_seconds(args.runs / name) / 60:.1f}" for name in RUNS)
    lines = [row(label, scores[name][branch]) for label, name, branch in ROWS]
    samples = args.steps * settings.batch_size
    return f"""# Distillation: the token branch with and without its teacher

One small model in joint attention with the paper's heads (`simvg_core/training/configs/distill-*.yaml`), trained
from a pretrained encoder (that of `models/line-small` with the fingerprint
`{(args.runs / ENCODER).read_text()}`; the heads begin at random) with the same pictures, questions, seed and number of
steps: its token branch alone; with the decoder branch and dynamic weight-balance distillation; and its token branch
alone in standing attention. Only the rows of a token branch run at its price.

| | P@0.5 | {" | ".join(KINDS)} | mean IoU | AUC |
| --- | ---: |{" ---: |" * len(KINDS)} ---: | ---: |
{chr(10).join(lines)}

P@0.5 (percent) and mean IoU are of the {int(asked.sum())} questions with a target, the columns between them P@0.5 by
kind; AUC tells those from the {int((~asked).sum())} questions without one. The pictures are those of the line
benchmark, `{args.split}`.

**DWBD gives the token branch {distilled}.**

**Standing attention, in which a picture does not see the texts, gives it {standing}.**
It runs at a fraction of the price for many queries ([queries.md](queries.md)). The encoder that all began from was
trained in standing attention, which favours it.

Both against the token branch alone in joint attention. One seed; the intervals do not hold the luck of a training.

At the end of training the balance weight W, the mean trust in the teacher, was {logs["dwbd"]["balance_weight"]:.2f};
the teacher was {lead:+.1f} points from the token branch alone. DWBD (paper, section 3.4) follows the truth where the
teacher is weak and the teacher where it is strong, so with a low W there is little to pass on. The paper trains for
thirty epochs from BEiT-3; this budget is a small part of that.

{EARLIER}

## How

- training: {args.steps} steps of {settings.batch_size} pictures with {settings.queries} questions, so {samples:,}
  pictures and {samples * settings.queries:,} questions, from {args.pictures} pictures of `{args.data.name}`
- core-minutes: {costs}, one thread each, on a shared machine
- machine: {machine()}, {precision}
- command: `{command()}`
"""


def noted(path: Path, what: str) -> dict[str, Any]:
    """The last line of its kind in a log."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found: dict[str, Any] = next(line for line in reversed(lines) if line["what"] == what)
    return found


def main() -> None:
    """Trains what is not trained yet, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", choices=RUNS, help="only this training; the table waits for the other one")
    parser.add_argument("--steps", type=positive, default=3000, help="of each training (default: 3000)")
    parser.add_argument("--pictures", type=positive, default=1000, help="the first so many of --data (default: 1000)")
    parser.add_argument("--data", type=Path, default=Path("data/line-train"), help="rendered set to train on")
    parser.add_argument("--split", type=Path, default=Path("benchmarks/line/test"), help="benchmark split to score on")
    parser.add_argument("--runs", type=Path, default=Path("data/runs/distill"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs/benchmarks/distillation.md", help="the table")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    for name in RUNS if args.train is None else (args.train,):
        train(name, args)
    if all((args.runs / name / "model/model.safetensors").is_file() for name in RUNS):
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(report(args), encoding="utf-8")
        logging.info("table written to %s", args.out)


if __name__ == "__main__":
    main()
