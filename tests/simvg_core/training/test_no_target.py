"""A batch in which nothing is there. The published code gives NaN."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from simvg_core.configuration import SimVGConfig
from simvg_core.model import SimVGForGrounding

MODES: dict[str, dict[str, Any]] = {
    "decoder alone": {"loss_weights": {"decoder": 1.0}},
    "token alone": {"loss_weights": {"token": 2.0}},
    "both apart": {"loss_weights": {"decoder": 1.0, "token": 2.0}},
    "distilled": {"loss_weights": {"decoder": 1.0, "token": 2.0, "distill": 1.0}},
    "several answers": {"num_queries": 4},
    "training aids": {
        "auxiliary_heads": True, "num_kinds": 3, "num_colors": 2, "box_head": "pointer", "heat_guidance": True,
        "loss_weights": {
            "decoder": 1.0, "token": 2.0, "distill": 1.0, "pointer": 1.0, "heat_map": 1.0, "dense": 1.0,
            "turn": 1.0,
            "existence": 1.0,
        },
    },
    "standing": {"attention": "standing"},
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_without_any_target_trains(mode: str) -> None:
    """Losses and gradients stay finite, and a step teaches to say "not there"."""
    torch.manual_seed(0)
    model = SimVGForGrounding(SimVGConfig.tiny(dropout=0.0, **MODES[mode]))
    nothing = torch.zeros(0, dtype=torch.long)
    inputs: dict[str, Any] = {
        "pixel_values": torch.randn(2, 3, 96, 96),
        "input_ids": torch.randint(4, 200, (2, 6)),
        "labels": [{"boxes": torch.zeros(0, 4)}] * 2,
        "dense_labels": [
            {
                "boxes": torch.zeros(0, 4),
                "kinds": nothing,
                "colors": nothing,
                "weights": torch.zeros(0),
                "turns": torch.zeros(0, 4),
            }
        ]
        * 2,
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    first = model(**inputs)
    assert all(torch.isfinite(term) for term in first.loss_terms.values())
    first.loss.backward()
    assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)
    optimizer.step()
    assert model(**inputs).loss < first.loss
