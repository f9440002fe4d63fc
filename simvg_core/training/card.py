"""The card of a model folder: what the model is, how it was made, what it can and cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simvg_core.errors import CheckpointError
from simvg_core.training.calibrate import Calibration
from simvg_core.training.runlog import read_log
from simvg_core.training.seen import Compared
from simvg_core.training.tables import groups, overview

WEAK_FOUND, WEAK_AUC = 80.0, 0.95
"""Below either (T-acc in percent, AUC) a text, kind or noun is named among the card's limits."""
FEWEST = 20
"""A noun with fewer questions that have a target is named apart, as measured roughly: near WEAK_FOUND chance alone
moves the share found of so few by 9 points (one standard error) and more. Texts and kinds are asked often by design."""

_RENDERED_USE = """\
For finding what the line's vocabulary names (parts, their states, marks on them) in rendered pictures of the line, for
trying out and showing the product, and as the weights that a training on a line's own pictures begins from.

Not for a real line as it is: it knows rendered pictures only. First comes a commissioning on that line's own pictures:
train on some of them, score on others (`simvg evaluate`), and take each query's threshold from what comes of it."""
_OWN_USE = """\
For finding what the expressions of its training sets name, in pictures like theirs: the same cameras, things, light.

Not for another line as it is. First comes a training on some of that line's own pictures, and scores on others
(`simvg evaluate`); each query's threshold comes of that."""
_RENDERED_LIMIT = """\
- Pictures were rendered, never photographed. On a real line expect far lower scores until the model is trained on
  pictures of that line."""
_OWN_LIMIT = """\
- The scores are those of pictures like its test set's. Where the line changes (products, cameras, light), score it on
  new pictures before it is relied on."""
_HARDER = "of materials, tones of colours, belts, lamps and camera angles that training never shows"


@dataclass(frozen=True)
class Training:
    """How a run went, from its log."""

    steps: int
    minutes: float
    settings: dict[str, Any]
    processes: int = 1
    left_out: Mapping[str, int] = field(default_factory=dict)  # of the sets, by reason

    @property
    def step_pictures(self) -> int:
        """Of all processes and passes together."""
        return int(self.settings["batch_size"]) * int(self.settings.get("accumulation", 1)) * self.processes

    @classmethod
    def of(cls, run: Path) -> Training:
        """Raises CheckpointError where RUN/log.jsonl is missing or tells of no step."""
        path = run / "log.jsonl"
        try:
            last: dict[str, dict[str, Any]] = {note["what"]: note for note in read_log(path)}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); name the folder of a training run.") from error
        if not {"settings", "start", "train"} <= set(last):
            raise CheckpointError(f"{path} tells of no training step; name the folder of a training run.")
        return cls(
            steps=int(last.get("end", last["train"])["step"]),
            minutes=float(last["train"]["minutes"]),
            settings=last["settings"],
            processes=int(last["start"].get("processes", 1)),
            left_out=last["start"].get("left_out", {}),
        )


def card(
    out: Path,
    training: Training,
    calibration: Calibration,
    result: dict[str, Any],
    folders: Mapping[str, Path],
    compared: Compared,
    *,
    answers: int,
    words: int,
) -> str:
    """The card's text, with what holds for a run on rendered sets, or on data sets of expressions.

    Args:
        folders: the sets that calibrated ("validation") and scored it ("test", perhaps "hard").
        answers: the most boxes of a text.
        words: how many words the model folder tells to be learned; 0 = it tells none.
    """
    settings = training.settings
    rendered = bool(settings["data"])
    test = result["test"]
    return f"""# {out.name}

A SimVG grounding model for {_for(settings)}: a picture and a short English text in, none, one or several boxes out.
{_size(test["cost"]["parameters"])}, {test["attention"]} attention, {_origin(settings)}.

## Use

```python
from simvg_core.grounder import Grounder

grounder = Grounder.from_pretrained("{out}")
print(grounder.ground([frame_bgr], ["missing bolt", "red cap"]))
```

`simvg work --model {out}` serves it on the line.

{_gate(out, result.get("gate"))}## Intended use

{_RENDERED_USE if rendered else _OWN_USE}

Never as the only safeguard for people, and in place of no device that a standard or a law asks for: it misses things
without a sign of doubt. What is named weak among the limits needs another check beside it.

## Training

{training.steps} steps of {training.step_pictures} pictures with {_asked(settings)},
{training.steps * training.step_pictures} pictures seen (repeats included) in {training.minutes:.0f} minutes; \
{_optimizer(settings)}, learning rate
{settings["learning_rate"]:g}{", averaged weights" if settings.get("ema", 1) else ""}. Sets: {_sets(settings)}.
{_not_taught(training, answers)}
## Scores

On `{folders["test"]}`, {test["images"]} pictures with {test["expressions"]} questions; in percent (AUC and ECE 0 … 1).
{_apart(compared, settings)}
{_kinds(test, rendered)}The baselines answer the same questions.

{overview(test).markdown()}
{_tables(test)}{_hard(result.get("hard"), folders.get("hard"), rendered)}
Calibration: temperature {calibration.temperature:.3f}, bias {calibration.bias:.3f}, threshold
{calibration.threshold:g}, from {result["calibration"]["questions"]} questions of `{folders["validation"]}` (expected
calibration error {calibration.ece_before:.3f} before, {calibration.ece_after:.3f} after; on the test set
{test["branches"]["token"]["all"]["ece"]:.3f}).{_left_out(calibration)}

Repeat: `simvg evaluate {out} --data {folders["test"]} --out DIR` also draws a page with plots and the worst answers.

## Limits

{_RENDERED_LIMIT if rendered else _OWN_LIMIT}
- The threshold is one for all texts. A standing query should get its own from what the line shows.
{_words(words)}
- At most {answers} boxes per text.
{_weak(test, folders["test"])}{_weak(result.get("hard"), folders.get("hard"))}"""


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


def _for(settings: Mapping[str, Any]) -> str:
    return "the rendered line" if settings["data"] else "pictures like those of its sets"


def _asked(settings: Mapping[str, Any]) -> str:
    """What a picture of a step is asked."""
    if not settings["data"]:
        return "one expression each"
    count = settings.get("false_texts", 0)
    false = f" and {count} false text{'s' if count > 1 else ''}" if count else ""
    return f"{settings['queries']} questions{false} each"


def _optimizer(settings: Mapping[str, Any]) -> str:
    return "Adam with AMSGrad" if settings.get("optimizer") == "adam_amsgrad" else "AdamW"


def _sets(settings: Mapping[str, Any]) -> str:
    """What was trained on, as the run's settings name it."""
    rendered = [f"`{folder}`" for folder in (*settings["data"], *settings["first_data"])]
    worded = [f"`{one['path']}`" + (f" ({one['split']})" if one["split"] else "") for one in settings.get("sets", ())]
    return ", ".join(rendered + worded)


def _not_taught(training: Training, answers: int) -> str:
    """What of its sets the run left out; empty where it was nothing."""
    told = ""
    if training.left_out:
        counts = ", ".join(f"{count} × {reason}" for reason, count in sorted(training.left_out.items()))
        told = f"Left out of them: {counts}.\n"
    if training.settings["data"] and (most := training.settings.get("max_targets", 0)) > answers:
        told += f"Of a question with up to {most} targets a step taught {answers} at most.\n"
    return told


def _apart(compared: Compared, settings: Mapping[str, Any]) -> str:
    """What is known of whether the pictures of the scores were seen before."""
    against = [*(f"`{name}`" for name in compared.apart), "the calibration's set"]
    told = (
        f"None of its picture files is in {', '.join(against)} (compared byte by byte: the same picture saved anew "
        "would pass)."
    )
    if compared.unread:
        unread = ", ".join(f"`{name}`" for name in compared.unread)
        told += f"\nNot compared, because not all of it is there any more: {unread}."
    if settings.get("start_from"):
        told += f"\nNot compared: what the weights of `{settings['start_from']}` had been trained on."
    return told


def _kinds(record: Mapping[str, Any], rendered: bool) -> str:
    """What two kinds of question are, which only the rendered line's have."""
    kinds = record["branches"]["token"]["by_kind"]
    if not (rendered and {"synonym", "standing"} & set(kinds)):
        return ""
    return '"synonym" are phrasings that training never says, "standing" the plain texts asked of every picture.\n'


def _left_out(calibration: Calibration) -> str:
    refused = calibration.refused
    return f" {refused}." if refused.count else ""


def _words(count: int) -> str:
    if not count:
        return "- Words that its training never said have scores that mean nothing."
    return f"- It knows the {count} words of `words.json`; a worker refuses a text with another."


def _size(parameters: Mapping[str, int]) -> str:
    """How many numbers the written model learned, its gate's too, which no run's log knows of."""
    told = f"{parameters['total'] / 1e6:.1f} million parameters"
    return f"{told}, {parameters['gate'] / 1e6:.1f} of them the gate's" if "gate" in parameters else told


def _origin(settings: dict[str, Any]) -> str:
    """Where the weights began."""
    if settings.get("start_from"):
        return f"trained from the weights of `{settings['start_from']}`"
    if not settings["data"]:
        return "trained from scratch on its sets only: no pretrained weights"
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


def _hard(record: dict[str, Any] | None, folder: Path | None, rendered: bool) -> str:
    if record is None:
        return ""
    what = f" {_HARDER}" if rendered else ""
    return f"""
### Harder pictures

`{folder}`: {record["images"]} pictures{what}, {record["expressions"]} questions.

{overview(record).markdown()}
{_tables(record, level=4, most=2)}"""
