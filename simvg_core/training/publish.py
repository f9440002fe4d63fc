"""From a finished run to a model folder: calibrated on one half of a set, scored on the other, with its card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simvg_core.errors import CheckpointError
from simvg_core.model import SimVGForGrounding
from simvg_core.text import read_pieces
from simvg_core.training.calibrate import Calibration, fit, store
from simvg_core.training.data import LineSet
from simvg_core.training.evaluate import outcomes_of, report, table

REPORT = "evaluation.json"
CARD = "README.md"


@dataclass(frozen=True)
class Training:
    """How a run went, from its log."""

    steps: int
    minutes: float
    parameters: int
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
            parameters=int(last["start"]["parameters"]),
            settings=last["settings"],
        )


def halves(names: list[str]) -> tuple[list[str], list[str]]:
    """Pictures to calibrate on and pictures to score, taken in turns."""
    return names[::2], names[1::2]


def publish(run: Path, out: Path, validation: Path) -> dict[str, Any]:
    """Writes weights, config, tokenizer, evaluation and card of RUN/model into `out`; returns the evaluation.

    Raises:
        CheckpointError: the run is not finished.
        InputError: the set is missing or too small to calibrate on.
    """
    source = run / "model"
    if not (source / "model.safetensors").is_file():
        raise CheckpointError(f"{source} has no model.safetensors; let the run end, or resume it with --minutes 0.")
    training = Training.of(run)
    model = SimVGForGrounding.from_pretrained(source)
    pieces = read_pieces(source, model.config.tokenizer)
    lines = LineSet(validation)
    to_calibrate, to_score = halves(lines.names())
    outcomes = outcomes_of(model, lines, names=to_calibrate, queries=20, pieces=pieces)
    calibration = fit(outcomes, model.config)
    store(model.config, calibration)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    pieces.save(out)
    result = report(model, lines, names=to_score, pieces=pieces)
    result["calibration"] = {**asdict(calibration), "questions": len(outcomes)}
    (out / REPORT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (out / CARD).write_text(
        card(out, training, calibration, result, validation, model.config.num_queries), encoding="utf-8"
    )
    return result


def card(
    out: Path, training: Training, calibration: Calibration, result: dict[str, Any], validation: Path, answers: int
) -> str:
    """What the model is, how it was made, what it can and cannot do; `answers` is the most boxes of a text."""
    settings = training.settings
    sets = ", ".join(f"`{folder}`" for folder in (*settings["data"], *settings["first_data"]))
    pictures = training.steps * int(settings["batch_size"])
    overall = result["all"]
    return f"""# {out.name}

A SimVG grounding model for the rendered line: a picture and a short English text in, none, one or several boxes out.
{training.parameters / 1e6:.1f} million parameters, standing attention, trained from scratch on rendered pictures
only: no pretrained weights, no photographs.

## Use

```python
from simvg_core.grounder import Grounder

grounder = Grounder.from_pretrained("{out}")
print(grounder.ground([frame_bgr], ["missing bolt", "red cap"]))
```

`simvg work --model {out}` serves it on the line.

## Training

{training.steps} steps of {settings["batch_size"]} pictures with {settings["queries"]} questions each,
{pictures} pictures seen (repeats included) in {training.minutes:.0f} minutes on a CPU shared with rendering; AdamW,
learning rate {settings["learning_rate"]:g}, averaged weights. Sets: {sets}.

## Scores

On {result["pictures"]} rendered pictures of `{validation}` that neither training nor calibration saw, in percent (AUC
0 … 1). "synonym" are phrasings that training never says, "standing" the plain texts asked of every picture. "Always
none" is what a model that never answers would score on Pr(F1=1).

{table(result)}
Calibration: temperature {calibration.temperature:.3f}, bias {calibration.bias:.3f}, threshold
{calibration.threshold:g}, from {result["calibration"]["questions"]} questions about the other half of the set
(expected calibration error {calibration.ece_before:.3f} before, {calibration.ece_after:.3f} after on that half;
{overall["ece"]:.3f} on the scored one).

Repeat on the whole set: `simvg evaluate {out} --data {validation}`.

## Limits

- Pictures were rendered, never photographed. On a real line expect far lower scores until the model is trained on
  pictures of that line.
- The threshold is one for all texts. A standing query should get its own from what the line shows.
- It knows the words of the line's vocabulary; for other words the scores mean nothing.
- At most {answers} boxes per text.
"""
