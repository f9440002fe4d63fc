"""Changes to a picture that keep its truth true: geometry with its boxes, light, lens, sensor, compression.

Geometry comes first and the queries are asked about its result, so that "left" and "largest" stay right. Boxes are
xyxy, normalised to the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from simvg_core.images import Frame, resize
from simvg_core.lineworld.truth import Seen
from simvg_core.training.fields import NotNegative, Range, Rise, Share, Span, check

# Round enough that the box of the turned thing is that of a turned ellipse.
_ROUND = frozenset(
    {
        "hex_bolt", "socket_screw", "cross_screw", "nut", "washer", "threaded_hole", "drilled_hole", "missing_bolt",
        "missing_screw", "cap", "gear",
    }
)  # fmt: skip
_KEEP = 0.6
_KEEP_PLATE = 0.3
_GONE = 0.08
_LEAST_SIGMA = 1.5
_Quality = Annotated[int, Range(1, 100)]


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """How strong each change may be; a probability of 0 switches it off.

    Raises:
        ConfigurationError: a value of another type or out of range.
    """

    zoom: Span = (0.65, 1.3)
    shift: NotNegative = 0.12
    quarter_turn: Share = 0.35
    small_turn_deg: NotNegative = 7.0
    any_turn: Share = 0.12
    flip: Share = 0.3
    gain: Span = (0.55, 1.45)
    gamma: Span = (0.75, 1.35)
    contrast: Span = (0.75, 1.3)
    tint: Share = 0.07
    blur: Share = 0.2
    heavy_blur: Share = 0.03
    low_resolution: Share = 0.1
    noise: Share = 0.4
    noise_sigma: Annotated[float, Range(_LEAST_SIGMA)] = 11.0
    jpeg: Share = 0.4
    jpeg_quality: Annotated[tuple[_Quality, _Quality], Rise(strictly=True)] = (20, 95)
    cutout: Share = 0.12

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Mapping:
    """An affine map from source pixels to the square picture: out = matrix · (x, y, 1), in pixels."""

    matrix: NDArray[np.float64]  # (2, 3)
    turn_deg: float
    size: int

    def box(self, box_px: tuple[float, float, float, float], round_thing: bool) -> tuple[float, ...]:
        """xyxy source pixels → xyxy of the turned thing, normalised, not clipped."""
        x0, y0, x1, y1 = box_px
        centre = self.matrix @ np.array([(x0 + x1) / 2, (y0 + y1) / 2, 1.0])
        halves = np.abs(self.matrix[:, :2]) * np.array([(x1 - x0) / 2, (y1 - y0) / 2])
        ellipse, hull = np.hypot(halves[:, 0], halves[:, 1]), halves.sum(axis=1)
        half = ellipse if round_thing else (ellipse + hull) / 2 if self.odd_turn > 0.5 else hull
        low, high = (centre - half) / self.size, (centre + half) / self.size
        return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))

    def axes(self, axes: tuple[float, float], width: int, height: int) -> tuple[float, float]:
        """Directions in the normalised source, width × height pixels → in the square picture; in radians."""
        ways = np.array([[math.cos(angle) * width, math.sin(angle) * height] for angle in axes])
        x, y = self.matrix[:, :2] @ ways.T
        first, second = np.arctan2(y, x)
        return float(first), float(second)

    @property
    def odd_turn(self) -> float:
        """Degrees away from the nearest quarter turn."""
        return abs((self.turn_deg + 45) % 90 - 45)


def random_mapping(width: int, height: int, size: int, settings: AugmentSettings, rng: np.random.Generator) -> Mapping:
    """Zoom, shift, turn and flip, drawn from `rng`."""
    quarters = int(rng.integers(1, 4)) if rng.random() < settings.quarter_turn else 0
    turn = 90.0 * quarters
    if rng.random() < settings.any_turn:
        turn = float(rng.uniform(0, 360))
    elif rng.random() < 0.7:
        turn += float(rng.uniform(-1, 1)) * settings.small_turn_deg
    zoom = float(np.exp(rng.uniform(math.log(settings.zoom[0]), math.log(settings.zoom[1]))))
    mirror = -1.0 if rng.random() < settings.flip else 1.0
    shift = rng.uniform(-1, 1, 2) * (settings.shift + max(0.0, 1 - 1 / zoom) / 2)
    return mapping_of(width, height, size, turn_deg=turn, zoom=zoom, mirror=mirror, shift=(shift[0], shift[1]))


def mapping_of(
    width: int,
    height: int,
    size: int,
    *,
    turn_deg: float = 0.0,
    zoom: float = 1.0,
    mirror: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Mapping:
    """Turn and zoom about the centre in source pixels, then stretch to the square; `shift` in picture sides."""
    radians = math.radians(turn_deg)
    cos, sin = math.cos(radians), math.sin(radians)
    turned = np.array([[cos, -sin], [sin, cos]]) @ np.diag([mirror, 1.0])
    sideways = abs(sin) > abs(cos)
    seen_width, seen_height = (height, width) if sideways else (width, height)
    linear = np.diag([zoom * size / seen_width, zoom * size / seen_height]) @ turned
    offset = size * (0.5 + np.asarray(shift)) - linear @ np.array([width / 2, height / 2])
    return Mapping(np.column_stack([linear, offset]), turn_deg, size)


def warp(frame_bgr: Frame, mapping: Mapping, border: tuple[int, int, int]) -> Frame:
    """(H, W, 3) → (S, S, 3); outside the source it is `border` (a mirrored border would make unlabelled twins)."""
    # pixel centres lie at +0.5 in box coordinates, at integers in OpenCV's
    matrix = mapping.matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    size = (mapping.size, mapping.size)
    out: Any = cv2.warpAffine(
        frame_bgr, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border
    )
    return cast(Frame, out)


def move(scene: Sequence[Seen], mapping: Mapping, width: int, height: int) -> list[Seen]:
    """The scene after a mapping: boxes moved and clipped; what is cut off or tiny is no longer clear, or gone."""
    moved = []
    for seen in scene:
        x0, y0, x1, y1 = seen.box
        pixels = (x0 * width, y0 * height, x1 * width, y1 * height)
        full = mapping.box(pixels, seen.kind in _ROUND)
        box = tuple(min(1.0, max(0.0, value)) for value in full)
        kept = (box[2] - box[0]) * (box[3] - box[1]) / max(1e-9, (full[2] - full[0]) * (full[3] - full[1]))
        if kept < _GONE:
            continue
        clear = seen.clear and kept >= (_KEEP_PLATE if seen.kind == "plate" else _KEEP)
        if mapping.odd_turn > 9 and seen.kind not in _ROUND:
            clear = False
        sides = sorted(((box[2] - box[0]) * mapping.size, (box[3] - box[1]) * mapping.size))
        if sides[1] < 7 or sides[0] < 2.5:
            clear = False
        axes = None if seen.axes is None else mapping.axes(seen.axes, width, height)
        moved.append(replace(seen, box=(box[0], box[1], box[2], box[3]), clear=clear, axes=axes))
    return moved


def cut_out(frame: Frame, scene: Sequence[Seen], rng: np.random.Generator) -> list[Seen]:
    """Hides a rectangle of a picture (in place) under one colour; what it hides is no longer clear, or gone."""
    size = frame.shape[0]
    w, h = rng.uniform(0.06, 0.25, 2)
    x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
    frame[int(y * size) : int((y + h) * size), int(x * size) : int((x + w) * size)] = rng.integers(0, 256, 3)
    left = []
    for seen in scene:
        x0, y0, x1, y1 = seen.box
        shared = max(0.0, min(x1, x + w) - max(x0, x)) * max(0.0, min(y1, y + h) - max(y0, y))
        hidden = shared / max(1e-9, seen.area)
        if hidden < 0.92:
            left.append(replace(seen, clear=seen.clear and hidden < 0.25))
    return left


def photograph(frame: Frame, settings: AugmentSettings, rng: np.random.Generator) -> Frame:
    """(S, S, 3) uint8 → the same place under other light, lens, sensor and compression."""
    size = frame.shape[0]
    out: Any = frame
    if rng.random() < settings.low_resolution:
        small = int(size * rng.uniform(0.45, 0.9))
        out = cv2.resize(cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    draw = rng.random()
    if draw < settings.heavy_blur:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(1.2, 2.2)))
    elif draw < settings.heavy_blur + settings.blur:
        if rng.random() < 0.3:
            length = int(rng.integers(3, 6))
            kernel = np.full((1, length), 1 / length, np.float32)
            out = cv2.filter2D(out, -1, kernel if rng.random() < 0.5 else kernel.T)
        else:
            out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.2)))
    if rng.random() < 0.85:
        out = cv2.LUT(out, _tone(settings, rng))
    if rng.random() < settings.noise:
        sigma = float(rng.uniform(_LEAST_SIGMA, settings.noise_sigma))
        grain = rng.standard_normal((size, size), dtype=np.float32) * sigma
        if rng.random() < 0.5:
            out = cv2.add(out, cv2.merge([grain] * 3), dtype=cv2.CV_8U)
        else:
            colored = [np.roll(grain, (17 * i, 31 * i), axis=(0, 1)) for i in range(3)]
            out = cv2.add(out, cv2.merge(colored), dtype=cv2.CV_8U)
    if rng.random() < settings.jpeg:
        quality = int(rng.integers(*settings.jpeg_quality))
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return cast(Frame, out)


def _tone(settings: AugmentSettings, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(256, 1, 3) look-up table: gain, gamma, contrast and a slight tint (colour names must not flip)."""
    value = np.linspace(0, 1, 256)[:, None]
    gain = float(np.exp(rng.uniform(math.log(settings.gain[0]), math.log(settings.gain[1]))))
    tint = rng.uniform(1 - settings.tint, 1 + settings.tint, 3)[None]
    value = (value * gain * tint).clip(0, 1) ** float(rng.uniform(*settings.gamma))
    value = (value - 0.45) * float(rng.uniform(*settings.contrast)) + 0.45
    return (value.clip(0, 1) * 255 + 0.5).astype(np.uint8).reshape(256, 1, 3)


def augment(
    frame_bgr: Frame, scene: Sequence[Seen], size: int, settings: AugmentSettings, rng: np.random.Generator
) -> tuple[Frame, list[Seen]]:
    """(H, W, 3) and its scene → (S, S, 3) and the scene as it is there."""
    height, width = frame_bgr.shape[:2]
    mapping = random_mapping(width, height, size, settings, rng)
    shade = int(rng.integers(0, 200))
    picture = warp(frame_bgr, mapping, (shade, shade, shade))
    moved = move(scene, mapping, width, height)
    if rng.random() < settings.cutout:
        moved = cut_out(picture, moved, rng)
    return photograph(picture, settings, rng), moved


def plain(frame_bgr: Frame, scene: Sequence[Seen], size: int, how: str) -> tuple[Frame, list[Seen]]:
    """The picture as it is used at run time: stretched to the square, nothing else."""
    height, width = frame_bgr.shape[:2]
    return resize(frame_bgr, size, how), move(scene, mapping_of(width, height, size), width, height)
