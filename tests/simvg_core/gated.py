"""A gate for a model folder, for tests: layers that no one has taught."""

from collections.abc import Sequence
from pathlib import Path

from simvg_core.configuration import SimVGConfig
from simvg_core.model import SimVGForGrounding


def give_gate(folder: Path, floors: Sequence[float], thresholds: Sequence[float]) -> None:
    """Writes it into the folder, with these thresholds."""
    before = SimVGForGrounding.from_pretrained(folder)
    config = SimVGConfig.from_pretrained(folder)
    config.gate_heads, config.gate_width = 2, 4
    config.gate_floors, config.gate_thresholds = list(floors), list(thresholds)
    model = SimVGForGrounding(config)
    model.load_state_dict(before.state_dict() | {n: v for n, v in model.state_dict().items() if n.startswith("gate.")})
    model.save_pretrained(folder)
