"""Frames to network input on the model's own device: bytes go up, and are resized and normalised there.

On a GPU this leaves the CPU cores to decoding. The pixels are those of `processing.to_pixels`, to one grey level.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simvg_core.configuration import SimVGConfig
from simvg_core.images import Frame, halvings

# Float copies of this many source pixels exist at once: 100 MB.
_PIXELS_AT_ONCE = 8_700_000


class DeviceFrames:
    """Resizes and normalises frames of any sizes on one device."""

    def __init__(self, config: SimVGConfig, device: torch.device) -> None:
        self.size, self.how, self.device = config.image_size, config.resize, device
        # A grey level g becomes (g − mean) / std; blue-green-red becomes red-green-blue after it.
        self._mean = torch.tensor(config.image_mean, device=device).flip(0)[:, None, None]
        self._std = torch.tensor(config.image_std, device=device).flip(0)[:, None, None]

    def __call__(self, frames_bgr: Sequence[Frame]) -> Tensor:
        """(H, W, 3) uint8 BGR frames → normalised RGB (B, 3, S, S) float32, in their order. Equal sizes go together."""
        places: dict[tuple[int, ...], list[int]] = {}
        for place, frame in enumerate(frames_bgr):
            places.setdefault(frame.shape, []).append(place)
        out = torch.empty(len(frames_bgr), 3, self.size, self.size, device=self.device)
        for (height, width, _), chosen in places.items():
            step = max(1, _PIXELS_AT_ONCE // (height * width))
            for start in range(0, len(chosen), step):
                part = chosen[start : start + step]
                with torch.autocast(self.device.type, enabled=False):  # grey levels are whole numbers, to the last one
                    out[part] = self._resized(self._uploaded([frames_bgr[place] for place in part]))
        return ((out - self._mean) / self._std).flip(1)

    def _uploaded(self, frames: list[Frame]) -> Tensor:
        # from pinned memory the copy to a GPU runs beside what it does
        stacked = torch.empty((len(frames), *frames[0].shape), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        for row, frame in zip(stacked.numpy(), frames, strict=True):
            np.copyto(row, frame)
        return stacked.to(self.device, non_blocking=True)

    def _resized(self, frames: Tensor) -> Tensor:
        """(b, H, W, 3) uint8 → (b, 3, S, S) float32 grey levels, whole numbers."""
        _, height, width, _ = frames.shape
        pixels = frames.permute(0, 3, 1, 2).float()
        if self.how == "area" and min(height, width) >= self.size:
            for _ in range(halvings(height, width, self.size, self.size)):  # as on the CPU, to whole numbers
                pixels = F.avg_pool2d(pixels, 2).add_(0.5).floor_()
            rows, columns = (_shares(length, self.size, self.device) for length in pixels.shape[2:])
            pixels = rows @ pixels @ columns.T
        elif (height, width) != (self.size, self.size):
            pixels = F.interpolate(pixels, (self.size, self.size), mode="bilinear", align_corners=False)
        return pixels.add_(0.5).floor_()  # halves go up, as in OpenCV


@lru_cache(maxsize=64)
def _shares(length: int, size: int, device: torch.device) -> Tensor:
    """(size, length): how much of each source pixel lies in each pixel of the result, as OpenCV's INTER_AREA has it."""
    edges = torch.arange(size + 1, dtype=torch.float64) * (length / size)
    source = torch.arange(length, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], source + 1) - torch.maximum(edges[:-1, None], source)
    return (covered.clamp(min=0) * (size / length)).float().to(device)
