"""`simvg line …`: rendering the line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

app = typer.Typer(no_args_is_help=True, help="The rendered line: pictures with exact truth, and clips.")
console = Console()


@app.callback()
def line() -> None:
    """The rendered line: pictures with exact truth, and clips."""


def progress_bar() -> Progress:
    """Bar with count, time gone and time left."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), console=console
    )


@app.command("render")
def render(
    out: Annotated[Path, typer.Option("--out", help="Folder of the set; what is there already is not rendered again.")],
    images: Annotated[int, typer.Option("--images", min=1, help="How many pictures.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the set.")] = 1,
    split: Annotated[str, typer.Option("--split", help="train, val, test, val_hard or test_hard.")] = "train",
    processes: Annotated[int, typer.Option("--processes", min=1, help="Processes side by side.")] = 2,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Light samples per pixel before denoising.")] = 4,
    start: Annotated[int, typer.Option("--start", min=0, help="Number of the first picture.")] = 0,
) -> None:
    """Renders a set of pictures with their truth. Can be stopped and started again at any time.

    Example: simvg line render --images 500 --seed 1 --split val --out data/line-val
    """
    from simvg_core.lineworld.produce import render_set

    with progress_bar() as bar:
        task = bar.add_task(f"rendering {split}", total=images)
        new = render_set(
            out, images, seed, split, processes, start=start, samples=samples,
            progress=lambda done, total: bar.update(task, completed=done),
        )  # fmt: skip
    console.print(f"{new} new pictures in {out}", highlight=False)


if __name__ == "__main__":
    app()
