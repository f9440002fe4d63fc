"""`simvg train` and its neighbours; also `python -m simvg_core.training.cli` on a machine with nothing else of ours."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from simvg_core.errors import SimVGError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Train, calibrate and score models.")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file with the run's settings.")],
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint.")] = False,
    output: Annotated[str | None, typer.Option(help="Folder of the run, instead of the config's.")] = None,
    minutes: Annotated[float | None, typer.Option(help="End after so many minutes, instead of the config's.")] = None,
    steps: Annotated[int | None, typer.Option(help="End after so many steps, instead of the config's.")] = None,
    start_from: Annotated[str | None, typer.Option(help="Model folder whose weights are the start.")] = None,
) -> None:
    """Train a model on rendered sets.

    Example: simvg train simvg_core/training/configs/line-first.yaml --minutes 60
    """
    from simvg_core.training.settings import read_settings
    from simvg_core.training.train import Trainer

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = read_settings(config, output=output, max_minutes=minutes, max_steps=steps, start_from=start_from)
    with _display(settings.max_steps, settings.max_minutes) as shown:
        trainer = Trainer(settings, resume=resume, on_step=lambda step, terms: shown(trainer.share(), step, terms))
        folder = trainer.run()
    typer.echo(f"model written to {folder}")


class _display:
    """A progress bar where rich is installed and a person watches; silent otherwise."""

    def __init__(self, steps: int | None, minutes: float | None) -> None:
        self.bar: Any = None
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

    def __enter__(self) -> _display:
        if self.bar is not None:
            self.bar.start()
            self.task = self.bar.add_task("training", total=1.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, share: float, step: int, terms: dict[str, float]) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=share, description=f"step {step}, loss {terms['loss']:.3f}")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    data: Annotated[Path, typer.Option(help="Rendered set.")],
    limit: Annotated[int | None, typer.Option(help="Only so many pictures.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Instead of the model's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the report as JSON.")] = None,
) -> None:
    """Score a model on a rendered set: overall, by query kind, by noun, and as standing queries.

    Example: simvg evaluate models/line-small --data data/line-val
    """
    from simvg_core.model import SimVGForGrounding
    from simvg_core.text import read_pieces
    from simvg_core.training.data import LineSet
    from simvg_core.training.evaluate import report, table

    loaded = SimVGForGrounding.from_pretrained(model)
    pieces = read_pieces(model, loaded.config.tokenizer)
    result = report(loaded, LineSet(data), threshold=threshold, limit=limit, pieces=pieces)
    if out is not None:
        out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    typer.echo(table(result))


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help="Model folder; its config is rewritten.")],
    data: Annotated[Path, typer.Option(help="Rendered validation set.")],
    limit: Annotated[int | None, typer.Option(help="Only so many pictures.")] = None,
) -> None:
    """Make scores probabilities: fit temperature, bias and threshold, and store them with the model.

    Example: simvg calibrate models/line-small --data data/line-val
    """
    from simvg_core.model import SimVGForGrounding
    from simvg_core.text import read_pieces
    from simvg_core.training.calibrate import fit, store
    from simvg_core.training.data import LineSet
    from simvg_core.training.evaluate import outcomes_of, standing_outcomes

    loaded = SimVGForGrounding.from_pretrained(model)
    pieces = read_pieces(model, loaded.config.tokenizer)
    outcomes = outcomes_of(loaded, LineSet(data), limit=limit, pieces=pieces)
    outcomes += [outcome for outcome, _ in standing_outcomes(loaded, LineSet(data), limit=limit, pieces=pieces)]
    found = fit(outcomes, loaded.config)
    store(loaded.config, found)
    loaded.config.save_pretrained(model)
    typer.echo(
        f"temperature {found.temperature:.3f}, bias {found.bias:+.3f}, threshold {found.threshold:.2f}; "
        f"calibration error {found.ece_before:.3f} before, {found.ece_after:.3f} after"
    )


@app.command()
def tokenizer(folder: Annotated[Path, typer.Argument(help="Where tokenizer.json goes.")]) -> None:
    """Write the tokenizer that is made from the grammar's words.

    Example: simvg tokenizer models/line-small
    """
    from simvg_core.training.tokenizer import write_tokenizer

    typer.echo(f"tokenizer written to {write_tokenizer(folder)}")


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    data: Annotated[Path, typer.Option(help="Rendered validation set: half calibrates, half scores.")],
) -> None:
    """Turn a finished run into a model folder: calibrated, scored, with its card.

    Example: simvg publish data/runs/line-first --out models/line-small --data data/line-val
    """
    from simvg_core.training.evaluate import table
    from simvg_core.training.publish import publish as publish_run

    typer.echo(table(publish_run(run, out, data)))
    typer.echo(f"model written to {out}")


def main() -> None:
    """Runs the commands; a named error ends with its message and code 2."""
    try:
        app()
    except SimVGError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
