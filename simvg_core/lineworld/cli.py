"""`simvg line …`: rendering the line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

app = typer.Typer(no_args_is_help=True, help="The rendered line: pictures with exact truth, and clips.")
console = Console()


@app.callback()
def line() -> None:
    """The rendered line: pictures with exact truth, and clips."""


def progress_bar() -> Progress:
    """Bar with count, time gone and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def advance(bar: Progress, task: TaskID) -> Callable[[int, int], None]:
    """Takes (done, total) and moves the bar of a task."""
    return lambda done, total: bar.update(task, completed=done, total=total)


def frame_size(text: str) -> tuple[int, int]:
    """``640x480`` → (640, 480). Raises typer.BadParameter for anything but two even numbers above 0."""
    width, _, height = text.partition("x")
    sides = [int(side) for side in (width, height) if side.isascii() and side.isdigit()]
    if len(sides) != 2 or any(side % 2 or side == 0 for side in sides):
        raise typer.BadParameter(f"{text!r}: write width x height, both even, e.g. 640x480", param_hint="--size")
    return sides[0], sides[1]


@app.command("render")
def render(
    out: Annotated[Path, typer.Option("--out", help="Folder of the set; what is there already is not rendered again.")],
    images: Annotated[int, typer.Option("--images", min=1, help="How many pictures.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the set.")] = 1,
    split: Annotated[
        str,
        typer.Option("--split", help="train, faults, rare, varied, val, test, val_hard, test_hard or commissioning."),
    ] = "train",
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
            out,
            images,
            seed,
            split,
            processes,
            start=start,
            samples=samples,
            progress=advance(bar, task),
        )
    console.print(f"{new} new pictures in {out}", highlight=False)


@app.command("benchmark")
def benchmark(
    split: Annotated[str, typer.Option("--split", help="val, test or test_hard.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for images/ and annotations.json.")],
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", help="Set rendered with the split's seed; without it the pictures are rendered."),
    ] = None,
    images: Annotated[int | None, typer.Option("--images", min=1, help="Only the first so many pictures.")] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Processes side by side.")] = 2,
) -> None:
    """Writes the line benchmark: fixed pictures with fixed queries, balanced over the kinds of query.

    Example: simvg line benchmark --split test --out benchmarks/line/test --pictures data/line-test
    """
    from simvg_core.lineworld.benchmark import build

    with progress_bar() as bar:
        task = bar.add_task(f"benchmark {split}", total=images)
        document = build(split, out, pictures, images=images, processes=processes, progress=advance(bar, task))
        bar.update(task, total=len(document.images), completed=len(document.images))
    kinds = Counter(expression.kind for expression in document.expressions)
    console.print(
        f"{len(document.images)} pictures with {len(document.expressions)} queries in {out}: "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())),
        highlight=False,
    )


@app.command("clip")
def clip(
    out: Annotated[Path, typer.Option("--out", help="Folder for demo.mp4, pass_*.mp4 and their truth (.json).")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the clip.")] = 4,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Length of the clip.")] = 60.0,
    fps: Annotated[float, typer.Option("--fps", min=1, help="Frames per second.")] = 10.0,
    size: Annotated[str, typer.Option("--size", help="Width x height in pixels, both even.")] = "640x480",
    work: Annotated[
        Path, typer.Option("--work", help="Folder for rendered frames, so that it can go on later.")
    ] = Path("data/clip"),
    processes: Annotated[int, typer.Option("--processes", min=1, help="Processes side by side.")] = 2,
    passes: Annotated[bool, typer.Option("--passes/--no-passes", help="Render the passes of `line:` too.")] = True,
) -> None:
    """Renders the demo clip and the passes of the endless line, with their truth. Can be stopped and started again.

    Example: simvg line clip --seed 4 --seconds 60 --out simvg_core/lineworld/assets
    """
    width, height = frame_size(size)
    from simvg_core.lineworld.clip import render_clip
    from simvg_core.lineworld.travel import PASS_FAULTS, PASS_SECONDS, PASS_SPEED, demo_faults, travelling_line

    jobs = [("demo", travelling_line(seed, demo_faults(seconds), width=width, height=height), seconds)]
    for k, fault in enumerate(PASS_FAULTS if passes else ()):
        run = travelling_line(seed, (fault,), width=width, height=height, speed=PASS_SPEED, variant=k)
        jobs.append((f"pass_{k + 1}", run, PASS_SECONDS))
    with progress_bar() as bar:
        for name, run, length in jobs:
            task = bar.add_task(name, total=round(length * fps))
            render_clip(
                run,
                out / f"{name}.mp4",
                seconds=length,
                fps=fps,
                work=work / name,
                processes=processes,
                progress=advance(bar, task),
            )


if __name__ == "__main__":
    app()
