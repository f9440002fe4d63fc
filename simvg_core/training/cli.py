"""`simvg train` and its neighbours; also `python -m simvg_core.training.cli` on a machine with nothing else of ours."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from simvg_core.errors import SimVGError
from simvg_core.extras import needs
from simvg_core.training import scoring_cli

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Train, calibrate and score models.")


@app.command()
@needs("a training", "torch", "train")
def train(
    config: Annotated[Path, typer.Argument(help="YAML file with the run's settings.")],
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint.")] = False,
    output: Annotated[str | None, typer.Option(help="Folder of the run, instead of the config's.")] = None,
    minutes: Annotated[float | None, typer.Option(help="End after so many minutes, instead of the config's.")] = None,
    steps: Annotated[int | None, typer.Option(help="End after so many steps, instead of the config's.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(help="Weights that are the start: a model folder, or a file of official SimVG or BEiT-3 weights."),
    ] = None,
) -> None:
    """Train a model on rendered sets, or on data sets of expressions.

    Example: simvg train simvg_core/training/configs/line-first.yaml --minutes 60
    """
    from simvg_core.training.settings import read_settings
    from simvg_core.training.train import Trainer

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = read_settings(config, output=output, max_minutes=minutes, max_steps=steps, start_from=start_from)
    trainer = Trainer(settings, resume=resume)
    first, ended = trainer.processes.first, trainer.ended()
    with _Bar(wanted=first and not ended) as bar:
        trainer.on_step = lambda step, terms: bar.show(trainer.share(), step, terms["loss"])
        folder = trainer.run()
    trainer.close()
    if first and ended:
        typer.echo(f"the run had ended at step {trainer.progress.step}; its model is in {folder}. A later end goes on.")
    elif first:
        typer.echo(f"model written to {folder}")


class _Bar:
    """A progress bar where one is wanted, rich is installed and a person watches; silent otherwise."""

    def __init__(self, wanted: bool) -> None:
        self.bar: Any = None
        if not wanted:
            return
        try:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        except ImportError:
            typer.echo("rich is not installed, so there is no progress bar; pip install rich.", err=True)
            return
        if Console().is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
            )

    def __enter__(self) -> _Bar:
        if self.bar is not None:
            self.bar.start()
            self.task = self.bar.add_task("training", total=1.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def show(self, share: float, step: int, loss: float) -> None:
        """After a step; `share` of the run is done, 0 … 1."""
        if self.bar is not None:
            self.bar.update(self.task, completed=share, description=f"step {step}, loss {loss:.3f}")


for command in (scoring_cli.evaluate, scoring_cli.calibrate, scoring_cli.publish):
    app.command()(command)


@app.command()
@needs("a mean of models", "torch")
def average(
    models: Annotated[list[Path], typer.Argument(help="Model folders of one architecture and tokenizer.")],
    out: Annotated[Path, typer.Option(help="Where the mean goes.")],
    weight: Annotated[
        list[float] | None, typer.Option(help="How much a model counts, once for each; default: all the same.")
    ] = None,
) -> None:
    """Average the weights of models that began from the same ones: often better than each. Calibrate the mean anew.

    Example: simvg average data/runs/a/model data/runs/b/model --out data/runs/mean/model
    """
    from simvg_core.training.average import average as mean

    typer.echo(f"mean of {len(models)} models written to {mean(models, out, weight)}")


@app.command()
def tokenizer(folder: Annotated[Path, typer.Argument(help="Where tokenizer.json goes.")]) -> None:
    """Write the tokenizer that is made from the grammar's words.

    Example: simvg tokenizer models/line-small
    """
    from simvg_core.training.tokenizer import write_tokenizer

    typer.echo(f"tokenizer written to {write_tokenizer(folder)}")


def main() -> None:
    """Runs the commands; a named error ends with its message and code 2."""
    try:
        app()
    except SimVGError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
