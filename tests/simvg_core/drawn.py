"""A cheap drawn line: plates and parts as flat shapes, with the truth records of the rendered one.

For tests; never shown, and no model is scored on it. A picture takes a few milliseconds.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simvg_core.lineworld.vocabulary import COLORS

BGR = {
    "red": (40, 35, 200), "orange": (30, 120, 235), "yellow": (40, 210, 235), "green": (60, 150, 50),
    "blue": (190, 90, 30), "white": (235, 235, 235), "black": (35, 35, 35), "grey": (128, 128, 128),
    "steel": (178, 172, 168), "brass": (85, 165, 200), "copper": (70, 105, 190),
}  # fmt: skip
PLATES = ("steel", "grey", "black", "blue", "green", "white", "brass")
PAINTS = ("red", "orange", "yellow", "green", "blue", "white", "black")
WIDTH, HEIGHT, SCALE = 384, 288, 2


class _Canvas:
    """Draws at twice the size and notes the truth of what it draws."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        shade = int(rng.integers(30, 120))
        self.image: Any = np.full((HEIGHT * SCALE, WIDTH * SCALE, 3), shade, np.uint8)
        self.instances: list[dict[str, Any]] = []

    def fill(self, points: NDArray[np.float64], color: tuple[int, int, int], edge: int = 60) -> None:
        """A polygon (n, 2) with a darker edge and a light rim at the upper left."""
        whole = np.round(points * SCALE * 8).astype(np.int32)
        dark = tuple(max(0, channel - edge) for channel in color)
        shadow = whole + np.array([10, 14])
        cv2.fillPoly(self.image, [shadow], tuple(c // 3 for c in color), cv2.LINE_AA, 3)
        cv2.fillPoly(self.image, [whole], color, cv2.LINE_AA, 3)
        cv2.polylines(self.image, [whole], True, dark, 1, cv2.LINE_AA, 3)

    def note(self, kind: str, points: NDArray[np.float64], plate: int | None, **fields: Any) -> None:
        """Truth of what the points bound."""
        low, high = points.min(axis=0), points.max(axis=0)
        inner = np.clip(low, 0, (WIDTH, HEIGHT)), np.clip(high, 0, (WIDTH, HEIGHT))
        size = inner[1] - inner[0]
        if size.min() < 1:
            return
        visible = float(size.prod() / max(1e-6, (high - low).prod()))
        self.instances.append(
            {
                "id": len(self.instances) + 1, "kind": kind, "plate": plate, "color": None, "material": None,
                "size": None, "state": "ok", "box": [*map(float, inner[0]), *map(float, inner[1])],
                "pixels": int(size.prod()), "visible": visible, "clear": visible > 0.6, "angle_deg": 0.0, **fields,
            }
        )  # fmt: skip


def _ring(x: float, y: float, radius: float, corners: int, turn: float = 0.0, squash: float = 1.0) -> NDArray[Any]:
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False) + turn
    return np.stack([x + radius * np.cos(angles), y + squash * radius * np.sin(angles)], axis=1)


def _star(x: float, y: float, radius: float, teeth: int) -> NDArray[Any]:
    angles = np.linspace(0, 2 * math.pi, teeth * 4, endpoint=False)
    radii = np.where(np.arange(teeth * 4) % 4 < 2, radius, radius * 0.8)
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)


def _bar(x: float, y: float, width: float, height: float, turn: float) -> NDArray[Any]:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
    cos, sin = math.cos(turn), math.sin(turn)
    turned: NDArray[Any] = corners @ np.array([[cos, sin], [-sin, cos]]) + np.array([x, y])
    return turned


def draw_picture(seed: int, index: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """(288, 384, 3) BGR and its truth record."""
    rng = np.random.default_rng((seed, index))
    canvas = _Canvas(rng)
    plates = int(rng.choice([1, 1, 2]))
    for number in range(plates):
        width, height = (rng.uniform(180, 330), rng.uniform(140, 250)) if plates == 1 else (
            rng.uniform(120, 175), rng.uniform(140, 240))  # fmt: skip
        x = WIDTH * (number + 0.5) / plates + rng.uniform(-15, 15)
        _plate(canvas, x, HEIGHT / 2 + rng.uniform(-30, 30), width, height)
    size = (WIDTH, HEIGHT)
    image = cv2.resize(canvas.image, size, interpolation=cv2.INTER_AREA)
    record = {
        "image": f"{index:06d}.jpg", "width": WIDTH, "height": HEIGHT, "seed": int(seed), "split": "drawn",
        "held_out": {}, "instances": canvas.instances,
    }  # fmt: skip
    return image, record


def _plate(canvas: _Canvas, x: float, y: float, width: float, height: float) -> None:
    rng = canvas.rng
    turn = float(rng.uniform(-0.15, 0.15))
    color = str(rng.choice(PLATES))
    outline = _bar(x, y, width, height, turn)
    base = tuple(int(c * rng.uniform(0.85, 1.1)) for c in BGR[color])
    canvas.fill(outline, (min(base[0], 255), min(base[1], 255), min(base[2], 255)), 25)
    canvas.note("plate", outline, None, color=color)
    plate = len(canvas.instances)
    columns, rows = max(3, int(width // 42)), max(3, int(height // 42))
    cos, sin = math.cos(turn), math.sin(turn)
    slots = [(column, row) for column in range(columns) for row in range(rows)]
    fastener = str(rng.choice(["hex_bolt", "hex_bolt", "socket_screw", "cross_screw"]))
    radius = float(rng.uniform(6, 9))
    metal = str(rng.choice(["steel", "brass", "black"]))
    paint = str(rng.choice(PAINTS))
    corners = {(0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)}
    used = rng.random(len(slots))
    for chance, (column, row) in zip(used, slots, strict=True):
        dx, dy = ((column + 0.5) / columns - 0.5) * width * 0.9, ((row + 0.5) / rows - 0.5) * height * 0.9
        at = (x + dx * cos - dy * sin, y + dx * sin + dy * cos)
        if (column, row) in corners:
            state = rng.random()
            if state < 0.13:
                _hole(canvas, at, radius, plate, "missing_bolt" if fastener == "hex_bolt" else "missing_screw")
            else:
                _fastener(canvas, at, radius, plate, fastener, metal, state < 0.23)
        elif chance < 0.55:
            _part(canvas, at, plate, turn, paint, base)


def _hole(canvas: _Canvas, at: tuple[float, float], radius: float, plate: int, kind: str) -> None:
    seat = radius * (1.25 if kind == "missing_bolt" else 0.95)
    if kind.startswith("missing"):
        ring = _ring(*at, seat, 24)
        canvas.fill(ring, (200, 200, 205), 40)
        canvas.fill(_ring(*at, radius * 0.55, 20), (25, 25, 25), 10)
        canvas.note(kind, ring, plate)
        return
    hole = _ring(*at, radius * 0.6, 20)
    canvas.fill(hole, (25, 25, 25), 10)
    if kind == "threaded_hole":
        canvas.fill(_ring(*at, radius * 0.4, 16), (90, 90, 95), 40)
    canvas.note(kind, hole, plate)


def _fastener(
    canvas: _Canvas, at: tuple[float, float], radius: float, plate: int, kind: str, metal: str, loose: bool
) -> None:
    rng = canvas.rng
    turn, squash = float(rng.uniform(0, 3)), 1.0
    color = BGR[metal]
    if loose:
        shank = _bar(at[0] + 3, at[1] + radius * 0.9, radius * 0.8, radius * 1.4, 0.3)
        canvas.fill(shank, (90, 90, 90), 50)
        squash = 0.6
    corners = 6 if kind == "hex_bolt" else 24
    head = _ring(*at, radius, corners, turn, squash)
    if kind == "hex_bolt" and not loose:
        canvas.fill(_ring(*at, radius * 1.2, 24), (150, 150, 150), 50)
    canvas.fill(head, color, 90)
    if kind == "socket_screw":
        canvas.fill(_ring(*at, radius * 0.5, 6, turn, squash), (20, 20, 20), 10)
    elif kind == "cross_screw":
        for extra in (0.0, math.pi / 2):
            canvas.fill(_bar(*at, radius * 1.2, radius * 0.3, turn + extra), (20, 20, 20), 10)
    else:
        canvas.fill(_ring(*at, radius * 0.7, 20, 0, squash), (min(color[0] + 25, 255),) * 3, 30)
    points = np.concatenate([head, shank]) if loose else head
    canvas.note(kind, points, plate, color=metal, state="tilted" if loose else "ok")


def _part(canvas: _Canvas, at: tuple[float, float], plate: int, turn: float, paint: str, base: tuple[int, ...]) -> None:
    rng = canvas.rng
    kind = str(rng.choice(["cap", "cap", "gear", "label", "connector", "nut", "washer", "drilled_hole", "threaded_hole",
                           "cable", "scratch", "dent", "stain"]))  # fmt: skip
    if kind in ("drilled_hole", "threaded_hole"):
        _hole(canvas, at, float(rng.uniform(6, 9)), plate, kind)
    elif kind == "cap":
        wrong = rng.random() < 0.15
        color = str(rng.choice([one for one in PAINTS if one != paint])) if wrong else paint
        ring = _ring(*at, float(rng.uniform(7, 12)), 28)
        canvas.fill(ring, BGR[color], 50)
        canvas.fill((ring - at) * 0.6 + at, tuple(min(255, c + 20) for c in BGR[color]), 10)  # type: ignore[arg-type]
        canvas.note("cap", ring, plate, color=color, state="wrong_color" if wrong else "ok")
    elif kind == "gear":
        radius = float(rng.uniform(10, 19))
        color = str(rng.choice(["steel", "brass", "white", "black"]))
        star = _star(*at, radius, int(rng.integers(9, 16)))
        canvas.fill(star, BGR[color], 60)
        canvas.fill(_ring(*at, radius * 0.3, 20), (30, 30, 30), 10)
        canvas.note("gear", star, plate, color=color, size="large" if radius > 15 else "small" if radius < 12 else None)
    elif kind == "label":
        crooked = rng.random() < 0.4
        own = turn + (float(rng.choice([-1, 1])) * float(rng.uniform(0.18, 0.5)) if crooked else 0.0)
        color = str(rng.choice(["white", "yellow"]))
        bar = _bar(*at, 36, 20, own)
        canvas.fill(bar, BGR[color], 30)
        for line in (-5, 0, 5):
            offset = np.array([-math.sin(own), math.cos(own)]) * line
            canvas.fill(_bar(at[0] + offset[0], at[1] + offset[1], rng.uniform(12, 28), 2, own), (40, 40, 40), 0)
        canvas.note("label", bar, plate, color=color, state="crooked" if crooked else "ok", angle_deg=0.0)
    elif kind == "connector":
        color = str(rng.choice(PAINTS))
        bar = _bar(*at, 26, 14, turn)
        canvas.fill(bar, BGR[color], 50)
        for pin in (-8, -3, 3, 8):
            canvas.fill(
                _bar(at[0] + pin * math.cos(turn), at[1] + pin * math.sin(turn), 2.5, 6, turn), BGR["brass"], 60
            )
        canvas.note("connector", bar, plate, color=color)
    elif kind == "cable":
        color = str(rng.choice(["red", "black", "blue", "yellow"]))
        along = np.linspace(-18, 18, 14)
        curve = np.stack([at[0] + along, at[1] + 7 * np.sin(along / 6 + rng.uniform(0, 6))], axis=1)
        half = np.array([0.0, 1.8])
        canvas.fill(np.concatenate([curve - half, (curve + half)[::-1]]), BGR[color], 40)
        canvas.note("cable", curve, plate, color=color)
    elif kind in ("nut", "washer"):
        metal = str(rng.choice(["steel", "brass"]))
        ring = _ring(*at, float(rng.uniform(6, 10)), 6 if kind == "nut" else 26)
        canvas.fill(ring, BGR[metal], 90)
        canvas.fill((ring - at) * 0.5 + at, tuple(max(0, c - 20) for c in base), 40)  # type: ignore[arg-type]
        canvas.note(kind, ring, plate, color=metal)
    elif kind == "scratch":
        bar = _bar(*at, float(rng.uniform(18, 36)), 1.6, float(rng.uniform(0, 3)))
        canvas.fill(bar, (235, 235, 235) if sum(base) < 450 else (90, 90, 90), 0)
        canvas.note("scratch", bar, plate)
    else:
        spread = rng.uniform(0.7, 1.1, 18)[:, None]
        blot = (_ring(*at, float(rng.uniform(7, 14)), 18) - at) * spread + at
        shade = 0.55 if kind == "stain" else 0.8
        canvas.fill(blot, tuple(int(c * shade) for c in base), 0 if kind == "stain" else -40)  # type: ignore[arg-type]
        if kind == "dent":
            canvas.fill((blot - at) * 0.6 + at + 2, tuple(min(255, int(c * 1.1)) for c in base), 0)  # type: ignore[arg-type]
        canvas.note(kind, blot, plate)


def write_drawn_set(folder: Path, count: int, seed: int) -> None:
    """Writes a set in the layout of rendered ones."""
    assert set(BGR) == set(COLORS)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "truth").mkdir(exist_ok=True)
    for index in range(count):
        image, record = draw_picture(seed, index)
        (folder / "truth" / f"{index:06d}.json").write_text(json.dumps(record), encoding="utf-8")
        cv2.imwrite(str(folder / "images" / record["image"]), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    settings = {"seed": seed, "split": "drawn", "images": count}
    (folder / "set.json").write_text(json.dumps(settings), encoding="utf-8")
