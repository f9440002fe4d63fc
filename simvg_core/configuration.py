"""Every setting of a SimVG model, typed and checked when it is built."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field
from typing import Any, ClassVar, Self

from transformers import PreTrainedConfig

from simvg_core.cell_states import check as check_states
from simvg_core.errors import ConfigurationError
from simvg_core.pretrained import checked_config

# Names that transformers itself hands over beside the fields.
_FOREIGN_KEYS = {"model_type", "name_or_path", "attn_implementation", "torch_dtype", "experts_implementation"}
_CHOICES = {
    "attention": ("joint", "standing"),
    "text_pooling": ("masked", "official"),
    "patch_embedding": ("linear", "convolutional"),
    "box_head": ("mlp", "pointer"),
    "text_overflow": ("error", "truncate"),
    "tokenizer": ("fast", "xlm_roberta"),
    "resize": ("bilinear", "area"),
}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or (isinstance(value, float) and math.isfinite(value))


# A field's annotation → what it takes, in words and as a check.
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _whole),
    "float": ("a finite number", _number),
    "float | None": ("a finite number or null", lambda value: value is None or _number(value)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "str": ("a text", lambda value: isinstance(value, str)),
    "list[int] | tuple[int, ...]": (
        "a list of whole numbers",
        lambda value: isinstance(value, list | tuple) and all(map(_whole, value)),
    ),
    "list[float] | tuple[float, ...]": (
        "a list of finite numbers",
        lambda value: isinstance(value, list | tuple) and all(map(_number, value)),
    ),
    "dict[str, list[float]]": (
        "a list of finite numbers for each name",
        lambda value: (
            isinstance(value, dict)
            and all(isinstance(key, str) for key in value)
            and all(isinstance(own, list | tuple) and all(map(_number, own)) for own in value.values())
        ),
    ),
    "dict[str, float] | None": (
        "a finite number for each name",
        lambda value: (
            isinstance(value, dict) and all(isinstance(key, str) for key in value) and all(map(_number, value.values()))
        ),
    ),
}


def _paper_losses() -> dict[str, float]:
    return {"decoder": 1.0, "token": 2.0, "distill": 1.0}


class SimVGConfig(PreTrainedConfig):
    """Settings of `SimVGForGrounding` and `SimVGProcessor`.

    The defaults are the paper's base model on RefCOCO (arXiv 2409.17531, section 4.1). Groups:

    - encoder (section 3.1): `hidden_size`, `num_hidden_layers`, `num_attention_heads`, `intermediate_size`,
      `drop_path_rate`; `own_object_expert` gives object tokens an expert of their own (the paper: image expert).
    - image: `image_size` (square side, pixels), `patch_size` (patch side or stem stride, pixels), `patch_embedding`
      "linear" (the paper) or "convolutional" (residual stem, one halving per entry of `stem_widths`);
      `resize` "bilinear" (the paper) or "area" (no aliasing of large frames); `image_mean` and `image_std` per channel
      of RGB, grey levels 0 … 255.
    - text: `vocab_size`, `max_text_positions`, `max_text_tokens` (begin and end included), `text_overflow`.
    - heads (sections 3.2 to 3.4): `head_size`, `num_queries` answers per text, `num_object_tokens` (1, shared by all
      answers, or one per answer), decoder, query generator and token MLP sizes; `num_decoder_layers=0` builds none.
      `box_head` "mlp" (the paper) or "pointer" (soft-argmax over the image tokens); `heat_guidance` lets the heat map
      guide the pointer and its classes; `glimpse_side` samples per side, of `glimpse_channels` each, are read from the
      stem's fine features around the pointer's first box to correct it (0: none).
    - `attention`: "joint" (every token attends to every other) or "standing" (image and text do not look at each
      other, object tokens look at both, so that image and texts are computed once each).
    - `text_pooling`: "masked" is the maximum over real tokens; "official" repeats what the published weights were
      trained with (maximum over the last, and when there is padding the second-last, position).
    - `loss_weights`: "decoder", "token", "distill" as in the paper (a missing branch is not run in training) and, for
      models with auxiliary heads, "pointer", "heat_map", "dense", "existence", "turn" (how things lie in the plane,
      asked of a layer of its own); "first" is the set loss of the answers before a glimpse. `no_object_weight`: what an
      answer that matches nothing counts in the class loss (0.1 in the paper; more teaches a model sooner to say "not
      there").
    - scores: probability = sigmoid(logit difference / `score_temperature` + `score_bias`); `score_threshold` decides
      present or absent; boxes of one text that overlap more than `nms_iou` are merged (None: kept);
      `counted_answers` keeps of a text whose words say how many it asks for no more than that (:mod:`.counted`);
      `composed_answers` asks a text with a place, a relation or an extreme in parts (:mod:`.reading`) and puts their
      answers together (:mod:`.composing`); both outside the network, by `Grounder`, workers and evaluations.
    - cell_states: kinds of things whose state, a label that lies crooked, the dense aid tells cell by cell, with the
      temperature and bias of what it says; texts asked in parts that name such a state are asked for the thing alone
      (:mod:`.cell_states`). `simvg calibrate` fits it.
    - text_bias: the token branch adds to an answer's score what its text alone says, so that one threshold means the
      same for all texts; `simvg calibrate --texts` fits it.
    - gate (layers of its own, `gate_heads` of `gate_width`, that `simvg gate --fit` teaches): it bounds the scores of
      texts. One that it gives less than one of `gate_thresholds` scores less than that one of `gate_floors` (ascending;
      none: the gate is off). So with `gate_queries` standing queries or more, those of which only scores from some
      floor on make a difference, and that it gives less than the threshold, get no object tokens, but `gate_score`.

    Raises:
        ConfigurationError: a value of another type or out of range, a contradiction, or an unknown name.
    """

    model_type: ClassVar[str] = "simvg"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    drop_path_rate: float = 0.1
    own_object_expert: bool = False
    attention: str = "joint"

    image_size: int = 640
    patch_size: int = 32
    patch_embedding: str = "linear"
    resize: str = "bilinear"
    stem_widths: list[int] | tuple[int, ...] = (24, 32, 64, 128)
    image_mean: list[float] | tuple[float, ...] = (123.675, 116.28, 103.53)
    image_std: list[float] | tuple[float, ...] = (58.395, 57.12, 57.375)

    vocab_size: int = 64010
    max_text_positions: int = 1022
    max_text_tokens: int = 20
    text_overflow: str = "truncate"
    text_pooling: str = "masked"
    tokenizer: str = "xlm_roberta"

    head_size: int = 256
    num_head_heads: int = 8
    num_queries: int = 1
    num_object_tokens: int = 1
    num_decoder_layers: int = 3
    decoder_ffn_size: int = 2048
    num_query_generator_layers: int = 2
    query_generator_ffn_size: int = 512
    num_token_mlp_layers: int = 1
    box_head: str = "mlp"
    dropout: float = 0.1

    auxiliary_heads: bool = False
    heat_guidance: bool = False
    glimpse_side: int = 0
    glimpse_channels: int = 32
    num_kinds: int = 0
    num_colors: int = 0
    loss_weights: dict[str, float] | None = None
    no_object_weight: float = 0.1

    score_temperature: float = 1.0
    score_bias: float = 0.0
    score_threshold: float = 0.7
    nms_iou: float | None = None
    counted_answers: bool = False
    composed_answers: bool = False
    cell_states: dict[str, list[float]] = field(default_factory=dict)
    text_bias: bool = False
    gate_floors: list[float] | tuple[float, ...] = ()
    gate_thresholds: list[float] | tuple[float, ...] = ()
    gate_score: float = 0.0
    gate_queries: int = 32
    gate_heads: int = 0
    gate_width: int = 32

    @classmethod
    def from_pretrained(  # type: ignore[override]  # what transformers names is among the keywords
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> Self:
        """The settings of a model folder; arguments as in transformers.

        Raises:
            CheckpointError: it has no config.json, or one that cannot be read (`pretrained.checked_config`).
        """
        return checked_config(super().from_pretrained, pretrained_model_name_or_path, **kwargs)  # type: ignore[no-any-return]

    def __post_init__(self, **kwargs: Any) -> None:
        unknown = [key for key in kwargs if key not in _FOREIGN_KEYS and not key.startswith("_")]
        if unknown:
            raise ConfigurationError(
                f"SimVGConfig has no setting {', '.join(map(repr, unknown))}; remove it or correct its name."
            )
        if self.loss_weights is None:
            self.loss_weights = _paper_losses()
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self._check()

    def _check(self) -> None:
        for name, annotation in SimVGConfig.__annotations__.items():
            if annotation.startswith("ClassVar"):
                continue
            kind, fits = _KINDS[annotation]
            if not fits(getattr(self, name)):
                raise ConfigurationError(f"{name}={getattr(self, name)!r} is not {kind}; give one.")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ConfigurationError(f"{name}={value!r} is not known; use one of {', '.join(choices)}.")
        positive = (
            "hidden_size num_hidden_layers num_attention_heads intermediate_size image_size patch_size vocab_size "
            "max_text_positions head_size num_head_heads num_queries num_object_tokens num_query_generator_layers "
            "num_token_mlp_layers decoder_ffn_size query_generator_ffn_size glimpse_channels gate_width"
        )
        for name in positive.split():
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 1.")
        none = "num_decoder_layers glimpse_side num_kinds num_colors no_object_weight gate_queries gate_heads"
        for name in none.split():
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 0.")
        if min(self.stem_widths, default=1) < 1:
            raise ConfigurationError(f"stem_widths={list(self.stem_widths)} must each be at least 1.")
        for name in ("image_mean", "image_std"):
            if len(getattr(self, name)) != 3:
                raise ConfigurationError(f"{name}={list(getattr(self, name))} must be three numbers, of R, G and B.")
        if min(self.image_std) <= 0:
            raise ConfigurationError(f"image_std={list(self.image_std)} must be above 0: pixels are divided by it.")
        for whole, part in (("hidden_size", "num_attention_heads"), ("image_size", "patch_size")):
            if getattr(self, whole) % getattr(self, part):
                raise ConfigurationError(
                    f"{whole}={getattr(self, whole)} is not a multiple of {part}={getattr(self, part)}; change one."
                )
        if self.head_size % self.num_head_heads or self.head_size % 4:
            raise ConfigurationError(f"head_size={self.head_size} must be a multiple of num_head_heads and of 4.")
        if not 3 <= self.max_text_tokens <= self.max_text_positions:
            raise ConfigurationError(
                f"max_text_tokens={self.max_text_tokens} must lie in 3 … max_text_positions={self.max_text_positions}."
            )
        if self.num_object_tokens not in (1, self.num_queries):
            raise ConfigurationError(
                f"num_object_tokens={self.num_object_tokens} must be 1 (shared by all answers) or "
                f"num_queries={self.num_queries} (one per answer)."
            )
        if self.attention == "standing" and self.text_pooling == "official":
            raise ConfigurationError(
                'attention="standing" computes no padded text, which text_pooling="official" reads; use "masked".'
            )
        if self.patch_embedding == "convolutional" and 2 ** len(self.stem_widths) != self.patch_size:
            raise ConfigurationError(
                f"patch_size={self.patch_size} needs {math.log2(self.patch_size):g} stem_widths (one halving each), "
                f"got {len(self.stem_widths)}."
            )
        self._check_losses()
        if self.score_temperature <= 0:
            raise ConfigurationError(f"score_temperature={self.score_temperature} must be above 0.")
        for name in ("score_threshold", "gate_score", "dropout", "drop_path_rate", "nms_iou"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigurationError(f"{name}={value} must lie in 0 … 1.")
        if self.drop_path_rate == 1:
            raise ConfigurationError("drop_path_rate=1 leaves nothing of the last layer; it must be below 1.")
        if self.cell_states and not (self.auxiliary_heads and self.composed_answers and self.attention == "standing"):
            raise ConfigurationError(
                'cell_states needs auxiliary_heads=True, composed_answers=True and attention="standing".'
            )
        check_states(self.cell_states, self.num_kinds)
        if self.gate_heads and self.attention != "standing":
            raise ConfigurationError('gate_heads needs attention="standing".')
        if self.gate_floors and not self.gate_heads:
            raise ConfigurationError("gate_floors needs gate_heads above 0; `simvg gate --fit` teaches a gate.")
        floors = list(self.gate_floors)
        ascending = floors == sorted(set(floors)) and all(0 <= floor <= 1 for floor in floors)
        rising = list(self.gate_thresholds) == sorted(self.gate_thresholds)
        if not (ascending and rising) or len(floors) != len(self.gate_thresholds):
            raise ConfigurationError(
                f"gate_floors={floors} must be ascending scores in 0 … 1, with as many gate_thresholds, none below the "
                f"one before it, not {list(self.gate_thresholds)}; run `simvg gate` again."
            )

    def _check_losses(self) -> None:
        known = {"decoder", "token", "distill", "first", "pointer", "heat_map", "dense", "turn", "existence"}
        weights = self.loss_weights or {}
        if unknown := sorted(set(weights) - known):
            raise ConfigurationError(f"loss_weights has unknown terms {unknown}; use {', '.join(sorted(known))}.")
        if "decoder" not in weights and "token" not in weights:
            raise ConfigurationError("loss_weights needs 'decoder' or 'token', else no branch is trained.")
        if "distill" in weights and not {"decoder", "token"} <= set(weights):
            raise ConfigurationError("loss_weights: 'distill' needs both 'decoder' (teacher) and 'token' (student).")
        if self.heat_guidance and not (self.auxiliary_heads and self.box_head == "pointer"):
            raise ConfigurationError('heat_guidance needs auxiliary_heads=True and box_head="pointer".')
        if self.glimpse_side and not (self.patch_embedding == "convolutional" and self.box_head == "pointer"):
            raise ConfigurationError('glimpse_side needs patch_embedding="convolutional" and box_head="pointer".')
        if self.glimpse_side and len(self.stem_widths) < 3:
            raise ConfigurationError("glimpse_side reads the stem at strides 4 and 8; give stem_widths of 3 or more.")
        if self.glimpse_side and "first" not in weights:
            raise ConfigurationError("glimpse_side needs loss_weights 'first', else nothing teaches where to look.")
        if "decoder" in weights and self.num_decoder_layers < 1:
            raise ConfigurationError("loss_weights has 'decoder' but num_decoder_layers=0 builds no decoder branch.")

    @property
    def grid_size(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.patch_size

    @property
    def composing(self) -> tuple[str, ...] | None:
        """Of a model that is asked texts in parts, the kinds whose states its cells tell; None: of any other."""
        return tuple(self.cell_states) if self.composed_answers else None

    @property
    def answer_branch(self) -> str:
        """The branch whose answers count: "token", or "decoder" where it alone was trained (the first stage)."""
        return "token" if "token" in (self.loss_weights or {}) else "decoder"

    @property
    def num_patches(self) -> int:
        """Image tokens per image."""
        return self.grid_size**2

    @classmethod
    def base(cls, **overrides: Any) -> SimVGConfig:
        """The paper's base model (BEiT-3 base, patch 32, 640×640); `overrides` are fields by name."""
        return cls(**overrides)

    @classmethod
    def large(cls, **overrides: Any) -> SimVGConfig:
        """The paper's large model (BEiT-3 large, patch 32, 640×640)."""
        sizes: dict[str, Any] = {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "loss_weights": {"decoder": 1.0, "token": 1.0, "distill": 0.4},
        }
        return cls(**{**sizes, **overrides})

    @classmethod
    def tiny(cls, **overrides: Any) -> SimVGConfig:
        """A random-weights toy for tests: 96×96 pixels, patch 32, three layers of width 64."""
        sizes: dict[str, Any] = {
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "image_size": 96,
            "vocab_size": 200,
            "head_size": 32,
            "drop_path_rate": 0.0,
        }
        return cls(**{**sizes, **overrides})

    @classmethod
    def line_small(cls, **overrides: Any) -> SimVGConfig:
        """The line model: 320×320 pixels at stride 16, standing attention, five answers per query."""
        sizes: dict[str, Any] = {
            "hidden_size": 192,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "intermediate_size": 384,
            "drop_path_rate": 0.0,
            "own_object_expert": True,
            "attention": "standing",
            "image_size": 320,
            "patch_size": 16,
            "patch_embedding": "convolutional",
            "resize": "area",
            "vocab_size": 1024,
            "max_text_positions": 32,
            "max_text_tokens": 24,
            "text_overflow": "error",
            "tokenizer": "fast",
            "head_size": 192,
            "num_head_heads": 6,
            "num_queries": 5,
            "num_object_tokens": 5,
            "num_decoder_layers": 0,
            "decoder_ffn_size": 384,
            "num_query_generator_layers": 1,
            "query_generator_ffn_size": 384,
            "box_head": "pointer",
            "dropout": 0.0,
            "auxiliary_heads": True,
            "heat_guidance": True,
            "num_kinds": 21,
            "num_colors": 11,
            "loss_weights": {"token": 1.0, "pointer": 1.0, "heat_map": 1.0, "dense": 1.0, "existence": 0.5},
            "score_threshold": 0.5,
            "nms_iou": 0.3,
            "counted_answers": True,
            "composed_answers": True,
        }
        return cls(**{**sizes, **overrides})
