"""Makes a model folder from published weights: official SimVG checkpoints, and BEiT-3 pretraining as a start."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simvg_core.checkpoints import (
    ENCODER_PREFIX,
    PUBLISHED,
    LoadReport,
    config_from_official,
    config_from_tensors,
    encoder_sizes,
    load_beit3,
    load_official,
    mapping,
    read_tensors,
)
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import LISTED, CheckpointError, MismatchError
from simvg_core.model import SimVGForGrounding
from simvg_core.model_folder import PART, rewriting
from simvg_core.preparation import write_preparation
from simvg_core.text import XLMRobertaPieces, read_sentencepiece

SIZES = ("base", "large")
# Layers of the token branch that the first training stage never touches, and that start uniform in ±1/√inputs.
_TOKEN_LAYERS = ("head.mlp.layers.", "head.class_embed_token.", "head.bbox_embed_token.layers.")


@dataclass(frozen=True)
class Conversion:
    """What was written, and what a user should know about it."""

    folder: Path
    config: SimVGConfig
    report: LoadReport
    notes: list[str]


def convert_official(
    checkpoint: Path,
    out: Path,
    *,
    tokenizer: Path | None = None,
    settings: Path | None = None,
    weights: str | None = None,
    branch: str | None = None,
) -> Conversion:
    """An official SimVG training checkpoint → the folder `out` for `from_pretrained`. Every key must fit.

    Args:
        tokenizer: the SentencePiece model (`beit3.spm`); None writes a folder without a tokenizer.
        settings: JSON of the official model dict, for other sizes than base and large; None = as published for the
            width of the encoder.
        weights: "ema", "plain", None = the running average where there is one.
        branch: "token" or "decoder", whose answers count. None = as `settings` says, else "token", or "decoder"
            where the token branch still has its start values (a checkpoint of the first training stage).

    Raises:
        CheckpointError: the file, its keys, the tokenizer or `out` do not fit; it names them, and where there are many
            keys the file OUT-keys.json does.
        ConfigurationError: `settings` hold a wrong value, or `out` cannot be written.
    """
    _check_out(out)
    tensors = read_tensors(checkpoint, weights)
    notes = []
    config = config_from_tensors(tensors) if settings is None else config_from_official(settings)
    with torch.device("meta"):
        model = SimVGForGrounding(config)
    with _keys_told(out):
        report = load_official(model, tensors)
    if branch is None and settings is None and token_branch_is_untrained(tensors):
        branch = "decoder"
        notes.append(
            "The token branch still has its start values: a checkpoint of the first training stage. The decoder branch "
            "answers; --branch token overrules this."
        )
    if branch is not None:
        config.loss_weights = _losses_of(branch, config)  # the model's own: it is written into its config.json
    pieces = _pieces(tokenizer, config, notes)
    _write(model, pieces, out)
    return Conversion(out, config, report, notes)


def convert_beit3(
    checkpoint: Path,
    out: Path,
    *,
    size: str | None = None,
    settings: Path | None = None,
    image_size: int = 640,
    patch_size: int = 32,
    num_queries: int = 1,
    tokenizer: Path | None = None,
) -> Conversion:
    """A BEiT-3 pretraining checkpoint → an untrained SimVG model in `out` whose encoder has its weights.

    Args:
        size: "base" or "large"; or `settings`, JSON with "encoder": {embed_dim, heads, ffn, layers}.
        image_size, patch_size: of the new model, pixels; positions and patch kernels are resized to them.
        num_queries: answers per text: 1 for REC, 10 for GREC in the paper.

    Raises:
        CheckpointError: the file, its size, the tokenizer or `out` do not fit; it names them.
        ConfigurationError: `settings`, or the sides, hold a wrong value, or `out` cannot be written.
    """
    _check_out(out)
    tensors = read_tensors(checkpoint)
    config = _beit3_config(tensors, size, settings, image_size, patch_size, num_queries)
    notes = ["Only the encoder has learned anything: train the heads before use."]
    pieces = _pieces(tokenizer, config, notes)
    model = SimVGForGrounding(config)
    with _keys_told(out):
        report = load_beit3(model, tensors)
    _write(model, pieces, out)
    return Conversion(out, config, report, notes)


def token_branch_is_untrained(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no weight of the token branch has left the interval it started in.

    First-stage checkpoints hold the token branch as well, with random weights. Of a hundred thousand weights that were
    trained for an epoch, many lie outside.
    """
    layers = [key for key in tensors if key.startswith(_TOKEN_LAYERS) and key.endswith(".weight")]
    return bool(layers) and all(
        float(tensors[key].float().abs().max()) <= tensors[key].shape[1] ** -0.5 * (1 + 1e-6) for key in layers
    )


def _losses_of(branch: str, config: SimVGConfig) -> dict[str, float]:
    if branch == "decoder":
        return {"decoder": 1.0}
    if branch != "token":
        raise CheckpointError(f'branch {branch!r} is not known; use "token" or "decoder".')
    weights = config.loss_weights or {}
    published = PUBLISHED.get(config.hidden_size, SimVGConfig.base)().loss_weights or {}
    return weights if "token" in weights else {**published, **weights}


def _beit3_config(
    tensors: Mapping[str, Tensor],
    size: str | None,
    settings: Path | None,
    image_size: int,
    patch_size: int,
    num_queries: int,
) -> SimVGConfig:
    own: dict[str, Any] = {
        "image_size": image_size,
        "patch_size": patch_size,
        "num_queries": num_queries,
        "score_threshold": 0.0 if num_queries == 1 else 0.7,
    }
    words, rows = tensors.get("beit3.text_embed.weight"), tensors.get("beit3.encoder.embed_positions.B.weight")
    if words is None or rows is None:
        kind = "an official SimVG checkpoint; use `simvg convert official`"
        if not any(key.startswith(ENCODER_PREFIX) for key in tensors):
            kind = f"no BEiT-3 checkpoint (keys: {', '.join(list(tensors)[:3])} …)"
        raise CheckpointError(f"this is {kind}.")
    for name, table in (("text_embed", words), ("encoder.embed_positions.B", rows)):
        if table.dim() != 2:
            shape = tuple(table.shape)
            raise CheckpointError(f"beit3.{name}.weight is {shape}, not (rows, width); download the checkpoint again.")
    own |= {"vocab_size": len(words), "max_text_positions": len(rows) - 2}
    if settings is not None:
        return SimVGConfig(**{**own, **_encoder_sizes(settings)})
    if size not in SIZES:
        raise CheckpointError(f"size {size!r} is not known; use {' or '.join(SIZES)}, or give a config.")
    config: SimVGConfig = getattr(SimVGConfig, size)(**own)
    if words.shape[1] != config.hidden_size:
        fits = next((name for name in SIZES if getattr(SimVGConfig, name)().hidden_size == words.shape[1]), None)
        remedy = f"use --size {fits}" if fits else "give its sizes with --config"
        raise CheckpointError(
            f"the checkpoint's encoder is {words.shape[1]} wide, not {config.hidden_size} as {size}; {remedy}."
        )
    return config


def _encoder_sizes(settings: Path) -> dict[str, Any]:
    try:
        content = mapping(json.loads(settings.read_text()), "the file")
        name = "encoder" if "encoder" in content else "enc_shrink"
        return encoder_sizes(mapping(content[name], name))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{settings} is not a readable JSON file of encoder sizes ({error}).") from error
    except KeyError as error:
        raise CheckpointError(
            f'{settings} lacks {error}; give {{"encoder": {{"embed_dim", "heads", "ffn", "layers"}}}}.'
        ) from error


def _pieces(tokenizer: Path | None, config: SimVGConfig, notes: list[str]) -> XLMRobertaPieces | None:
    if tokenizer is None:
        notes.append("No tokenizer was given: the folder takes token ids only, until it is converted with one.")
        return None
    pieces = read_sentencepiece(tokenizer, config.vocab_size)
    spare = config.vocab_size - pieces.size
    if spare > 0.1 * config.vocab_size:
        notes.append(
            f"The tokenizer has {pieces.size} pieces for {config.vocab_size} rows of words: {spare} rows are never "
            "read. Check that it is the tokenizer the weights were trained with."
        )
    return pieces


@contextmanager
def _keys_told(out: Path) -> Iterator[None]:
    """A message too short for all the keys that do not fit is completed by a file beside `out`."""
    try:
        yield
    except MismatchError as error:
        if max(map(len, error.keys.values())) <= LISTED:
            raise
        file = out.with_name(f"{out.name}-keys.json")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(error.keys, indent=1) + "\n")
        except OSError:
            raise error from None
        raise MismatchError(f"{error} {file} names all keys.", error.keys) from error


def _check_out(out: Path) -> None:
    if not out.name:
        raise CheckpointError(f"{out} has no name of its own; name the folder to write, such as models/refcoco.")
    if out.exists() and (not out.is_dir() or any(file.name != PART for file in out.iterdir())):
        raise CheckpointError(f"{out} exists and is not an empty folder; choose another or remove it.")


def _write(model: SimVGForGrounding, pieces: XLMRobertaPieces | None, out: Path) -> None:
    with rewriting(out) as part:
        model.save_pretrained(part)
        write_preparation(model.config.to_dict(), part)
        if pieces is not None:
            pieces.save(part)
