"""From a finished run to a model folder: calibrated on one set, scored on others, with its card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simvg_core.errors import CheckpointError
from simvg_core.gate_run import GateRun, pictures_in, pool_of
from simvg_core.gate_usual import EPOCHS, PICTURES, RECALL, TEXTS
from simvg_core.model import SimVGForGrounding
from simvg_core.model_folder import rewriting
from simvg_core.processing import SimVGProcessor
from simvg_core.training.calibrate import calibrate, rethreshold
from simvg_core.training.card import Training, card
from simvg_core.training.evaluate import evaluate
from simvg_core.training.rendered import open_for_scoring
from simvg_core.training.seen import check_apart, check_gate_apart
from simvg_core.words import FastPieces

REPORT = "evaluation.json"
CARD = "README.md"


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
    """Writes weights, config, tokenizer, evaluation and card of RUN/model into `out`, all of them at the end; returns
    the evaluation.

    Args:
        validation: set that fits calibration and threshold; neither trained on nor scored.
        test: set of the card's scores.
        hard: a second one, of what was never trained on.
        gate: folders of pictures that teach the model a gate, and that its thresholds are chosen on, as `simvg gate`.
        progress: gets (what is asked, expressions done, expressions in all).

    Raises:
        CheckpointError: the run is not finished.
        InputError: a set is missing, was trained on, is given for two purposes, or shares a picture with another
            (`check_apart`, `check_gate_apart`); or the validation set is too small to calibrate on.
        ConfigurationError: `out` cannot be written.
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
    folders = {"validation": validation, "test": test} | ({} if hard is None else {"hard": hard})
    pictures = {name: {sample.image for sample in one.samples()} for name, one in sets.items()}
    compared = check_apart(training.settings, folders, pictures)
    if gate is not None:
        check_gate_apart(*gate, pictures)
    fitted = sets["validation"]
    asked = fitted.samples()
    calibration = calibrate(
        model, processor, asked, fitted.task, lambda done, total: progress("validation", done, total)
    )
    with rewriting(out, anew=True) as part:
        model.save_pretrained(part)
        processor.save_pretrained(part)
        result: dict[str, Any] = {"calibration": asdict(calibration)}
        if gate is not None:
            result["gate"] = _with_gate(part, *gate)
            model = SimVGForGrounding.from_pretrained(part)
            calibration = rethreshold(
                model, processor, asked, fitted.task, calibration, lambda done, all_: progress("threshold", done, all_)
            )
            model.config.save_pretrained(part)
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
        (part / REPORT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        pieces = processor.text.pieces
        words = len(pieces.learned) if isinstance(pieces, FastPieces) else 0
        told = card(
            out, training, calibration, result, folders, compared, answers=model.config.num_queries, words=words
        )
        (part / CARD).write_text(told, encoding="utf-8")
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
