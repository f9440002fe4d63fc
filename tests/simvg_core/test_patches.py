"""From pixels to patch vectors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from simvg_core.configuration import SimVGConfig
from simvg_core.patches import build_patches, from_levels

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 70.0)
"""Red, green, blue."""


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"patch_embedding": "convolutional", "patch_size": 16, "stem_widths": (8, 8, 16, 16), "image_size": 64},
    ],
    ids=["linear", "convolutional"],
)
def test_a_graph_takes_grey_levels(fields: dict[str, Any]) -> None:
    """Blue first and not divided: the same patch vectors, at the borders too; afterwards every weight is as it was."""
    torch.manual_seed(3)
    config = SimVGConfig.tiny(**fields)
    patches = build_patches(config).eval()
    before = {name: value.clone() for name, value in patches.state_dict().items()}
    frames = torch.randint(0, 256, (2, 3, config.image_size, config.image_size)).float()  # blue, green, red
    mean, std = (torch.tensor(one)[:, None, None] for one in (MEAN, STD))
    with torch.inference_mode():
        expected = patches((frames.flip(1) - mean) / std).tokens
        with from_levels(patches, STD):
            found = patches(frames - mean.flip(0)).tokens
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in patches.state_dict().items())
