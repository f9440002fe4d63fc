"""`simvg convert …`: published weights become a model folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from simvg_core.extras import needs

if TYPE_CHECKING:
    from simvg_core.convert import Conversion

app = typer.Typer(no_args_is_help=True, help="Make a model folder from published weights.")
console = Console()


class Weights(StrEnum):
    """Which weights of a training checkpoint count."""

    EMA = "ema"
    PLAIN = "plain"


class Branch(StrEnum):
    """Whose answers count."""

    TOKEN = "token"
    DECODER = "decoder"


class Size(StrEnum):
    """Published sizes."""

    BASE = "base"
    LARGE = "large"


Checkpoint = Annotated[Path, typer.Argument(help="The checkpoint: .pth, .zip (a renamed .pth) or .safetensors.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; must not exist or be empty.")]
Tokenizer = Annotated[Path | None, typer.Option("--tokenizer", help="SentencePiece model of BEiT-3, beit3.spm.")]


@app.callback()
def convert() -> None:
    """Make a model folder from published weights."""


@app.command("official")
@needs("a conversion", "torch")
def official(
    checkpoint: Checkpoint,
    out: Out,
    tokenizer: Tokenizer = None,
    weights: Annotated[
        Weights | None, typer.Option("--weights", help="Running average or not; default: the average if there is one.")
    ] = None,
    branch: Annotated[
        Branch | None, typer.Option("--branch", help="Whose answers count; default: token, unless it was not trained.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="JSON of the official model dict, for sizes other than base and large."),
    ] = None,
) -> None:
    """Convert an official SimVG training checkpoint, REC or GREC; every key and shape must fit.

    Example: simvg convert official det_best.pth --tokenizer beit3.spm --out models/refcoco
    """
    from simvg_core.convert import convert_official

    if tokenizer is None and config is None:
        raise typer.BadParameter(
            "published weights need the SentencePiece model of BEiT-3 to read words; give beit3.spm.",
            param_hint="--tokenizer",
        )
    done = convert_official(
        checkpoint,
        out,
        tokenizer=tokenizer,
        settings=config,
        weights=None if weights is None else weights.value,
        branch=None if branch is None else branch.value,
    )
    _show(done)


@app.command("beit3")
@needs("a conversion", "torch")
def beit3(
    checkpoint: Checkpoint,
    out: Out,
    size: Annotated[Size | None, typer.Option("--size", help="Size of the checkpoint's encoder.")] = None,
    image_size: Annotated[int, typer.Option("--image-size", min=1, help="Image side of the new model, pixels.")] = 640,
    patch_size: Annotated[int, typer.Option("--patch-size", min=1, help="Patch side of the new model, pixels.")] = 32,
    queries: Annotated[
        int, typer.Option("--queries", min=1, help="Answers per text: 1 always finds one thing, 10 none to ten.")
    ] = 1,
    tokenizer: Tokenizer = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help='JSON {"encoder": {"embed_dim", "heads", "ffn", "layers"}}, instead of --size.'),
    ] = None,
) -> None:
    """Make an untrained model whose encoder has the weights of a BEiT-3 pretraining checkpoint.

    Example: simvg convert beit3 beit3_base_patch16_224.pth --size base --image-size 640 --out models/start
    """
    from simvg_core.convert import convert_beit3

    if (size is None) == (config is None):
        raise typer.BadParameter("give one of --size base, --size large and --config FILE.", param_hint="--size")
    done = convert_beit3(
        checkpoint,
        out,
        size=None if size is None else size.value,
        settings=config,
        image_size=image_size,
        patch_size=patch_size,
        num_queries=queries,
        tokenizer=tokenizer,
    )
    _show(done)


def _show(done: Conversion) -> None:
    config, report = done.config, done.report
    console.print(
        f"{len(report.loaded)} weights loaded: {config.num_hidden_layers} layers of width {config.hidden_size}, "
        f"{config.image_size}×{config.image_size} pixels, patch {config.patch_size}, {config.num_queries} answer"
        f"{'s' if config.num_queries > 1 else ''} per text, {config.answer_branch} branch, pooled text "
        f'"{config.text_pooling}"',
        highlight=False,
    )
    for title, names in (("resized", report.interpolated), ("not used", report.unexpected)):
        if names:
            console.print(f"{title}: {', '.join(names)}", highlight=False, markup=False)
    for note in done.notes:
        console.print(f"[yellow]note:[/] {note}", highlight=False)
    console.print(f"model written to {done.folder}", highlight=False, markup=False)
