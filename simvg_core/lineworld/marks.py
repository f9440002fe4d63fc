"""Scratches, dents and stains, painted into the maps of a plate's surface."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from simvg_core.lineworld.scene import Mark, Plate
from simvg_core.lineworld.surfaces import F32, clouds

DARK_SURFACE = 0.25
"""Mean linear base colour under which marks are lighter than what they are on."""


def paint_mark(mark: Mark, plate: Plate, base: F32, rough: F32, metal: F32, bump: F32) -> F32:
    """Paints a mark into the maps of the whole plate (base (H, W, 3), the others (H, W)) in place.

    Returns how far it covers each pixel, (H, W) in 0..1. The maps span the plate from edge to edge, rows along +y.
    """
    height, width = base.shape[:2]
    pixels = (np.array(mark.points) / [plate.width, plate.depth] + 0.5) * [width - 1, height - 1]
    light = float(base.mean()) > DARK_SURFACE
    if mark.kind == "scratch":
        return _scratch(pixels, max(1, round(mark.width / plate.width * width)), light, base, rough, metal, bump)
    middle = pixels.mean(0)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    scale = np.array([width / plate.width, height / plate.depth]) * mark.width / 2
    distance = np.hypot((columns - middle[0]) / scale[0], (rows - middle[1]) / scale[1])
    if mark.kind == "stain":
        edge = distance + 0.22 * clouds(np.random.default_rng(mark.seed), height, width, 40)
        return _stain(edge, light, base, rough, metal)
    # a dent: a bowl with a raised lip
    bowl = np.exp(-((distance * 1.3) ** 4))
    lip = np.exp(-(((distance - 0.95) / 0.15) ** 2))
    bump += (-1.0 * mark.width * 0.10 * bowl + 0.12 * lip).astype(np.float32)
    base *= (1 - 0.25 * bowl)[..., None]
    return np.asarray(distance < 0.85, np.float32)


def _scratch(
    pixels: NDArray[np.float64], thickness: int, light: bool, base: F32, rough: F32, metal: F32, bump: F32
) -> F32:
    cover = np.zeros(rough.shape, np.float32)
    cv2.polylines(cover, [np.round(pixels * 16).astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA, 4)
    if not light:
        tone = (0.75, 0.75, 0.76)
    elif float(metal.mean()) > 0.5:
        tone = (0.05, 0.05, 0.05)
    else:
        tone = (0.08, 0.08, 0.08)
    base[:] = base * (1 - cover[..., None]) + np.array(tone, np.float32) * cover[..., None]
    bump -= 0.25 * cover
    rough[:] = np.clip(rough + 0.2 * cover, 0, 1)
    return cover


def _stain(edge: F32, light: bool, base: F32, rough: F32, metal: F32) -> F32:
    """``edge``: distance from the middle, 1 at the rim."""
    cover = np.asarray(np.clip((1.0 - edge) / 0.25, 0, 1), np.float32)
    tone = (0.05, 0.025, 0.012) if light else (0.55, 0.50, 0.38)
    opaque = 0.85 * cover[..., None]
    base[:] = base * (1 - opaque) + np.array(tone, np.float32) * opaque
    rough[:] = rough * (1 - 0.6 * cover) + 0.25 * 0.6 * cover
    metal *= 1 - 0.9 * cover
    return cover
