"""Finishes and their textures: the atlas that all parts of a picture share.

The atlas holds four maps (linear base colour, roughness, metallic, bump) and the number of the mark that each pixel
shows. A region of it belongs to one surface; plain colours share small swatches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
SIDE = 1280
SWATCH = 16

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.62, 0.03, 0.03),
    "orange": (0.80, 0.20, 0.02),
    "yellow": (0.82, 0.55, 0.03),
    "green": (0.03, 0.30, 0.08),
    "blue": (0.02, 0.10, 0.48),
    "white": (0.78, 0.78, 0.76),
    "black": (0.015, 0.015, 0.017),
    "grey": (0.20, 0.21, 0.22),
    "steel": (0.56, 0.56, 0.57),
    "brass": (0.70, 0.48, 0.16),
    "copper": (0.72, 0.34, 0.20),
}
"""Linear base colours."""

HELD_OUT_COLORS = COLORS | {
    "red": (0.36, 0.012, 0.045),
    "orange": (0.90, 0.28, 0.07),
    "yellow": (0.76, 0.66, 0.14),
    "green": (0.10, 0.40, 0.05),
    "blue": (0.05, 0.22, 0.62),
    "white": (0.70, 0.65, 0.54),
    "black": (0.036, 0.036, 0.042),
    "grey": (0.31, 0.32, 0.35),
}
"""Other tones of the same names (crimson, amber, lemon, leaf, sky, ivory), which no training picture has."""

FINISHES: dict[str, tuple[float, float]] = {
    "brushed": (0.38, 1.0),
    "cast": (0.58, 1.0),
    "anodised": (0.42, 0.75),
    "painted": (0.40, 0.0),
    "powder": (0.62, 0.0),
    "plastic": (0.34, 0.0),
    "steel": (0.26, 1.0),
    "zinc": (0.40, 1.0),
    "black_oxide": (0.34, 0.7),
    "paper": (0.75, 0.0),
    "rubber": (0.8, 0.0),
    "machined": (0.20, 1.0),
}
"""(roughness, metallic) of each finish."""


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the atlas in pixels."""

    x: int
    y: int
    width: int
    height: int

    def uv(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places 0..1 in the region → texture coordinates; half a pixel stays clear of the neighbours."""
        size = np.array([self.width - 1, self.height - 1])
        return np.asarray((np.array([self.x, self.y]) + 0.5 + np.clip(unit, 0, 1) * size) / SIDE, np.float64)


@dataclass
class Atlas:
    """The maps of one picture. Regions: belt, plates, labels; the lowest rows hold swatches.

    ``marks`` is 0 where there is none.
    """

    base: F32 = field(default_factory=lambda: np.full((SIDE, SIDE, 3), 0.3, np.float32))
    roughness: F32 = field(default_factory=lambda: np.full((SIDE, SIDE), 0.5, np.float32))
    metallic: F32 = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.float32))
    bump: F32 = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.float32))
    marks: NDArray[np.int32] = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.int32))
    _swatches: dict[tuple[float, ...], Region] = field(default_factory=dict)
    _labels: int = 0
    _plates: int = 0

    @property
    def maps(self) -> dict[str, F32]:
        """As the tracer takes them."""
        return {"base": self.base, "roughness": self.roughness, "metallic": self.metallic, "bump": self.bump}

    @property
    def belt(self) -> Region:
        """The region of the belt's pattern."""
        return Region(0, 0, 512, 512)

    def plate(self) -> Region:
        """A region for the next plate; the fifth plate shares that of the first."""
        k = self._plates
        self._plates += 1
        return Region(512 + 384 * (k % 2), 384 * (k // 2 % 2), 384, 384)

    def label(self) -> Region:
        """A region for the next label; the eleventh label shares that of the first."""
        k = self._labels % 10
        self._labels += 1
        return Region(256 * (k % 5), 768 + 128 * (k // 5), 256, 128)

    def swatch(self, color: tuple[float, float, float], roughness: float, metallic: float) -> Region:
        """A small region of one plain surface."""
        key = (*(round(c, 3) for c in color), round(roughness, 2), round(metallic, 2))
        if key not in self._swatches:
            k = len(self._swatches)
            region = Region(SWATCH * (k % 80), 1024 + SWATCH * (k // 80 % 16), SWATCH, SWATCH)
            area = np.s_[region.y : region.y + SWATCH, region.x : region.x + SWATCH]
            self.base[area] = color
            self.roughness[area] = roughness
            self.metallic[area] = metallic
            self._swatches[key] = region
        return self._swatches[key]

    def paint(
        self, region: Region, base: F32, roughness: F32 | float, metallic: F32 | float, bump: F32 | float = 0.0
    ) -> None:
        """Fills a region; arrays have the region's shape."""
        area = np.s_[region.y : region.y + region.height, region.x : region.x + region.width]
        self.base[area] = base
        self.roughness[area] = roughness
        self.metallic[area] = metallic
        self.bump[area] = bump


def clouds(rng: np.random.Generator, height: int, width: int, scale: float, octaves: int = 3) -> F32:
    """Smooth noise of mean 0 and deviation about 1; ``scale`` is the size of its largest features in pixels."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cell = max(scale / 2**octave, 1.0)
        small = rng.standard_normal((max(2, round(height / cell)), max(2, round(width / cell)))).astype(np.float32)
        total += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return np.asarray(total / max(float(total.std()), 1e-6), np.float32)


def streaks(rng: np.random.Generator, height: int, width: int, length: int) -> F32:
    """Brush lines along the width, mean 0, deviation about 1."""
    noise = rng.standard_normal((height, width + length)).astype(np.float32)
    smooth = cv2.blur(noise, (length, 1))[:, length // 2 : length // 2 + width]
    return np.asarray(smooth / max(float(smooth.std()), 1e-6), np.float32)


def surface_maps(
    rng: np.random.Generator,
    finish: str,
    color: tuple[float, float, float],
    height: int,
    width: int,
    finishes: Mapping[str, tuple[float, float]] = FINISHES,
) -> tuple[F32, F32, F32, F32]:
    """Base colour (H, W, 3), roughness, metallic and bump (H, W) of a plate's finish; ``color`` is linear."""
    roughness, metallic = finishes[finish]
    tone = np.array(color, np.float32) * np.float32(rng.uniform(0.8, 1.15))
    base = np.tile(tone, (height, width, 1))
    wear = clouds(rng, height, width, width / 3)
    base *= (1 + 0.05 * wear)[..., None]
    rough = np.clip(roughness + 0.05 * wear, 0.08, 1).astype(np.float32)
    bump = np.zeros((height, width), np.float32)
    if finish == "brushed":
        lines = streaks(rng, height, width, 90)
        base *= (1 + 0.06 * lines)[..., None]
        rough = np.clip(rough + 0.06 * lines, 0.1, 1)
        bump += 0.010 * lines
    elif finish == "cast":
        grain = clouds(rng, height, width, 5, 2)
        base *= (1 + 0.05 * grain)[..., None]
        bump += 0.035 * grain
    elif finish == "powder":
        bump += 0.02 * clouds(rng, height, width, 4, 2)
    elif finish == "painted":
        bump += 0.01 * clouds(rng, height, width, 14, 2)
    return np.clip(base, 0.004, 0.95), rough.astype(np.float32), np.full((height, width), metallic, np.float32), bump


def belt_maps(
    rng: np.random.Generator, kind: str, color: tuple[float, float, float], side: int
) -> tuple[F32, F32, F32, F32]:
    """Maps of a belt: rubber (woven), modular (plastic links), steel (brushed) or smooth (PVC)."""
    base = np.tile(np.array(color, np.float32), (side, side, 1))
    dirt = clouds(rng, side, side, side / 4, 5)
    base *= (1 + 0.10 * dirt)[..., None]
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    bump = np.zeros((side, side), np.float32)
    rough, metallic = 0.6, 0.0
    if kind == "rubber":
        weave = np.sin(columns * 2 * np.pi / 4) * np.sin(rows * 2 * np.pi / 4)
        bump += 0.12 * weave
        base *= (1 + 0.10 * weave)[..., None]
        rough = 0.75
    elif kind == "modular":
        across = (columns % 32 < 2) | ((rows + 16 * ((columns // 32) % 2)) % 64 < 2)
        base[across] *= 0.35
        bump -= 0.6 * cv2.GaussianBlur(across.astype(np.float32), (0, 0), 1.0)
        rough = 0.45
    elif kind == "steel":
        lines = streaks(rng, side, side, 120)
        base *= (1 + 0.08 * lines)[..., None]
        bump += 0.01 * lines
        rough, metallic = 0.42, 1.0
    else:
        bump += 0.02 * clouds(rng, side, side, 8, 2)
        rough = 0.5
    for _ in range(int(rng.integers(0, 12))):  # scuffs along the belt
        y, x0 = rng.integers(0, side), rng.integers(0, side)
        cv2.line(
            base,
            (int(x0), int(y)),
            (int(x0 + rng.integers(20, 160)), int(y + rng.integers(-6, 7))),
            tuple(float(c * rng.uniform(0.75, 1.2)) for c in color),
            1,
            cv2.LINE_AA,
        )
    return (
        np.clip(base, 0.003, 0.9),
        np.full((side, side), rough, np.float32),
        np.full((side, side), metallic, np.float32),
        bump,
    )


WORDS = (
    "LOT",
    "TYPE",
    "SERIES",
    "REV",
    "24V DC",
    "MODEL",
    "BATCH",
    "PART",
    "IP67",
    "SN",
    "DATE",
    "EU",
    "MAX 16A",
    "QC PASS",
)


def label_maps(seed: int, color: tuple[float, float, float], height: int, width: int) -> F32:
    """Print of a label (H, W, 3): a heading, lines of text, a bar or matrix code, perhaps a coloured band."""
    rng = np.random.default_rng(seed)
    art = np.tile(_encoded(color), (height, width, 1))
    ink = (12, 12, 14) if float(np.mean(color)) > 0.15 else (220, 220, 220)
    pad = height // 12
    if rng.random() < 0.5:
        cv2.rectangle(art, (pad // 2, pad // 2), (width - pad // 2, height - pad // 2), ink, 1)
    if rng.random() < 0.4:
        band = COLORS[str(rng.choice(["red", "blue", "green", "orange", "black"]))]
        cv2.rectangle(art, (0, 0), (width, height // 4), tuple(int(c) for c in _encoded(band)), -1)
    for line in range(int(rng.integers(2, 4))):
        text = f"{rng.choice(WORDS)} {rng.integers(10, 99999)}"
        scale = (0.75 if line == 0 else 0.5) * height / 128
        cv2.putText(
            art, text, (pad, int((0.24 + 0.2 * line) * height)), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA
        )
    if rng.random() < 0.6:
        x = pad
        while x < width * 0.8:
            bar = int(rng.integers(1, 5))
            cv2.rectangle(art, (x, int(height * 0.68)), (x + bar, int(height * 0.94)), ink, -1)
            x += bar + int(rng.integers(2, 6))
    else:
        cells = (rng.random((12, 12)) < 0.5).astype(np.uint8)
        cells[:, 0] = cells[-1] = 1
        code = cv2.resize(cells, (height // 2, height // 2), interpolation=cv2.INTER_NEAREST)
        spot = art[height - height // 2 - pad : height - pad, width - height // 2 - pad : width - pad]
        spot[code > 0] = ink
    return np.asarray((art / 255.0) ** 2.2, np.float32)


def _encoded(color: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Linear colour → 8 bits as on a screen: what OpenCV draws text on."""
    return np.asarray(np.array(color) ** (1 / 2.2) * 255, np.uint8)
