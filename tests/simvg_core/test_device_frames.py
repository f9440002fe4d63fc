"""Frames prepared on a device, on the CPU as one: the same pixels as OpenCV's, in the same order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simvg_core.configuration import SimVGConfig
from simvg_core.device_frames import DeviceFrames
from simvg_core.patches import LinearPatches, cut
from simvg_core.processing import to_pixels

SIZE = 96
LEVEL = 1 / min(SimVGConfig.tiny().image_std)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A frame of random pixels, where every error shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("how", ["area", "bilinear"])
@pytest.mark.parametrize(
    ("height", "width"), [(96, 96), (480, 640), (192, 192), (97, 131), (96, 300), (50, 70), (50, 300), (1, 1), (1, 500)]
)
def test_pixels_are_those_of_opencv(how: str, height: int, width: int) -> None:
    """To one grey level, and most of them exactly: where OpenCV interpolates it weighs in 11 bits."""
    config = SimVGConfig.tiny(image_size=SIZE, resize=how)
    frames = [noise(height, width)]
    expected, found = to_pixels(frames, config), DeviceFrames(config, torch.device("cpu"))(frames)
    assert found.dtype == torch.float32 and found.shape == (1, 3, SIZE, SIZE)
    apart = (found - expected).abs()
    assert apart.max() <= LEVEL * 1.01
    assert (apart > LEVEL / 2).float().mean() < 0.16


def test_frames_of_many_sizes_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal sizes run together, in parts of a bounded size, and come out where they went in."""
    monkeypatch.setattr("simvg_core.device_frames._PIXELS_AT_ONCE", 2 * 120 * 160)
    config = SimVGConfig.tiny(image_size=SIZE)
    sizes = [(120, 160), (100, 100), (120, 160), (120, 160), (100, 100), (120, 160), (120, 160)]
    frames = [noise(*size, seed) for seed, size in enumerate(sizes)]
    expected, found = to_pixels(frames, config), DeviceFrames(config, torch.device("cpu"))(frames)
    assert (found - expected).abs().max() <= LEVEL * 1.01


def test_a_caller_in_bfloat16_gets_the_same_pixels() -> None:
    """A worker on a GPU runs all in bfloat16, where a grey level of 201 would be 200."""
    config = SimVGConfig.tiny(image_size=SIZE, resize="area")
    prepare, frames = DeviceFrames(config, torch.device("cpu")), [noise(480, 640)]
    with torch.autocast("cpu", torch.bfloat16):
        found = prepare(frames)
    torch.testing.assert_close(found, prepare(frames), atol=0, rtol=0)


def test_patches_as_a_matrix_product_are_those_of_the_convolution() -> None:
    """What a GPU computes, on the CPU."""
    torch.manual_seed(0)
    patches = LinearPatches(SimVGConfig.tiny(image_size=SIZE))
    pixels = torch.randn(2, 3, SIZE, SIZE)
    tokens = torch.nn.functional.linear(cut(pixels, patches.projection.stride[0]), *patches.flat())
    torch.testing.assert_close(tokens, patches(pixels).tokens, atol=1e-5, rtol=1e-5)
