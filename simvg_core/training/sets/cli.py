"""`simvg data …`: what is in a data set, and what is wrong with it."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from simvg_core.extras import needs
from simvg_core.training.sets.errors import SetSplitError
from simvg_core.training.sets.open import FORMATS, RENDERED, find_format, open_set
from simvg_core.training.sets.sample import GroundingSet, Problem

app = typer.Typer(no_args_is_help=True, help="Data sets: what is in them, and what is wrong with them.")

DataPath = Annotated[Path, typer.Argument(help="Folder of the set, or the file with its records.")]
Format = Annotated[
    str | None, typer.Option("--format", help=f"{', '.join(FORMATS)} or {RENDERED}; found from the files if left out.")
]
Split = Annotated[str | None, typer.Option("--split", help="Only this one, e.g. val or testA.")]
Images = Annotated[Path | None, typer.Option("--images", help="Folder of the images, where it is not the usual one.")]
AnyBox = Annotated[
    bool, typer.Option("--any-box", help="Flickr30k: keep the boxes of a phrase apart instead of merging them.")
]


@app.callback()
def data() -> None:
    """Data sets: what is in them, and what is wrong with them."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # broken records hold characters that no terminal can show
        sys.stdout.reconfigure(errors="backslashreplace")


@app.command("list")
def list_(path: DataPath, format: Format = None, images: Images = None) -> None:
    """List the splits of a set.

    Example: simvg data list data/refcoco
    """
    found = format or find_format(path)
    if found == RENDERED:
        from simvg_core.training.sets.rendered import check_rendered

        _print(_counts("rendered set", "pictures", check_rendered(path)[0]))
        return
    opened = open_set(path, format=found, images=images)
    _print(_counts(f"{opened.name} ({found}, {opened.task})", "expressions", opened.splits()))


@app.command("check")
def check(
    path: DataPath,
    format: Format = None,
    split: Split = None,
    images: Images = None,
    any_box: AnyBox = False,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every image too; finds files cut off.")] = False,
) -> None:
    """Check a set and name every broken record; the exit code is 1 if there is one.

    Example: simvg data check data/refcoco --split testA
    """
    found = format or find_format(path)
    if found == RENDERED:
        from simvg_core.training.sets.rendered import check_rendered

        pictures, problems = check_rendered(path)
        _print(_counts("rendered set", "whole pictures", pictures))
    else:
        opened = open_set(path, format=found, split=split, images=images, merge_boxes=not any_box)
        _print(_counts(f"{opened.name} ({found}, {opened.task})", "expressions", opened.splits()))
        _print(_kinds(opened))
        if opened.left_out():
            _print(_counts("left out", "expressions", opened.left_out(), "reason"))
        problems = opened.check(decode=decode)
    _report(problems)


@app.command("show")
@needs("a picture of an expression", "train")
def show(
    path: DataPath,
    record: Annotated[str, typer.Option("--record", help="Id of an expression.")],
    out: Annotated[Path, typer.Option("--out", help="Picture to write, .png or .jpg.")],
    format: Format = None,
    split: Split = None,
    images: Images = None,
    any_box: AnyBox = False,
) -> None:
    """Draw an expression's boxes into its image.

    Example: simvg data show data/refcoco --record 5-50 --out picture.png
    """
    from simvg_core.training.sets.show import write_picture

    samples = open_set(path, format=format, split=split, images=images, merge_boxes=not any_box).samples()
    for sample in samples:
        if sample.id == record:
            write_picture(sample, out)
            typer.echo(f"{sample.text!r} drawn into {out}")
            return
    some = ", ".join(sample.id for sample in samples[:3]) or "none"
    raise SetSplitError(f"{path} has no whole expression {record!r} among {len(samples)}; the first ids are {some}.")


def _counts(title: str, what: str, counts: Mapping[str, int], name: str = "split") -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(name)
    table.add_column(what, justify="right")
    for row, count in counts.items():
        table.add_row(row, f"{count:,}")
    return table


def _kinds(opened: GroundingSet) -> Table:
    samples = opened.samples()
    table = Table(title=f"usable expressions, split {opened.split}", title_justify="left")
    table.add_column("kind")
    for name in ("expressions", "images", "no target", "boxes"):
        table.add_column(name, justify="right")
    kinds = Counter(sample.kind for sample in samples)
    for kind in [*kinds, *(["all"] if len(kinds) != 1 else [])]:
        own = samples if kind == "all" and kind not in kinds else [one for one in samples if one.kind == kind]
        figures = (
            len(own),
            len({one.image_id for one in own}),
            sum(not one.boxes_xyxy_px for one in own),
            sum(len(one.boxes_xyxy_px) for one in own),
        )
        table.add_row(kind, *(f"{figure:,}" for figure in figures))
    return table


def _print(table: Table) -> None:
    Console().print(table)


def _report(problems: Sequence[Problem]) -> None:
    for problem in problems:
        typer.echo(str(problem))
    count = len(problems)
    typer.echo("no broken record" if not count else f"{count} broken record{'s' if count > 1 else ''}")
    raise typer.Exit(1 if problems else 0)
