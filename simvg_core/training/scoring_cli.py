"""`simvg evaluate`, `simvg calibrate` and `simvg publish`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simvg_core.errors import InputError
from simvg_core.extras import needs
from simvg_core.training.folder import make_folder

if TYPE_CHECKING:
    from simvg_core.training.refused import Refused

Progress = Callable[[int, int], None]
DEVICES = ("auto", "cpu", "cuda")


@needs("an evaluation", "torch", "train")
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    data: Annotated[Path, typer.Option(help="Data set: a line set, RefCOCO and the like, or a rendered set.")],
    format: Annotated[
        str | None, typer.Option(help="Format of the data set; found from its files if not given.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data set; all if not given.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, where the format has them elsewhere.")
    ] = None,
    any_box: Annotated[
        bool, typer.Option("--any-box", help="Flickr30k: any box of a phrase is right, instead of the one around all.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Instead of the model's own.")] = None,
    branch: Annotated[
        list[str] | None, typer.Option(help="token or decoder; may be repeated. All that the model has if not given.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images (standing model) or pairs (joint model) at once.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    bfloat16: Annotated[bool, typer.Option("--bfloat16", help="Matrix products in bfloat16.")] = False,
    cost: Annotated[bool, typer.Option(help="Measure parameters, operations and time as well.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and the page report.html.")] = None,
) -> None:
    """Score a model on a data set: precision, exact answers, calibration and cost, by each of its branches.

    Example: simvg evaluate models/line-small --data benchmarks/line/test --out reports/line-small
    """
    import torch
    from rich.console import Console

    from simvg_core.errors import ConfigurationError
    from simvg_core.grounder import Grounder
    from simvg_core.training.evaluate import evaluate as evaluate_model
    from simvg_core.training.rendered import open_for_scoring
    from simvg_core.training.report import print_report, write_report
    from simvg_core.training.scoring import branches_of

    opened = open_for_scoring(data, format=format, split=split, images=images, merge_boxes=not any_box)
    loaded = Grounder.from_pretrained(model, device=_device(device))
    known = branches_of(loaded.model)
    if unknown := sorted(set(branch or ()) - set(known)):
        raise ConfigurationError(f"{model} has no branch {', '.join(unknown)}; it has {', '.join(known)}.")
    if out is not None:
        make_folder(out, "--out")
    with progress_bar(f"scoring {model.name}") as progress:
        evaluation = evaluate_model(
            loaded.model,
            loaded.processor,
            opened,
            name=model.name,
            threshold=threshold,
            limit=limit,
            branches=branch or None,
            batch_size=batch,
            dtype=torch.bfloat16 if bfloat16 else torch.float32,
            with_cost=cost,
            progress=progress,
        )
    print_report(evaluation.record, Console())
    if out is not None:
        typer.echo(f"page written to {write_report(evaluation, out)}")


@needs("a calibration", "torch", "train")
def calibrate(
    model: Annotated[
        Path, typer.Argument(help="Model folder; its config, and with --texts its weights, are rewritten.")
    ],
    data: Annotated[Path, typer.Option(help="Validation set: a line set or a rendered set.")],
    texts: Annotated[
        Path | None,
        typer.Option(help="Rendered set of other pictures: also fit what a text alone adds to its score."),
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="At most so many pictures of --texts.")] = 300,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    threshold: Annotated[
        bool, typer.Option("--threshold", help="Only choose the threshold anew, with the gate as it is.")
    ] = False,
    states: Annotated[
        bool,
        typer.Option("--states", help="Only fit anew how far cells are believed about states, crooked labels."),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Make scores probabilities: fit temperature, bias and threshold, and how far cells are believed about states, and
    store them with the model. With --texts first what each text alone adds, so that one threshold means the same for
    all; the gate is then gone. A gate needs new thresholds (`simvg gate`), then the model a new threshold (--threshold)
    and a new export.

    Example: simvg calibrate models/line-small --data benchmarks/line/val
    """
    from simvg_core.grounder import Grounder
    from simvg_core.model_folder import rewriting
    from simvg_core.training.calibrate import Calibration, calibrate, fit_states, rethreshold
    from simvg_core.training.data import LineSet
    from simvg_core.training.evaluate import first_images
    from simvg_core.training.rendered import open_for_scoring
    from simvg_core.training.text_bias import level

    if threshold + states + (texts is not None) > 1:
        raise InputError("--texts, --threshold and --states are each for another part of it; give one of them.")
    opened = open_for_scoring(data)
    loaded = Grounder.from_pretrained(model, device=_device(device))
    samples = first_images(opened.samples(), limit)
    if threshold:
        config = loaded.config
        now = Calibration(config.score_temperature, config.score_bias, config.score_threshold, math.nan, math.nan)
        with progress_bar(f"asking {model.name}") as progress:
            found = rethreshold(loaded.model, loaded.processor, samples, opened.task, now, progress)
        with rewriting(model) as part:
            config.save_pretrained(part)
        typer.echo(f"threshold {found.threshold:.2f}; calibration error {found.ece_after:.3f}")
        _tell(found.refused)
        return
    if states:
        with progress_bar(f"asking {model.name}") as progress:
            fit_states(loaded.model, loaded.processor, samples, opened.task, progress)
        with rewriting(model) as part:
            loaded.config.save_pretrained(part)
        _tell_states(loaded.config.cell_states)
        return
    bounded = loaded.model.bounded
    if bounded:  # its thresholds belong to scores as they were calibrated before
        loaded.config.gate_floors, loaded.config.gate_thresholds = [], []
    if texts is not None:
        with progress_bar("levelling texts") as progress:
            level(loaded, LineSet(texts), pictures, progress=progress)
    with progress_bar(f"asking {model.name}") as progress:
        found = calibrate(loaded.model, loaded.processor, samples, opened.task, progress)
    with rewriting(model) as part:
        if texts is None:
            loaded.config.save_pretrained(part)
        else:
            loaded.model.save_pretrained(part)
    if bounded and loaded.model.gate is None:  # levelled texts have other answers than it was fitted to
        typer.echo(f"the gate is gone; teach another one with `simvg gate {model} --fit … --data …`", err=True)
    elif bounded:
        typer.echo(f"the gate is off; choose its thresholds anew with `simvg gate {model} --data …`", err=True)
    typer.echo(
        f"temperature {found.temperature:.3f}, bias {found.bias:+.3f}, threshold {found.threshold:.2f}; "
        f"calibration error {found.ece_before:.3f} before, {found.ece_after:.3f} after"
    )
    if loaded.config.cell_states:
        _tell_states(loaded.config.cell_states)
    _tell(found.refused)


@needs("a published model", "torch", "train")
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    data: Annotated[Path, typer.Option(help="Validation set: calibrates the model.")],
    test: Annotated[Path, typer.Option(help="Set of the card's scores.")],
    hard: Annotated[Path | None, typer.Option(help="A second, harder one.")] = None,
    gate_fit: Annotated[Path | None, typer.Option(help="Folder of pictures that teach a gate, as simvg gate.")] = None,
    gate_data: Annotated[Path | None, typer.Option(help="Folder of others that its thresholds are chosen on.")] = None,
) -> None:
    """Turn a finished run into a model folder: calibrated, with a gate if wanted, scored, with its card.

    Example: simvg publish data/runs/line --out models/line --data benchmarks/line/val --test benchmarks/line/test
    """
    from simvg_core.training.publish import publish as publish_run
    from simvg_core.training.tables import overview

    if (gate_fit is None) != (gate_data is None):
        raise typer.BadParameter("--gate-fit and --gate-data go together: one teaches the gate, the other measures it.")
    gate = None if gate_fit is None or gate_data is None else (gate_fit, gate_data)
    make_folder(out, "--out")
    with progress_bar("") as progress:
        result = publish_run(
            run, out, data, test, hard, gate, lambda what, done, total: progress(done, total, f"asking {what}")
        )
    for name in ("test", "hard"):
        if name in result:
            typer.echo(f"\n{name}\n{overview(result[name]).markdown()}")
    typer.echo(f"model written to {out}")


def _tell(refused: Refused) -> None:
    """What was not asked, as a worker would not."""
    if refused.count:
        typer.echo(str(refused), err=True)


def _tell_states(fitted: Mapping[str, Sequence[float]]) -> None:
    """What cells are believed about."""
    each = (f"{kind} (temperature {value[0]:.3f}, bias {value[1]:+.3f})" for kind, value in fitted.items())
    typer.echo(f"states that cells tell: {', '.join(each) or 'none, each text is asked as it stands'}")


@contextlib.contextmanager
def progress_bar(text: str) -> Iterator[Callable[..., None]]:
    """Gives a function of (done, total) and, if wanted, another text that moves a bar; a log gets no bar."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=None)

        def move(done: int, total: int, description: str | None = None) -> None:
            bar.update(task, completed=done, total=total, description=description or text)

        yield move


def _device(name: str) -> str:
    """Raises ConfigurationError for an unknown name, or a GPU that is not there."""
    import torch

    from simvg_core.errors import ConfigurationError

    if name not in DEVICES:
        raise ConfigurationError(f"device={name!r} is not known; use one of {', '.join(DEVICES)}.")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigurationError("device='cuda' but torch sees no GPU; use --device cpu.")
    return "cuda" if there and name != "cpu" else "cpu"
