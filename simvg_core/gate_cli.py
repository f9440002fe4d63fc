"""`simvg gate`: measures what the gate of a model keeps out, and stores its threshold with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simvg_core.errors import ConfigurationError, InputError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
BATCH = 8


def gate(
    model: Annotated[Path, typer.Argument(help="Model folder; its config is rewritten.")],
    data: Annotated[Path, typer.Option(help="Folder of pictures of the line, searched with its sub-folders.")],
    queries: Annotated[
        Path | None, typer.Option(help="Text file, one query a line; default: what the line's vocabulary can name.")
    ] = None,
    recall: Annotated[float, typer.Option(help="Share of what the full pass finds that must pass the gate.")] = 0.999,
    threshold: Annotated[
        float | None, typer.Option(help="Store this threshold (logit of the warmest cell) instead.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many pictures.")] = None,
    store: Annotated[bool, typer.Option(help="Write the threshold into the model's config.")] = True,
    off: Annotated[bool, typer.Option("--off", help="Only turn the gate of the model off.")] = False,
) -> None:
    """Choose which standing queries a frame is asked at all: those whose warmest cell passes a threshold.

    Example: simvg gate models/line-small --data data/line-val
    """
    from simvg_core.configuration import SimVGConfig
    from simvg_core.gate import RECALLS
    from simvg_core.gate import store as write

    config = SimVGConfig.from_pretrained(model)
    if off:
        config.gate_threshold = None
        config.save_pretrained(model)
        typer.echo("gate off: every query gets its object tokens")
        return
    if not (config.auxiliary_heads and config.attention == "standing"):
        raise ConfigurationError(f"{model} has no heat map of standing queries, so it cannot have a gate.")
    if not 0 < recall <= 1:
        raise typer.BadParameter(f"--recall {recall} must lie above 0 and at most at 1.")
    measured = _measure(model, data, _texts(queries), limit)
    typer.echo("| recall | threshold | queries that pass, % | score of the others |")
    typer.echo("| ---: | ---: | ---: | ---: |")
    for wanted in sorted({*RECALLS, recall}):
        point = measured.for_recall(wanted)
        typer.echo(
            f"| {point.recall:.4f} | {point.threshold:+.2f} | {point.passing * 100:.1f} | {point.closed_score:.4f} |"
        )
    typer.echo(f"{len(measured.found)} pairs of picture and query, {int(measured.found.sum())} found by the full pass")
    chosen = measured.for_recall(recall) if threshold is None else measured.at(threshold)
    if store:
        write(config, chosen)
        config.save_pretrained(model)
        typer.echo(f"gate_threshold {chosen.threshold:+.3f} and gate_score {chosen.closed_score:.4f} stored in {model}")


def _texts(file: Path | None) -> list[str]:
    if file is None:
        return line_queries()
    texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not texts:
        raise InputError(f"{file} holds no query; write one a line.")
    return list(dict.fromkeys(texts))


def line_queries() -> list[str]:
    """What one can ask of the line in the singular: each thing by its names, plain and in its colours and sizes."""
    from simvg_core.lineworld.vocabulary import COLORS, CONCEPTS, SIZES

    texts = []
    for concept in CONCEPTS:
        for name, _ in concept.names:
            before = [""] + [f"{word} " for word in COLORS * concept.colored + SIZES * concept.sized]
            texts += [prefix + name for prefix in before]
    return list(dict.fromkeys(texts))


def _measure(model: Path, data: Path, texts: list[str], limit: int | None) -> Any:
    import cv2
    import torch

    from simvg_core.gate import curve
    from simvg_core.grounder import Grounder
    from simvg_core.processing import calibrated

    files = sorted(file for file in data.rglob("*") if file.suffix.lower() in PICTURES)[:limit]
    if not files:
        raise InputError(f"{data} holds no picture ({', '.join(PICTURES)}).")
    grounder = Grounder.from_pretrained(model, gate=False)
    batch = grounder.processor.texts(texts)
    with torch.inference_mode(), grounder.execution.precision(grounder.device):
        compiled = grounder.model.compile_queries(batch.input_ids, batch.attention_mask)
    warmth: list[float] = []
    score: list[float] = []
    for start in range(0, len(files), BATCH):
        names = files[start : start + BATCH]
        frames = [cv2.imread(str(name)) for name in names]
        if broken := [str(name) for name, frame in zip(names, frames, strict=True) if frame is None]:
            raise InputError(f"{broken[0]} cannot be read as a picture; remove or replace it.")
        pixels = grounder.processor.frames(frames).pixel_values
        with torch.inference_mode(), grounder.execution.precision(grounder.device):
            out = grounder.model.ground_frames(pixels.to(grounder.device), compiled, heat_map=True)
        assert out.heat_map is not None and out.token_logits is not None
        warmth += out.heat_map.amax(dim=-1).flatten().tolist()
        score += calibrated(out.token_logits, grounder.config).amax(dim=-1).flatten().tolist()
    return curve(warmth, score, [value >= grounder.config.score_threshold for value in score])
