"""`onnx/export.json`: which weights the graphs beside it were made from, and which files they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from simvg_core.errors import CheckpointError

CARD = "export.json"
_DIGESTS = "sha256"


def write_card(graphs: Path, facts: Mapping[str, Any], files: Iterable[str]) -> None:
    """Writes the card of graphs that lie in the folder `graphs`; `files` are all that belong to the export."""
    _write(graphs, {**facts, _DIGESTS: {name: _digest(graphs / name) for name in sorted(files)}})


def add_graph(path: Path) -> None:
    """Tells of one more graph in the card beside it, or of one that was made anew. Raises CheckpointError."""
    told = read_card(path.parent)
    _write(path.parent, {**told, _DIGESTS: told[_DIGESTS] | {path.name: _digest(path)}})


def read_card(graphs: Path) -> dict[str, Any]:
    """What the card says: the weights' `fingerprint`, and the SHA-256 of each file.

    Raises:
        CheckpointError: it is missing, broken, or of an earlier version, which told no digests.
    """
    card = graphs / CARD
    try:
        told = dict(json.loads(card.read_text(encoding="utf-8")))
        return told | {"fingerprint": str(told["fingerprint"]), _DIGESTS: dict(told[_DIGESTS])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(
            f"{card} cannot be read ({why}); export the model again with `simvg export {graphs.parent}`."
        ) from error


def check_graph(path: Path) -> None:
    """That a graph is the one that the card beside it tells of. Those of two exports would run, for no model.

    Raises:
        CheckpointError: it is not, or cannot be read.
    """
    wanted = read_card(path.parent)[_DIGESTS].get(path.name)
    try:
        found = _digest(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); copy the whole model folder.") from error
    if found != wanted:
        raise CheckpointError(
            f"{path} has the SHA-256 {found}, but {CARD} beside it tells {wanted or 'nothing of it'}: it is of another "
            f"export, or broken. Run `simvg export {path.parent.parent}`, or copy the whole model folder."
        )


def _write(graphs: Path, told: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    card = graphs / CARD
    part = card.with_suffix(".part")
    try:
        part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        part.replace(card)
    finally:
        part.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
