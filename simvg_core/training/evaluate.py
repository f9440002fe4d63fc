"""A model against a rendered set: the benchmark's questions, and standing queries by picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from simvg_core.answers import suppress
from simvg_core.boxes import cxcywh_to_xyxy
from simvg_core.lineworld.language import Grammar, standing_truth
from simvg_core.lineworld.vocabulary import HOLES
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import calibrated
from simvg_core.training.data import Batch, BatchMaker, LineSet, boxes_of, make_executor, model_inputs, prefetch
from simvg_core.training.metrics import Outcome, auc, grouped, summary
from simvg_core.words import Pieces

STANDING = (
    "missing bolt", "missing screw", "loose bolt", "loose screw", "crooked label", "scratch", "dent", "stain",
    "red cap", "blue cap", "green cap", "yellow cap", "black cap", "white cap", "orange cap", "cap of the wrong colour",
    "gear", "label", "connector", "cable", "screwdriver", "spanner", "wrench", "pair of pliers", "tool", "nut",
    "washer", "drilled hole",
)  # fmt: skip
"""Queries that are asked of every picture, as a line's standing queries are."""


@torch.no_grad()
def outcomes_of(
    model: SimVGForGrounding,
    lines: LineSet,
    *,
    queries: int = 12,
    seed: int = 7,
    limit: int | None = None,
    held_out_names: bool = False,
    batch_size: int = 8,
    workers: int = 1,
    names: Sequence[str] | None = None,
    pieces: Pieces | None = None,
) -> list[Outcome]:
    """Asks the benchmark's questions; the same ones for the same set and seed.

    Args:
        limit: only the first pictures of the set.
        held_out_names: also use phrasings that training never sees.
    """
    names = (lines.names() if names is None else names)[:limit]
    maker = BatchMaker(lines, model.config, None, Grammar(held_out=held_out_names), queries, seed, pieces)
    tasks = [(names[start : start + batch_size], 0) for start in range(0, len(names), batch_size)]
    outcomes: list[Outcome] = []
    was_training = model.training
    model.train(False)
    executor = make_executor(workers, processes=False)
    try:
        for (batch_names, _), batch in zip(tasks, prefetch(maker, tasks, executor), strict=True):
            outcomes += _answers(model, batch, batch_names)
    finally:
        if executor is not None:
            executor.shutdown()
        model.train(was_training)
    return outcomes


def _answers(model: SimVGForGrounding, batch: Batch, names: Sequence[str]) -> list[Outcome]:
    device = model.device
    with torch.autocast(device.type, dtype=torch.bfloat16):
        out = model(**model_inputs(batch, model.config, device, answers=False), branches=["token"])
    assert out.token_logits is not None and out.token_boxes is not None
    scores = calibrated(out.token_logits, model.config).cpu().numpy()
    boxes = cxcywh_to_xyxy(out.token_boxes.float()).clamp(0, 1).cpu().numpy()
    outcomes = []
    for index, query in enumerate(batch.queries):
        kept = _merged(boxes[index], scores[index], model.config.nms_iou)
        corners = batch.boxes[index]
        truth = np.concatenate([corners[:, :2] - corners[:, 2:] / 2, corners[:, :2] + corners[:, 2:] / 2], axis=1)
        outcomes.append(
            Outcome(
                kind=query.kind,
                noun=query.noun,
                text=query.text,
                image=names[int(batch.image_index[index])],
                lure=query.lure,
                boxes=boxes[index][kept],
                scores=scores[index][kept],
                score=float(scores[index].max()),
                truth=truth,
            )
        )
    return outcomes


def _merged(boxes: Any, scores: Any, nms_iou: float | None) -> list[int]:
    if nms_iou is None:
        return [int(index) for index in np.argsort(-scores, kind="stable")]
    return suppress(boxes, scores, nms_iou)


@torch.no_grad()
def standing_outcomes(
    model: SimVGForGrounding,
    lines: LineSet,
    texts: Sequence[str] = STANDING,
    *,
    names: Sequence[str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    pieces: Pieces | None = None,
) -> list[tuple[Outcome, bool]]:
    """Every text in every picture where it has an answer; beside each whether any hole is in view.

    Texts are compiled once; the pictures pass as frames do on the line.
    """
    names = (lines.names() if names is None else names)[:limit]
    maker = BatchMaker(lines, model.config, None, Grammar(), 1, 0, pieces)
    packed = maker.packer(list(texts))
    was_training = model.training
    model.train(False)
    compiled = model.compile_queries(packed.input_ids.to(model.device), packed.attention_mask.to(model.device))
    results: list[tuple[Outcome, bool]] = []
    for start in range(0, len(names), batch_size):
        part = names[start : start + batch_size]
        batch = maker((part, 0))
        pixels = model_inputs(batch, model.config, model.device, answers=False)["pixel_values"]
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            out = model.ground_frames(pixels, compiled)
        assert out.token_logits is not None and out.token_boxes is not None
        scores = calibrated(out.token_logits, model.config).cpu().numpy()
        boxes = cxcywh_to_xyxy(out.token_boxes.float()).clamp(0, 1).cpu().numpy()
        for row, scene in enumerate(batch.scenes):
            holes = any(seen.kind in HOLES for seen in scene)
            by_id = {seen.id: seen for seen in scene}
            for column, text in enumerate(texts):
                targets = standing_truth(scene, text)
                if targets is None:
                    continue
                kept = _merged(boxes[row, column], scores[row, column], model.config.nms_iou)
                truth = boxes_of([by_id[target] for target in targets])
                truth = np.concatenate([truth[:, :2] - truth[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2], axis=1)
                outcome = Outcome(
                    "standing", text, text, part[row], bool(holes), boxes[row, column][kept],
                    scores[row, column][kept], float(scores[row, column].max()), truth,
                )  # fmt: skip
                results.append((outcome, holes))
    model.train(was_training)
    return results


def report(
    model: SimVGForGrounding,
    lines: LineSet,
    *,
    threshold: float | None = None,
    limit: int | None = None,
    held_out_names: bool = True,
    pieces: Pieces | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Everything about one set, or the pictures `names` of it: overall, by kind, by noun, and standing queries."""
    floor = model.config.score_threshold if threshold is None else threshold
    names = (lines.names() if names is None else names)[:limit]
    outcomes = outcomes_of(model, lines, names=names, held_out_names=held_out_names, pieces=pieces)
    standing = standing_outcomes(model, lines, names=names, pieces=pieces)
    by_text: dict[str, Any] = {}
    for text in STANDING:
        own = [(outcome, holes) for outcome, holes in standing if outcome.noun == text]
        if not own:
            continue
        by_text[text] = summary([outcome for outcome, _ in own], floor)
        by_text[text]["with_target"] = sum(len(outcome.truth) > 0 for outcome, _ in own)
        by_text[text]["auc_against_holes"] = auc(
            [outcome.score for outcome, _ in own if len(outcome.truth)],
            [outcome.score for outcome, holes in own if not len(outcome.truth) and holes],
        )
    return {
        "pictures": len(names),
        "threshold": floor,
        "all": summary(outcomes, floor),
        "by_kind": grouped(outcomes, "kind", floor),
        "by_noun": grouped(outcomes, "noun", floor),
        "standing": by_text,
    }


def table(result: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    columns = (
        "questions", "p_at_05", "mean_iou", "pr_f1", "pr_f1_always_none", "pr_f1_with_target", "n_acc", "t_acc", "auc",
    )  # fmt: skip
    heads = ("questions", "P@0.5", "mean IoU", "Pr(F1=1)", "always none", "with a target", "N-acc", "T-acc", "AUC")
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    groups = [("**all**", result["all"])]
    groups += [(f"kind: {name}", scores) for name, scores in result["by_kind"].items()]
    groups += [(f"noun: {name}", scores) for name, scores in result["by_noun"].items()]
    groups += [(f"standing: {name}", scores) for name, scores in result["standing"].items()]
    for name, scores in groups:
        lines.append(f"| {name} | {' | '.join(_cell(scores[column], column) for column in columns)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, column: str) -> str:
    if value is None:
        return "–"
    if column == "questions":
        return str(value)
    return f"{value:.3f}" if column == "auc" else f"{value:.1f}"
