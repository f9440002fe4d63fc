"""`simvg gate`: measures what the gate of a model keeps out, and stores its thresholds with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simvg_core.errors import ConfigurationError
from simvg_core.extras import needs
from simvg_core.gate_usual import EPOCHS, PICTURES, RECALL, TEXTS


@needs("a gate", "torch")
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
    recall: Annotated[
        float, typer.Option(help="Share of what the object tokens find, rightly where that is known, that must pass.")
    ] = RECALL,
    limit: Annotated[int | None, typer.Option(help="Only so many pictures of --data.", min=1)] = None,
    pictures: Annotated[int, typer.Option(help="At most so many pictures of --fit.", min=1)] = PICTURES,
    texts: Annotated[int, typer.Option(help="Queries asked of each picture, besides its own.", min=1)] = TEXTS,
    epochs: Annotated[int, typer.Option(help="Times that the gate sees each picture.", min=1)] = EPOCHS,
    seed: Annotated[int, typer.Option(help="Of the choice of pictures and queries, and of the first weights.")] = 0,
    store: Annotated[bool, typer.Option(help="Write the threshold, and with --fit the layers, into the model.")] = True,
    off: Annotated[bool, typer.Option("--off", help="Only turn the gate of the model off.")] = False,
) -> None:
    """Choose the gate's thresholds: it bounds the scores of texts that cannot be in a picture, and with many standing
    queries a frame is asked only the others. There is a threshold for each of several scores from which on a query may
    care.

    With --fit the gate gets layers of its own first. They learn from what the model answers on those pictures, and from
    the truth where it lies beside them, that what the model finds wrongly should not pass. A model that was trained on
    or calibrated anew needs thresholds, or a gate, anew, and then a new `simvg export`.

    Example: simvg gate models/line-small --fit data/line-train --data data/line-val
    """
    from simvg_core.configuration import SimVGConfig
    from simvg_core.gate_run import GateRun, pictures_in, pool_of
    from simvg_core.model_folder import rewriting

    config = SimVGConfig.from_pretrained(model)
    if off:
        config.gate_floors, config.gate_thresholds = [], []
        with rewriting(model) as part:
            config.save_pretrained(part)
        typer.echo("gate off: every query gets its object tokens, whose scores nothing bounds")
        return
    if config.attention != "standing":
        raise ConfigurationError(f'{model} has attention="{config.attention}"; a gate needs "standing".')
    if not (config.gate_heads or fit):
        raise ConfigurationError(f"{model} has no gate layers; use --fit.")
    if not 0 < recall <= 1:
        raise typer.BadParameter(f"--recall {recall} must lie above 0 and at most at 1.")
    run = GateRun(model, pool_of(queries, seed), by_truth=queries is None, count=texts, seed=seed)
    if fit is not None:
        run.fit(pictures_in(fit), pictures, epochs)
    measured = run.measure(pictures_in(data)[:limit])
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
