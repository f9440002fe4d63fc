"""Reads published weights: official SimVG training checkpoints and BEiT-3 pretraining checkpoints.

Files are safetensors, or torch files read with `weights_only`, so nothing in them is ever executed.
"""

from __future__ import annotations

import json
import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from simvg_core.configuration import SimVGConfig
from simvg_core.encoder import FIRST_POSITION
from simvg_core.errors import CheckpointError, MismatchError, listed
from simvg_core.model import SimVGForGrounding
from simvg_core.official_names import UNUSED_OFFICIAL_KEYS, official_shape, official_sources

EMA = "ema_state_dict"
ENCODER_PREFIX = "vis_enc."
PUBLISHED = {768: SimVGConfig.base, 1024: SimVGConfig.large}  # by the encoder's width


@dataclass
class LoadReport:
    """What a checkpoint held and what became of it, by official key."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)  # of the right shape, but not finite floating-point numbers
    interpolated: list[str] = field(default_factory=list)

    def wrong(self) -> dict[str, list[str]]:
        """What does not fit, all of it, by kind."""
        kinds = {
            "missing": self.missing, "unexpected": self.unexpected, "other shape": self.mismatched,
            "unusable": self.unusable,
        }  # fmt: skip
        return {kind: list(names) for kind, names in kinds.items() if names}


def read_tensors(path: str | Path, weights: str | None = None) -> dict[str, Tensor]:
    """The weights in a file by key, on the CPU, without any `module.` prefix.

    Wrappers are taken off: "ema_state_dict", "state_dict", "model", "module", in this order. Files in torch's zip
    format are mapped, not read: the optimizer state of a training checkpoint, three times its weights, costs no memory.

    Args:
        weights: "ema" (the running average, which published evaluation uses), "plain" (without it); None = the average
            where the file has one.

    Raises:
        CheckpointError: no such file, truncated, of another format than its name says, holding code or other objects,
            no tensors or no average in it.
    """
    path = Path(path)
    if weights not in (None, "ema", "plain"):
        raise CheckpointError(f'weights {weights!r} is not known; use "ema" or "plain".')
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; give the path of a checkpoint.")
    if path.suffix != ".safetensors" and _is_safetensors(path):
        raise CheckpointError(f"{path} is a safetensors file; rename it to {path.with_suffix('.safetensors').name}.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    if weights == "ema" and not content.get(EMA):
        raise CheckpointError(f"{path} holds no running average ({EMA}); take its plain weights.")
    for wrapper in (EMA, "state_dict", "model", "module"):
        inner = content.get(wrapper)
        if isinstance(inner, Mapping) and inner and not (wrapper == EMA and weights == "plain"):
            content = inner
            break
    tensors = {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors (keys: {', '.join(map(str, list(content)[:5])) or 'none'}).")
    return tensors


def _is_safetensors(path: Path) -> bool:
    """Such a file starts with the length of a JSON object, and the object."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and 8 + int.from_bytes(start[:8], "little") <= path.stat().st_size


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        if zipfile.is_zipfile(path):
            raise CheckpointError(f"{path} is a torch file; rename it to {path.with_suffix('.pth').name}.") from error
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}); download it again.") from error


def read_torch(path: Path, *, remedy: str | None = None, device: torch.device | None = None) -> Mapping[str, Any]:
    """The dictionary in a torch file, read with `weights_only`.

    Args:
        remedy: what to do about a file that is refused; None = as fits a published one.
        device: read its tensors there; None = mapped, on the CPU.

    Raises:
        CheckpointError: truncated, holding code or other objects, or no dictionary.
    """
    # Training checkpoints keep their best scores as numpy numbers; these types hold a value and nothing else.
    plain: list[Any] = [np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32)), type(np.dtype(np.int64))]
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    with path.open("rb") as file:
        pickled = file.read(1) == b"\x80"
    zipped = zipfile.is_zipfile(path)
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of the pickle protocol; what matters is raised
            torch.serialization.safe_globals([*plain, scalar, (scalar, "numpy.core.multiarray.scalar")]),
        ):
            place = "cpu" if device is None else device
            content = torch.load(path, map_location=place, weights_only=True, mmap=zipped and device is None)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # torch raises a dozen kinds for a broken file, KeyError and struct.error among them
        if isinstance(error, pickle.UnpicklingError) and (zipped or pickled):
            raise CheckpointError(
                f"{path} holds more than tensors and plain containers, and is not opened ({_refused(error)}); "
                f"{remedy or 'save its state_dict as safetensors where it comes from'}."
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120] if zipped or pickled else _start_of(path)
        again = remedy or "download it again"
        raise CheckpointError(f"{path} is truncated or not a torch file ({reason}); {again}.") from error
    if not isinstance(content, Mapping):
        kind, other = type(content).__name__, remedy or "give another file"
        raise CheckpointError(f"{path} holds a {kind}, not a dictionary of tensors; {other}.")
    return content


def _refused(error: pickle.UnpicklingError) -> str:
    """The line of torch's message that names what was refused."""
    lines = [line.strip() for line in str(error).splitlines() if "unsupported" in line.lower()]
    return lines[0] if lines else "pickle"


def _start_of(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(24)
    if start.startswith(b"PK"):
        return "its end is missing"
    return f"it starts with {start!r}" if start else "it is empty"


def config_from_official(settings: Mapping[str, Any] | str | Path, **overrides: Any) -> SimVGConfig:
    """The `SimVGConfig` of an official model dict (or a JSON file of it) with keys "model" and, for encoders of
    another size, "enc_shrink" (embed_dim, heads, ffn, layers).

    Raises:
        CheckpointError: the file or one of its keys is missing, or is no mapping where one belongs.
        ConfigurationError: a value of another type, out of range, or in contradiction to another.
    """
    content: Any = settings
    if not isinstance(settings, Mapping):
        try:
            content = json.loads(Path(settings).read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{settings} is not a readable JSON file of model settings ({error}).") from error
    try:
        model = mapping(mapping(content, "the file")["model"], "model")
        vision, head = mapping(model["vis_enc"], "vis_enc"), mapping(model["head"], "head")
        encoder: dict[str, Any] = {}
        if sizes := content.get("enc_shrink"):
            encoder = encoder_sizes(mapping(sizes, "enc_shrink"))
        weights = mapping(head["branch_loss_weight"], "branch_loss_weight")
        losses = {"decoder": weights["decoder"]} if "decoder" in weights else {}
        losses |= mapping(weights.get("balanced_distill", {}), "balanced_distill")
        values: dict[str, Any] = {
            "image_size": vision["img_size"],
            "patch_size": vision["patch_size"],
            "vocab_size": vision.get("vocab_size", 64010),
            "drop_path_rate": vision.get("drop_path_rate", 0.1),
            "head_size": head["embed_dim"],
            "num_queries": head["num_queries"],
            "num_decoder_layers": head["num_decoder_layers"],
            "num_query_generator_layers": head["num_tgqg_layers"],
            "num_token_mlp_layers": head["num_token_mlp_layers"],
            "max_text_tokens": head["text_max_token"],
            "loss_weights": losses,
        }
    except KeyError as error:
        raise CheckpointError(f"the model settings lack {error}; give the official model dict.") from error
    make = SimVGConfig.large if vision.get("vit_type", "base") == "large" else SimVGConfig.base
    return make(**{**encoder, **values, **_reading(values["num_queries"]), **overrides})


def encoder_sizes(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `SimVGConfig` for an encoder of given `embed_dim`, `heads`, `ffn` and `layers`. Raises KeyError."""
    return {
        "hidden_size": sizes["embed_dim"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["ffn"],
        "num_hidden_layers": sizes["layers"],
    }


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """`value` of a settings file. Raises CheckpointError: it is no mapping."""
    if not isinstance(value, Mapping):
        raise CheckpointError(f"the model settings: {name} is {value!r:.60}; give a mapping of names to values.")
    return value


def _reading(queries: Any) -> dict[str, Any]:
    """How the published models pool texts, and where they cut: one answer is always the answer; several are cut where
    the published metric cuts them."""
    return {"text_pooling": "official", "score_threshold": 0.0 if queries == 1 else 0.7}


def config_from_tensors(tensors: Mapping[str, Tensor], **overrides: Any) -> SimVGConfig:
    """The `SimVGConfig` of an official base or large checkpoint, known by the width of its words.

    What the published models differ in is read from the shapes: patch and image side, and the number of answers. All
    else is as published, so that a strict load names every key and shape that is not. Loss weights are those of the
    size (1 / 2 / 1, large 1 / 1 / 0.4), though ReferIt's large model was trained with those of base.

    Raises:
        CheckpointError: no official checkpoint, or its encoder is neither base nor large.
        ConfigurationError: the shapes, or the overrides, give a model that cannot be.
    """
    prefix = f"{ENCODER_PREFIX}beit3."
    key = f"{prefix}text_embed.weight"
    if key not in tensors:
        kind = "a BEiT-3 pretraining" if any(name.startswith("beit3.") for name in tensors) else "not an official SimVG"
        raise CheckpointError(f"this is {kind} checkpoint: it has no '{key}'.")
    width = _side(tensors, key, 2, 1)
    if width not in PUBLISHED:
        shape = tuple(tensors[key].shape)
        raise CheckpointError(
            f"{key} is {shape}: the encoder's width is neither base (768) nor large (1024); give the model's settings "
            "(--config)."
        )
    config = PUBLISHED[width]()
    patch = _side(tensors, f"{prefix}vision_embed.proj.weight", 4, 3) or config.patch_size
    cells = _side(tensors, f"{prefix}encoder.embed_positions.A.weight", 2, 0) - FIRST_POSITION - 1
    queries = _side(tensors, "head.query_embed.weight", 2, 0) or config.num_queries
    values = {"patch_size": patch, "num_queries": queries, **_reading(queries)}
    values["image_size"] = patch * math.isqrt(cells) if cells > 0 else config.image_size
    return PUBLISHED[width](**{**values, **overrides})


def _side(tensors: Mapping[str, Tensor], key: str, rank: int, axis: int) -> int:
    """0 where there is no such tensor of that rank."""
    tensor = tensors.get(key)
    return tensor.shape[axis] if tensor is not None and tensor.dim() == rank else 0


def load_official(
    model: SimVGForGrounding, tensors: Mapping[str, Tensor], strict: bool = True, encoder_only: bool = False
) -> LoadReport:
    """Fills a model with weights under official keys.

    A standing model takes the same weights: its object expert starts as the image expert. A model built on the meta
    device takes over the tensors themselves, so that nothing is held twice.

    Raises:
        MismatchError: with `strict`, when a key is missing, unexpected or of another shape, or its numbers are no
            floating-point ones or not finite; the message names the first of each kind, its `keys` all.
    """
    report = LoadReport()
    own = model.state_dict()
    take_over = any(value.is_meta for value in own.values())
    new: dict[str, Tensor] = {}
    used: set[str] = set()
    taken: set[int] = set()
    for name, sources in official_sources(model.config).items():
        if encoder_only and not sources[0].startswith(ENCODER_PREFIX):
            continue
        used.update(sources)
        absent = [source for source in sources if source not in tensors]
        if absent:
            report.missing += absent
            continue
        target = own[name]
        if not _usable({source: tensors[source] for source in sources}, name, target, report):
            continue
        parts = [tensors[source] for source in sources]
        value = torch.cat(parts) if len(parts) > 1 else parts[0]
        if name == "encoder.object_tokens":
            value = value.reshape(1, -1).expand_as(target)
        value = value.reshape(target.shape).to(target.dtype)
        if take_over and not value.is_meta:
            # what two weights share, or what is spread out, cannot be saved as it lies
            shared = value.data_ptr() in taken or not value.is_contiguous()
            value = value.clone(memory_format=torch.contiguous_format) if shared else value
            taken.add(value.data_ptr())
        new[name] = value
        report.loaded += sources
    report.missing = sorted(set(report.missing))
    for names in (report.mismatched, report.unusable):
        names[:] = dict.fromkeys(names)  # two experts of a standing model may come from one key
    report.unexpected = sorted(key for key in tensors if key not in used and key not in UNUSED_OFFICIAL_KEYS)
    if strict:
        _refuse(report, "the checkpoint does not fit the model")
    model.load_state_dict(new, strict=False, assign=take_over)
    return report


def _usable(parts: Mapping[str, Tensor], name: str, target: Tensor, report: LoadReport) -> bool:
    """Whether official tensors by key can fill our weight `name`; what is wrong with them goes into the report."""
    shape = official_shape(name, tuple(target.shape), len(parts))
    fine = True
    for key, part in parts.items():
        if tuple(part.shape) != shape:
            report.mismatched.append(f"{key}: {tuple(part.shape)} instead of {shape}")
        elif not part.is_floating_point() or part.layout != torch.strided:
            report.unusable.append(f"{key}: {part.dtype}, not dense floating point")
        elif not part.is_meta and not bool(part.to(target.dtype).isfinite().all()):
            report.unusable.append(f"{key}: NaN or infinite")
        else:
            continue
        fine = False
    return fine


def _refuse(report: LoadReport, what: str) -> None:
    """Raises MismatchError where anything is wrong."""
    if wrong := report.wrong():
        kinds = {"missing": report.missing, "unexpected": report.unexpected, "other shape": report.mismatched} | wrong
        told = ". ".join(f"{kind.capitalize()}: {listed(names)}" for kind, names in kinds.items())
        raise MismatchError(f"{what}. {told}. Check its size and config, or take another checkpoint.", wrong)


def load_beit3(model: SimVGForGrounding, tensors: Mapping[str, Tensor]) -> LoadReport:
    """Fills the encoder from a BEiT-3 pretraining checkpoint; heads keep their start values.

    Position tables and patch kernels of another grid or patch size are resized (bicubic, no antialias, no rescaling).
    Keys of BEiT-3's own tasks are reported as unexpected and ignored.

    Raises:
        CheckpointError: no BEiT-3 checkpoint.
        MismatchError: an encoder weight is missing or of another width, so that the size must be wrong, or its numbers
            are no floating-point ones or not finite.
    """
    config = model.config
    renamed = {f"{ENCODER_PREFIX}{key}": value for key, value in tensors.items() if key.startswith("beit3.")}
    if not renamed:
        kind = "an official SimVG" if any(key.startswith(ENCODER_PREFIX) for key in tensors) else "not a BEiT-3"
        raise CheckpointError(f"this is {kind} checkpoint: no key starts with 'beit3.'.")
    interpolated = []
    table_key = f"{ENCODER_PREFIX}beit3.encoder.embed_positions.A.weight"
    if _side(renamed, table_key, 2, 0) not in (0, FIRST_POSITION + 1 + config.num_patches):
        renamed[table_key] = resize_positions(renamed[table_key], config.grid_size)
        interpolated.append(table_key)
    patch_key = f"{ENCODER_PREFIX}beit3.vision_embed.proj.weight"
    if _side(renamed, patch_key, 4, 3) not in (0, config.patch_size) and renamed[patch_key].is_floating_point():
        side = config.patch_size
        renamed[patch_key] = F.interpolate(renamed[patch_key].float(), (side, side), mode="bicubic")
        interpolated.append(patch_key)
    report = load_official(model, renamed, strict=False, encoder_only=True)
    _refuse(replace(report, unexpected=[]), "the BEiT-3 checkpoint does not fit the encoder")
    report.unexpected += sorted(key for key in tensors if not key.startswith("beit3."))
    report.interpolated = interpolated
    return report


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """An image position table for `grid` × `grid` patches (bicubic, as published).

    Raises:
        CheckpointError: its patch rows are no square grid.
    """
    kept, patches = table[: FIRST_POSITION + 1], table[FIRST_POSITION + 1 :].float()
    side = math.isqrt(len(patches))
    if side * side != len(patches) or not side:
        raise CheckpointError(f"the position table has {len(patches)} patch rows, which is not a square grid.")
    square = patches.T.reshape(1, -1, side, side)
    resized = F.interpolate(square, (grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([kept, resized.flatten(2)[0].T.to(kept.dtype)])
