"""A small drawn set and settings for a toy run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from simvg_core.lineworld.truth import seen_in
from simvg_core.training.data import LineSet
from simvg_core.training.sets.line import (
    LineAnnotation,
    LineDocument,
    LineExpression,
    LineImage,
    LineInfo,
    write_document,
)
from tests.simvg_core.drawn import write_drawn_set

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


@pytest.fixture(scope="session")
def worded_set(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn pictures with expressions: a thing in two wordings, two things, and nothing, of each."""
    folder = tmp_path_factory.mktemp("worded")
    lines = LineSet(drawn_set)
    images, annotations, expressions = [], [], []
    shutil.copytree(drawn_set / "images", folder / "images")
    for number, name in enumerate(lines.names()[:8]):
        frame, truth = lines.read(name)
        height, width = frame.shape[:2]
        images.append(LineImage(id=number, file_name=f"{name}.jpg", width=width, height=height))
        ids = []
        for seen in sorted(seen_in(truth), key=lambda seen: -seen.area)[:2]:
            x0, y0, x1, y1 = (seen.box[i] * (width, height)[i % 2] for i in range(4))
            ids.append(len(annotations))
            annotations.append(LineAnnotation(id=ids[-1], image_id=number, bbox=(x0, y0, x1 - x0, y1 - y0)))
        for text, meant in (("plate", ids[:1]), ("metal plate", ids[:1]), ("things", ids), ("red cap", [])):
            expressions.append(
                LineExpression(id=len(expressions), image_id=number, text=text, annotation_ids=tuple(meant))
            )
    write_document(
        LineDocument(info=LineInfo(), images=images, annotations=annotations, expressions=expressions), folder
    )
    return folder
