"""Fixed positions of the heads (sections 3.2, 3.3), as the published weights expect them.

Shapes: B images, T text tokens, G cells per side of the image, E head width.

Computed on the fly: they are small, and nothing then depends on a buffer that a checkpoint does not hold.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def text_positions(length: int, width: int, device: torch.device) -> Tensor:
    """(T, E) positions of text tokens for the query generator.

    Row p is [sin p, cos p, 0, 1, 0, 1, …]: in the published code all frequencies but the first are cast to zero, and
    the weights were trained with that.
    """
    angles = torch.zeros(length, width // 2, device=device)
    angles[:, 0] = torch.arange(length, device=device)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def grid_positions(valid: Tensor, width: int) -> Tensor:
    """2-D sine positions of image tokens, counted over valid cells only.

    Args:
        valid: (B, G, G) bool, True = inside the image.
        width: E, a multiple of 4.

    Returns:
        (B, G·G, E), the vertical half first; sine and cosine interleaved, temperature 10,000.
    """
    counts = valid.float()
    rows, columns = counts.cumsum(1), counts.cumsum(2)
    rows = rows / (rows[:, -1:, :] + 1e-6) * (2 * math.pi)
    columns = columns / (columns[:, :, -1:] + 1e-6) * (2 * math.pi)
    half = width // 2
    exponent = 2 * torch.div(torch.arange(half, device=valid.device), 2, rounding_mode="floor") / half
    frequency = 10000.0**exponent

    def encode(position: Tensor) -> Tensor:
        angles = position.flatten(1).unsqueeze(-1) / frequency
        return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(2)

    return torch.cat([encode(rows), encode(columns)], dim=-1)


def cell_centres(grid: int, device: torch.device) -> Tensor:
    """(G·G, 2) centres of the cells, (x, y) normalised to 0 … 1, row-major."""
    axis = (torch.arange(grid, device=device) + 0.5) / grid
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def mean_place(weights: Tensor, grid: int) -> Tensor:
    """Mean of the cells' centres, weighted: (..., G·G) → (..., 2), as `cell_centres`.

    Column by column and row by row: as one product with 2 columns it takes torch three times as long on a CPU,
    and ONNX Runtime less.
    """
    if torch.compiler.is_exporting():
        return weights @ cell_centres(grid, weights.device)
    axis = (torch.arange(grid, device=weights.device) + 0.5) / grid
    cells = weights.unflatten(-1, (grid, grid))
    x, y = ((cells.sum(dim=dim) * axis).sum(dim=-1) for dim in (-2, -1))
    return torch.stack([x, y], dim=-1)


def valid_cells(pixel_mask: Tensor, grid: int) -> Tensor:
    """(B, H, W) mask of the image area → (B, G, G) bool: a cell is valid if its top-left pixel is."""
    step_y, step_x = pixel_mask.shape[-2] // grid, pixel_mask.shape[-1] // grid
    return pixel_mask[:, : grid * step_y : step_y, : grid * step_x : step_x].bool()
