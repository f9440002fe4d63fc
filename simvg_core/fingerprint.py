"""Telling models apart by their files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from simvg_core import preparation

_KEPT = (".safetensors", ".json", ".model")
_LEFT_OUT = ("evaluation.json", preparation.FILE)
"""What was measured of the model, and what only repeats its config, is no part of it."""


def fingerprint_of_folder(folder: Path) -> str:
    """Twelve hex digits of the SHA-256 over a model folder's config, tokenizer and weights."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in _KEPT and path.name not in _LEFT_OUT):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]
