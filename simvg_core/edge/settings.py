"""What of a model's settings matters outside its graphs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.model_folder import settle
from simvg_core.preparation import check_preparation


@dataclass(frozen=True, kw_only=True)
class EdgeConfig:
    """The settings of a model that matter outside its graphs, by their names in `SimVGConfig`."""

    image_size: int
    num_queries: int
    resize: str
    max_text_tokens: int
    text_overflow: str
    score_temperature: float
    score_bias: float
    score_threshold: float
    nms_iou: float | None
    gate_floors: Sequence[float]
    gate_thresholds: Sequence[float]
    gate_score: float
    gate_queries: int
    counted_answers: bool = False  # folders that were exported before these were settings do not have them
    composed_answers: bool = False
    cell_states: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def composing(self) -> tuple[str, ...] | None:
        """As of `SimVGConfig`."""
        return tuple(self.cell_states) if self.composed_answers else None

    @classmethod
    def read(cls, folder: Path) -> EdgeConfig:
        """From a model folder's config.json. Raises CheckpointError, ConfigurationError."""
        settle(folder)
        path = folder / "config.json"
        try:
            raw = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); copy the whole model folder.") from error
        if raw.get("tokenizer") != "fast":
            raise ConfigurationError(
                f"{folder} uses the tokenizer {raw.get('tokenizer')!r}, which needs transformers; without torch only "
                'models with tokenizer="fast" run.'
            )
        known = fields(cls)
        needed = {one.name for one in known if one.default is MISSING and one.default_factory is MISSING}
        if lacking := sorted(needed - set(raw)):
            raise CheckpointError(f"{path} lacks {', '.join(lacking)}; export the model again.")
        check_preparation(raw, folder)
        return cls(**{one.name: raw[one.name] for one in known if one.name in raw})
