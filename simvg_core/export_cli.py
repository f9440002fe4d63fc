"""`simvg export`: the graphs that run without torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from simvg_core.errors import CheckpointError
from simvg_core.extras import needs


@needs("an export", "edge", "export", "torch")
def export(
    model: Annotated[Path, typer.Argument(help="Model folder; its graphs are written into its folder onnx.")],
) -> None:
    """Write a standing model as ONNX graphs (frame, text and query pass), which run without torch.

    A worker on a CPU then runs them in ONNX Runtime by itself. With --precision int8 it runs a frame pass whose
    weights are 8-bit integers, which is written as well: smaller and faster, with scores that differ a little. A model
    of other weights needs a new export; a worker refuses graphs of other weights than those beside them.

    Example: simvg export models/line-small
    """
    from simvg_core.grounder import Grounder
    from simvg_core.onnx_export import export as write
    from simvg_core.onnx_int8 import to_int8

    started = time.monotonic()
    read = Grounder.from_pretrained(model).model
    try:
        folder = write(read, model)
        to_int8(folder)
    except OSError as error:
        raise CheckpointError(
            f"the graphs of {model} cannot be written ({error}); check the rights and the free space, or export a copy "
            "of the folder."
        ) from error
    size = sum(path.stat().st_size for path in folder.iterdir())
    typer.echo(f"graphs written to {folder} ({size / 1e6:.1f} MB) in {time.monotonic() - started:.0f} s")
