"""From a finished run to a model folder: calibrated on one set, scored on others, with its card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simvg_core.errors import CheckpointError
from simvg_core.gate_run import GateRun, pictures_in, pool_of
from simvg_core.gate_usual import EPOCHS, PICTURES, RECALL, TEXTS
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.training.calibrate import Calibration, calibrate, rethreshold
from simvg_core.training.evaluate import evaluate
from simvg_core.training.rendered import open_for_scoring
from simvg_core.training.tables import groups, overview

REPORT = "evaluation.json"
CARD = "README.md"
WEAK_FOUND, WEAK_AUC = 80.0, 0.95
"""Below either (T-acc in percent, AUC) a text, kind or noun is named among the card's limits."""
FEWEST = 20
"""A noun with fewer questions that have a target is named apart, as measured roughly: near WEAK_FOUND chance alone
moves the share found of so few by 9 points (one standard error) and more. Texts and kinds are asked often by design."""


@dataclass(frozen=True)
class Training:
    """How a run went, from its log."""

    steps: int
    minutes: float
    settings: dict[str, Any]

    @classmethod
    def of(cls, run: Path) -> Training:
        """Raises CheckpointError where RUN/log.jsonl is missing or tells of no step."""
        path = run / "log.jsonl"
        try:
            notes = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); name the folder of a training run.") from error
        last: dict[str, dict[str, Any]] = {note["what"]: note for note in notes}
        if not {"settings", "start", "train"} <= set(last):
            raise CheckpointError(f"{path} tells of no training step; name the folder of a training run.")
        return cls(
            steps=int(last.get("end", last["train"])["step"]),
            minutes=float(last["train"]["minutes"]),
            settings=last["settings"],
        )


Step = Callable[[str, int, int], None]


def publish(
    run: Path,
    out: Path,
    validation: Path,
    test: Path,
    hard: Path | None = None,
    gate: tuple[Path, Path] | None = None,
    progress: Step = lambda what, done, total: None,
) -> dict[str, Any]:
    """Writes weights, config, tokenizer, evaluation and card of RUN/model into `out`; returns the evaluation.

    Args:
        validation: set that fits calibration and threshold; neither trained on nor scored.
        test: set of the card's scores.
        hard: a second one, of what was never trained on.
        gate: folders of pictures that teach the model a gate, and that its thresholds are chosen on, as `simvg gate`.
        progress: gets (what is asked, expressions done, expressions in all).

    Raises:
        CheckpointError: the run is not finished.
        InputError: a set is missing, or the validation set too small to calibrate on.
    """
    source = run / "model"
    if not (source / "model.safetensors").is_file():
        raise CheckpointError(
            f"{source} has no model.safetensors; let the run end, or resume it with --resume --steps 1."
        )
    training = Training.of(run)
    model = SimVGForGrounding.from_pretrained(source)
    processor = SimVGProcessor.from_pretrained(source)
    sets = {"validation": open_for_scoring(validation), "test": open_for_scoring(test)}
    if hard is not None:
        sets["hard"] = open_for_scoring(hard)
    fitted = sets["validation"]
    asked = fitted.samples()
    calibration = calibrate(
        model, processor, asked, fitted.task, lambda done, total: progress("validation", done, total)
    )
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    result: dict[str, Any] = {"calibration": asdict(calibration)}
    if gate is not None:
        result["gate"] = _with_gate(out, *gate)
        model = SimVGForGrounding.from_pretrained(out)
        calibration = rethreshold(
            model, processor, asked, fitted.task, calibration, lambda done, total: progress("threshold", done, total)
        )
        model.config.save_pretrained(out)
        result["calibration"] |= asdict(calibration)
    for name, data in list(sets.items())[1:]:
        result[name] = evaluate(
            model,
            processor,
            data,
            name=out.name,
            with_cost=name == "test",
            progress=lambda done, total, name=name: progress(name, done, total),  # type: ignore[misc]
        ).record
    (out / REPORT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    folders = {"validation": validation, "test": test, "hard": hard}
    (out / CARD).write_text(
        card(out, training, calibration, result, folders, model.config.num_queries), encoding="utf-8"
    )
    return result


def _with_gate(model: Path, fit: Path, data: Path) -> dict[str, Any]:
    """Teaches a model folder a gate; what it was taught and measured on."""
    run = GateRun(model, pool_of(None, 0), by_truth=True, count=TEXTS, seed=0)
    run.fit(pictures_in(fit), PICTURES, EPOCHS)
    measured = run.measure(pictures_in(data))
    points = measured.points(RECALL, run.grounder.config.score_threshold)
    run.store(points, with_layers=True)
    facts = {"fit": str(fit), "data": str(data), "pairs": len(measured.score), "recall": RECALL}
    return facts | {"queries": run.grounder.config.gate_queries, "points": [asdict(point) for point in points]}


def card(
    out: Path,
    training: Training,
    calibration: Calibration,
    result: dict[str, Any],
    folders: dict[str, Path | None],
    answers: int,
) -> str:
    """What the model is, how it was made, what it can and cannot do; `answers` is the most boxes of a text."""
    settings = training.settings
    sets = ", ".join(f"`{folder}`" for folder in (*settings["data"], *settings["first_data"]))
    pictures = training.steps * int(settings["batch_size"])
    test = result["test"]
    return f"""# {out.name}

A SimVG grounding model for the rendered line: a picture and a short English text in, none, one or several boxes out.
{_size(test["cost"]["parameters"])}, {test["attention"]} attention, {_origin(settings)}.

## Use

```python
from simvg_core.grounder import Grounder

grounder = Grounder.from_pretrained("{out}")
print(grounder.ground([frame_bgr], ["missing bolt", "red cap"]))
```

`simvg work --model {out}` serves it on the line.

{_gate(out, result.get("gate"))}## Intended use

For finding what the line's vocabulary names (parts, their states, marks on them) in rendered pictures of the line, for
trying out and showing the product, and as the weights that a training on a line's own pictures begins from.

Not for a real line as it is: it knows rendered pictures only. First comes a commissioning on that line's own pictures:
train on some of them, score on others (`simvg evaluate`), and take each query's threshold from what comes of it.

Never as the only safeguard for people, and in place of no device that a standard or a law asks for: it misses things
without a sign of doubt. What is named weak among the limits needs another check beside it.

## Training

{training.steps} steps of {settings["batch_size"]} pictures with {settings["queries"]} questions each,
{pictures} pictures seen (repeats included) in {training.minutes:.0f} minutes; AdamW, learning rate
{settings["learning_rate"]:g}, averaged weights. Sets: {sets}.

## Scores

On `{folders["test"]}`, {test["images"]} pictures with {test["expressions"]} questions, none of them seen in training
or calibration; in percent (AUC and ECE 0 … 1). "synonym" are phrasings that training never says, "standing" the plain
texts asked of every picture. The baselines answer the same questions.

{overview(test).markdown()}
{_tables(test)}{_hard(result.get("hard"), folders["hard"])}
Calibration: temperature {calibration.temperature:.3f}, bias {calibration.bias:.3f}, threshold
{calibration.threshold:g}, from {result["calibration"]["questions"]} questions of `{folders["validation"]}` (expected
calibration error {calibration.ece_before:.3f} before, {calibration.ece_after:.3f} after; on the test set
{test["branches"]["token"]["all"]["ece"]:.3f}).

Repeat: `simvg evaluate {out} --data {folders["test"]} --out DIR` also draws a page with plots and the worst answers.

## Limits

- Pictures were rendered, never photographed. On a real line expect far lower scores until the model is trained on
  pictures of that line.
- The threshold is one for all texts. A standing query should get its own from what the line shows.
- It knows the words of the line's vocabulary; for other words the scores mean nothing.
- At most {answers} boxes per text.
{_weak(test, folders["test"])}{_weak(result.get("hard"), folders["hard"])}"""


def _gate(out: Path, facts: dict[str, Any] | None) -> str:
    """What the gate does to scores and queries; empty without one."""
    if facts is None:
        return ""
    last = facts["points"][-1]
    return f"""A gate bounds the scores: what it gives less than a threshold scores less than the score that this
threshold belongs to. It learned on pictures of `{facts["fit"]}`, from what the model answers there and from the truth;
its {len(facts["points"])} thresholds let {100 * facts["recall"]:g} % pass of what the model finds rightly in
`{facts["data"]}` ({facts["pairs"]:,} pairs of picture and text, of which {100 * last["passing"]:.0f} % pass at the
model's own threshold). The scores below are with it. From {facts["queries"]} standing queries on a frame is asked only
those that pass ([what that costs](../../docs/benchmarks/gate.md)).

"""


def _size(parameters: Mapping[str, int]) -> str:
    """How many numbers the written model learned, its gate's too, which no run's log knows of."""
    told = f"{parameters['total'] / 1e6:.1f} million parameters"
    return f"{told}, {parameters['gate'] / 1e6:.1f} of them the gate's" if "gate" in parameters else told


def _origin(settings: dict[str, Any]) -> str:
    """Where the weights began."""
    if settings.get("start_from"):
        return f"trained from the weights of `{settings['start_from']}`"
    return "trained from scratch on rendered pictures only: no pretrained weights, no photographs"


def _tables(record: dict[str, Any], *, level: int = 3, most: int | None = None) -> str:
    """The groups' tables under headings of this level; `most`: only so many."""
    tables = groups(record, "token") if most is None else groups(record, "token", most)
    return "\n".join(f"{'#' * level} {table.title}\n\n{table.markdown()}" for table in tables)


def _weak(record: dict[str, Any] | None, folder: Path | None) -> str:
    """Limits that name the texts, kinds and nouns of a set below WEAK_FOUND or WEAK_AUC; empty without any."""
    if record is None:
        return ""
    scores = record["branches"]["token"]
    sorts = {"texts": "texts", "kinds of query": "by_kind", "nouns": "by_noun"}
    weak = {
        sort: ", ".join(f"{name} ({_told(row)})" for name, row in scores[key].items() if _is_weak(row, key))
        for sort, key in sorts.items()
    }
    seldom = [
        f"{name} ({row['t_acc']:.0f} % of {row['with_target']})"
        for name, row in scores["by_noun"].items()
        if row["with_target"] < FEWEST and _finds_little(row)
    ]
    lines = ""
    if any(weak.values()):
        lines = (
            f"- Weak on `{folder}` (T-acc, the share of the questions with a target that it answers with a box, below "
            f"{WEAK_FOUND:g} %, or AUC below {WEAK_AUC:g}): "
            f"{'; '.join(f'{sort}: {named}' for sort, named in weak.items() if named)}.\n"
        )
    if seldom:
        lines += (
            f"- Nouns with a T-acc below {WEAK_FOUND:g} % on `{folder}` that have fewer than {FEWEST} questions with a "
            f"target there, so that it is measured roughly: {', '.join(seldom)}.\n"
        )
    return lines


def _is_weak(row: Mapping[str, Any], key: str) -> bool:
    """Whether a row of `key` is named; of a noun only what rests on FEWEST questions."""
    if key != "by_noun":
        return _finds_little(row) or _confuses(row)
    with_target, without = row["with_target"], row["questions"] - row["with_target"]
    return with_target >= FEWEST and (_finds_little(row) or (without >= FEWEST and _confuses(row)))


def _finds_little(row: Mapping[str, Any]) -> bool:
    found = row.get("t_acc")
    return found is not None and found < WEAK_FOUND


def _confuses(row: Mapping[str, Any]) -> bool:
    auc = row.get("auc")
    return auc is not None and auc < WEAK_AUC


def _told(row: Mapping[str, Any]) -> str:
    found, auc = row.get("t_acc"), row.get("auc")
    parts = [] if found is None else [f"{found:.0f} %"]
    return ", ".join(parts if auc is None else [*parts, f"AUC {auc:.3f}"])


def _hard(record: dict[str, Any] | None, folder: Path | None) -> str:
    if record is None:
        return ""
    return f"""
### Harder pictures

`{folder}`: {record["images"]} pictures of materials, tones of colours, belts, lamps and camera angles that
training never shows, {record["expressions"]} questions.

{overview(record).markdown()}
{_tables(record, level=4, most=2)}"""
