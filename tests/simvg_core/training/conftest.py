"""A small drawn set and settings for a toy run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simvg_core.lineworld.drawn import write_drawn_set

TOY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 96,
    "head_size": 32,
    "num_head_heads": 2,
    "query_generator_ffn_size": 32,
    "stem_widths": (8, 8, 16, 16),
}


@pytest.fixture(scope="session")
def drawn_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn pictures with their truth."""
    folder = tmp_path_factory.mktemp("drawn")
    write_drawn_set(folder, 12, seed=3)
    return folder


@pytest.fixture
def toy_settings(drawn_set: Path, tmp_path: Path) -> dict[str, Any]:
    """Six steps of a toy model, in this thread."""
    return {
        "data": (str(drawn_set),),
        "output": str(tmp_path / "run"),
        "model": TOY,
        "batch_size": 2,
        "queries": 4,
        "max_steps": 6,
        "round_steps": 4,
        "checkpoint_steps": 1,
        "log_steps": 1,
        "warmup_steps": 2,
        "workers": 0,
        "precision": "fp32",
        "device": "cpu",
    }
