"""What a run starts from: sizes, tokenizer, weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from simvg_core.checkpoints import ENCODER_PREFIX, load_beit3, load_official, read_tensors, resize_positions
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.lineworld.vocabulary import COLORS, NUM_DENSE_KINDS
from simvg_core.model import SimVGForGrounding
from simvg_core.text import read_pieces
from simvg_core.training.settings import TrainSettings
from simvg_core.training.tokenizer import build_tokenizer
from simvg_core.words import FastPieces, Pieces, read_fast_pieces

log = logging.getLogger(__name__)

_OBJECTS = "encoder.object_tokens"
_GLIMPSE = "encoder.patches.fine."
_GATE = "gate."
_TEXT_BIAS = "token_branch.text_bias."
_WORDS = "encoder.words.weight"
_POSITIONS = "encoder.image_positions.weight"
# Settings that change what the same weights compute, so that a start with others must not pass unseen.
_MEANING = (
    "num_attention_heads", "num_head_heads", "attention", "text_pooling", "resize", "image_mean", "image_std",
    "tokenizer",
)  # fmt: skip
# What its calibration says of a finished model's scores holds no longer once that is trained on.
_CALIBRATION = ("score_temperature", "score_bias", "score_threshold")
# Settings that say which weights there are, and how they are cut into heads. The side of the pictures is not among
# them: positions are interpolated.
_STRUCTURE = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "own_object_expert", "patch_size",
    "patch_embedding", "stem_widths", "max_text_positions", "head_size", "num_head_heads", "num_queries",
    "num_object_tokens", "num_decoder_layers", "decoder_ffn_size", "num_query_generator_layers",
    "query_generator_ffn_size", "num_token_mlp_layers", "box_head", "auxiliary_heads", "heat_guidance", "glimpse_side",
    "glimpse_channels", "num_kinds", "num_colors",
)  # fmt: skip
_LAYERED = {"first", "turn"}
"""Losses that teach layers of their own, so that weights with those want these."""


def model_config(settings: TrainSettings) -> SimVGConfig:
    """The architecture's sizes with those of the tokenizer, and of the rendered truth, what `of_folder` says, and the
    text pooling that official SimVG weights were trained with where they are the start; `settings.model` wins.

    Raises:
        ConfigurationError: a model setting of a wrong type, or out of range, or no tokenizer.
        CheckpointError: the file of weights to start from is not there, or cannot be read.
    """
    make = getattr(SimVGConfig, settings.architecture)
    config: SimVGConfig = make(**settings.model)
    sizes: dict[str, Any] = {}
    if config.tokenizer == "fast":
        pieces = read_tokenizer(settings, config)
        assert isinstance(pieces, FastPieces)
        sizes["vocab_size"] = pieces.tokenizer.get_vocab_size()
    if settings.architecture == "line_small":
        sizes |= {"num_kinds": NUM_DENSE_KINDS, "num_colors": len(COLORS)}
    sizes |= of_folder(settings)
    if config.attention == "joint" and "text_pooling" not in settings.model and _starts_official(settings.start_from):
        log.info('text_pooling is "official", as of the weights in %s', settings.start_from)
        sizes["text_pooling"] = "official"
    return make(**{**sizes, **settings.model})  # type: ignore[no-any-return]


def of_folder(settings: TrainSettings) -> dict[str, Any]:
    """What a run on `sets` takes over from the config.json of the model folder that it starts from as a whole, so that
    the weights fit: settings of its structure that are not named in `settings.model` and that the architecture has
    otherwise.

    Raises CheckpointError: config.json cannot be read.
    """
    start = None if settings.start_from is None else Path(settings.start_from)
    if start is None or not settings.sets or settings.start_part != "all" or not (start / "config.json").is_file():
        return {}
    try:
        given = SimVGConfig.from_pretrained(start)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{start / 'config.json'} cannot be read ({error}); copy the folder again.") from error
    usual: SimVGConfig = getattr(SimVGConfig, settings.architecture)()
    names = [*_STRUCTURE, *(["loss_weights"] if _LAYERED & set(given.loss_weights or {}) else [])]
    pairs = {name: (_plain(getattr(given, name)), _plain(getattr(usual, name))) for name in names}
    return {name: own for name, (own, other) in pairs.items() if own != other and name not in settings.model}


def _starts_official(start: str | None) -> bool:
    """Whether a run starts from a file of official SimVG weights. A resumed run must know, too: its own checkpoint
    does not say how its texts are pooled."""
    if start is None or Path(start).is_dir():
        return False
    if not Path(start).is_file():
        if not Path(start).suffix:  # a model folder, whose weights a resumed run no longer needs
            return False
        raise CheckpointError(
            f"start_from={start} is not there, so that it cannot be told how its weights pool texts; put it there, or "
            'name text_pooling in model ("official" for official SimVG weights, else "masked").'
        )
    return any(key.startswith(ENCODER_PREFIX) for key in read_tensors(start))


def read_tokenizer(settings: TrainSettings, config: SimVGConfig) -> Pieces:
    """The run's tokenizer, see `TrainSettings.tokenizer`.

    Raises:
        ConfigurationError: the model reads with the published tokenizer, and no folder has it.
        CheckpointError: the named folder has none.
    """
    if settings.tokenizer is not None:
        return read_pieces(Path(settings.tokenizer), config.tokenizer)
    if settings.sets and settings.start_from is not None and Path(settings.start_from).is_dir():
        return read_pieces(Path(settings.start_from), config.tokenizer)
    if config.tokenizer == "fast":
        return FastPieces(build_tokenizer())
    raise ConfigurationError(
        f'model: tokenizer="{config.tokenizer}" comes with the published weights; set tokenizer to a folder that holds '
        "beit3.spm under the name sentencepiece.bpe.model, or start_from to a model folder."
    )


def load_start(model: SimVGForGrounding, path: Path, part: str = "all", pieces: Pieces | None = None) -> dict[str, Any]:
    """Fills a model from a model folder, or from a file of official SimVG or BEiT-3 weights; tells what came of it.

    From BEiT-3 weights only the encoder is filled, and so it is from a model folder when `part` is "encoder". A model
    folder must be whole, but may lack layers that this run's model has besides: they keep their start values and are
    told as "new". Its pictures may have another size: then its positions are told as "interpolated". Object tokens of
    another number begin as the mean of those. Words that only this run's tokenizer, `pieces`, has keep their start
    values, where those of the folder come first in it. Settings of this run under which the same weights compute
    something else are told as "changed", {name: [before, now]}, and warned of; the calibration of a folder, which is
    not taken, is told there as well.

    Raises:
        CheckpointError: nothing readable there, a folder that lacks weights of its own config.json, or made for
            another model.
    """
    if path.is_dir():
        return _load_folder(model, path, part, pieces)
    if part != "all":
        raise CheckpointError(f"start_part={part} is for model folders; of the file {path} take all.")
    tensors = read_tensors(path)
    if any(key.startswith("beit3.") for key in tensors):
        report = load_beit3(model, tensors)
        return {"kind": "BEiT-3", "loaded": len(report.loaded), "interpolated": report.interpolated}
    report = load_official(model, tensors)
    changed = _changed(path, {"text_pooling": "official"}, model.config)
    return {"kind": "SimVG", "loaded": len(report.loaded), "changed": changed}


def _load_folder(model: SimVGForGrounding, path: Path, part: str, pieces: Pieces | None) -> dict[str, Any]:
    start = SimVGForGrounding.from_pretrained(path)
    try:
        given, expected = start.state_dict(), model.state_dict()
        # Both are fitted to the answers of a finished model; of one that is trained on they know nothing.
        given = {name: value for name, value in given.items() if not name.startswith((_GATE, _TEXT_BIAS))}
        if part == "encoder":
            given = {name: value for name, value in given.items() if name.startswith("encoder.")}
            if not any(name.startswith(_GLIMPSE) for name in expected):  # it serves the heads alone
                given = {name: value for name, value in given.items() if not name.startswith(_GLIMPSE)}
        interpolated = [_POSITIONS] if given[_POSITIONS].shape != expected[_POSITIONS].shape else []
        if interpolated:
            given[_POSITIONS] = resize_positions(given[_POSITIONS], model.config.grid_size)
        if given[_OBJECTS].shape != expected[_OBJECTS].shape:
            given[_OBJECTS] = given[_OBJECTS].mean(dim=0, keepdim=True).expand_as(expected[_OBJECTS])
        if isinstance(pieces, FastPieces) and given[_WORDS].shape[0] < expected[_WORDS].shape[0]:
            _check_ids(path, pieces)
            given[_WORDS] = torch.cat([given[_WORDS], expected[_WORDS][given[_WORDS].shape[0] :]])
        new = sorted(set(expected) - set(given))
        model.load_state_dict({name: expected[name] for name in new} | given)
    except (RuntimeError, OSError, ValueError) as error:
        raise CheckpointError(
            f"start_from={path} does not fit the model of this run ({error}). Name what its config.json has otherwise "
            "in model."
        ) from error
    changed = _changed(path, {key: getattr(start.config, key) for key in (*_MEANING, *_CALIBRATION)}, model.config)
    return {"kind": "model folder", "part": part, "changed": changed, "interpolated": interpolated, "new": new}


def _check_ids(path: Path, pieces: FastPieces) -> None:
    """Raises CheckpointError unless all that the folder's tokenizer knows has the same ids in the larger one."""
    before = read_fast_pieces(path).tokenizer.get_vocab()
    now = pieces.tokenizer.get_vocab()
    if moved := [word for word, number in before.items() if now.get(word) != number]:
        raise CheckpointError(
            f"start_from={path}: the tokenizer of this run has {moved[0]!r} under another id; set tokenizer: {path}."
        )


def _changed(path: Path, before: dict[str, Any], config: SimVGConfig) -> dict[str, list[Any]]:
    """Settings of the start that this run does not share: name → [before, now]."""
    pairs = {key: [_plain(value), _plain(getattr(config, key))] for key, value in before.items()}
    changed = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    for key, (old, new) in changed.items():
        if key in _CALIBRATION:
            log.info("start_from=%s: its calibration %s=%r begins anew at %r", path, key, old, new)
        else:
            log.warning("start_from=%s: its weights were trained with %s=%r, this run has %r", path, key, old, new)
    return changed


def _plain(value: Any) -> Any:
    """JSON knows no tuples."""
    return list(value) if isinstance(value, tuple) else value
