"""`simvg gate`: measures what the gate of a model keeps out, and stores its thresholds with the model."""

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
    limit: Annotated[int | None, typer.Option(help="Only so many pictures of --data.")] = None,
    pictures: Annotated[int, typer.Option(help="At most so many pictures of --fit.", min=1)] = 1500,
    texts: Annotated[int, typer.Option(help="Queries asked of each picture, besides its own.", min=1)] = 120,
    epochs: Annotated[int, typer.Option(help="Times that the gate sees each picture.", min=1)] = 25,
    seed: Annotated[int, typer.Option(help="Of the choice of pictures and queries, and of the first weights.")] = 0,
    store: Annotated[bool, typer.Option(help="Write the threshold, and with --fit the layers, into the model.")] = True,
    off: Annotated[bool, typer.Option("--off", help="Only turn the gate of the model off.")] = False,
) -> None:
    """Choose which standing queries a frame is asked at all: those that the gate gives at least a threshold. There is
    one for each of several scores from which on a query may care.

    With --fit the gate gets layers of its own first, taught by what the model itself answers on those pictures; the
    model's answers do not change. A model that was trained on needs a gate fitted anew, and then a new `simvg export`.

    Example: simvg gate models/line-small --fit data/line-train --data data/line-val
    """
    from simvg_core.configuration import SimVGConfig
    from simvg_core.gate_run import GateRun

    config = SimVGConfig.from_pretrained(model)
    if off:
        config.gate_floors, config.gate_thresholds = [], []
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
    points = measured.points(recall, run.grounder.config.score_threshold)
    typer.echo("| score from which on | pairs that have it | threshold | recall | pairs that pass, % |")
    typer.echo("| ---: | ---: | ---: | ---: | ---: |")
    for point in points:
        typer.echo(
            f"| {point.floor:g} | {measured.found(point.floor)} | {point.threshold:+.3f} | {point.recall:.4f} | "
            f"{point.passing * 100:.1f} |"
        )
    typer.echo(f"{len(measured.score)} pairs of picture and query")
    if store:
        run.store(points, with_layers=fit is not None)
        typer.echo(f"stored in {model}; a query that was not asked gets the score {run.grounder.config.gate_score:.4f}")


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
