"""`simvg gate`: measures what the gate of a model keeps out, and stores its threshold with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simvg_core.errors import ConfigurationError, InputError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
PHRASES = 2500


def gate(
    model: Annotated[Path, typer.Argument(help="Model folder; its config, and with --fit its weights, are rewritten.")],
    data: Annotated[
        Path, typer.Option(help="Folder of pictures of the line to choose the threshold on, with its sub-folders.")
    ],
    fit: Annotated[
        Path | None,
        typer.Option(
            help="Folder of other pictures to teach the gate layers of its own on; default: leave it as it is."
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Text file, one query a line; default: the language of the rendered line, and what a picture "
            "is asked by the truth or annotations beside it."
        ),
    ] = None,
    recall: Annotated[float, typer.Option(help="Share of what the full pass finds that must pass the gate.")] = 0.999,
    threshold: Annotated[float | None, typer.Option(help="Store this threshold (logit of the gate) instead.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many pictures of --data.")] = None,
    pictures: Annotated[int, typer.Option(help="At most so many pictures of --fit.", min=1)] = 1500,
    texts: Annotated[int, typer.Option(help="Queries asked of each picture, besides its own.", min=1)] = 120,
    epochs: Annotated[int, typer.Option(help="Times that the gate sees each picture.", min=1)] = 25,
    seed: Annotated[int, typer.Option(help="Of the choice of pictures and queries, and of the first weights.")] = 0,
    store: Annotated[bool, typer.Option(help="Write the threshold, and with --fit the layers, into the model.")] = True,
    off: Annotated[bool, typer.Option("--off", help="Only turn the gate of the model off.")] = False,
) -> None:
    """Choose which standing queries a frame is asked at all: those that the gate gives at least a threshold.

    With --fit the gate gets layers of its own first, taught by what the model itself answers on those pictures; the
    model's answers do not change. A model that was trained on needs a gate fitted anew, and then a new `simvg export`.

    Example: simvg gate models/line-small --fit data/line-train --data data/line-val
    """
    from simvg_core.configuration import SimVGConfig
    from simvg_core.gate import RECALLS, ROUNDING
    from simvg_core.gate_run import GateRun

    config = SimVGConfig.from_pretrained(model)
    if off:
        config.gate_threshold = None
        config.save_pretrained(model)
        typer.echo("gate off: every query gets its object tokens")
        return
    if config.attention != "standing" or not (config.auxiliary_heads or config.gate_heads or fit):
        raise ConfigurationError(f"{model} has no heat map of standing queries and no gate layers; use --fit.")
    if not 0 < recall <= 1:
        raise typer.BadParameter(f"--recall {recall} must lie above 0 and at most at 1.")
    run = GateRun(model, _texts(queries, seed), by_truth=queries is None, count=texts, seed=seed)
    if fit is not None:
        run.fit(_pictures(fit), pictures, epochs)
    measured = run.measure(_pictures(data)[:limit])
    typer.echo("| recall | threshold | queries that pass, % | score of the others |")
    typer.echo("| ---: | ---: | ---: | ---: |")
    for wanted in sorted({*RECALLS, recall}):
        point = measured.for_recall(wanted)
        typer.echo(
            f"| {point.recall:.4f} | {point.threshold:+.2f} | {point.passing * 100:.1f} | {point.closed_score:.4f} |"
        )
    typer.echo(f"{len(measured.found)} pairs of picture and query, {int(measured.found.sum())} found by the full pass")
    chosen = measured.at(measured.for_recall(recall).threshold - ROUNDING if threshold is None else threshold)
    if store:
        run.store(chosen, with_layers=fit is not None)
        typer.echo(f"gate_threshold {chosen.threshold:+.3f} and gate_score {chosen.closed_score:.4f} stored in {model}")


def _texts(file: Path | None, seed: int) -> list[str]:
    if file is None:
        return line_queries(seed)
    texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not texts:
        raise InputError(f"{file} holds no query; write one a line.")
    return list(dict.fromkeys(texts))


def line_queries(seed: int) -> list[str]:
    """What one can ask of the line: each thing by its names, plain, in its colours and sizes, and many phrases."""
    from simvg_core.lineworld.diverse import diverse
    from simvg_core.lineworld.vocabulary import COLORS, CONCEPTS, SIZES

    texts = []
    for concept in CONCEPTS:
        for name, _ in concept.names:
            before = [""] + [f"{word} " for word in COLORS * concept.colored + SIZES * concept.sized]
            texts += [prefix + name for prefix in before]
    return list(dict.fromkeys([*texts, *(ask.text for ask in diverse(PHRASES, seed))]))


def _pictures(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)
    if not files:
        raise InputError(f"{folder} holds no picture ({', '.join(PICTURES)}).")
    return files
