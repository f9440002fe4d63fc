"""`simvg explain`: what an answer rests on, drawn over the picture."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simvg_core.errors import InputError
from simvg_core.extras import needs

console = Console()


class Map(StrEnum):
    """What is drawn."""

    GRADIENT = "gradient"
    ATTENTION = "attention"
    POINTER = "pointer"
    SHEET = "sheet"


@needs("an explanation", "torch")
def explain(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    image: Annotated[Path, typer.Argument(help="Picture file.")],
    text: Annotated[str, typer.Argument(help="What to look for.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Picture to write, .png or .jpg; default: IMAGE's name with -why.png, in this folder."
        ),
    ] = None,
    map_: Annotated[
        Map,
        typer.Option(
            "--map",
            help="What moved the score, what was attended to, where a pointer head looked; sheet: all of these on one "
            "page, the attention of each layer too, with a table word × layer.",
        ),
    ] = Map.GRADIENT,
    layer: Annotated[
        int | None,
        typer.Option("--layer", min=0, help="With --map attention: the object token's attention in one layer, from 0."),
    ] = None,
) -> None:
    """Show which region and which words made an answer: a map over the picture and a bar per word.

    A text or a picture that a worker calls unknown is called so here, with the reason; map and score show what the
    model would have gone by.

    Example: simvg explain models/line-small frame.jpg "missing bolt" --out why.png --map sheet
    """
    from simvg_core.explain_picture import draw, explained, word_table

    out = out or Path(f"{image.stem}-why.png")
    if out.exists() and image.exists() and out.samefile(image):
        raise InputError(f"{out} is the picture that is explained; give --out another name.")
    why = explained(model, image, text, map_.value, layer)
    draw(why, out)
    answer = why.answer
    where = ", ".join(f"{value:.0f}" for value in answer.box_xyxy_px)
    console.print(
        f"{answer.state}, score {answer.score:.2f} (threshold {answer.threshold:.2f}), best box {where} px",
        highlight=False,
    )
    if answer.reason is not None:
        console.print(f"unknown: {answer.reason}", highlight=False, markup=False)
    if why.part is not None:
        told = f"the text is asked in parts; the map and the words are those of {why.part!r}"
        console.print(told, highlight=False, markup=False)
    heads, rows = word_table(why)
    title = "weight of each word, layer by layer and joined" if len(heads) > 1 else "weight of each word"
    table = Table("word", title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head.removeprefix("layer ") if len(heads) > 1 else head, justify="right")
    for word, weights in rows:
        table.add_row(Text(word), *(f"{weight:.2f}" for weight in weights))
    console.print(table)
    console.print(f"picture written to {out}", highlight=False, markup=False)
