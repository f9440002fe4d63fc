"""Drawing an assembly plate: its pattern of fasteners, what else is mounted on it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from simvg_core.lineworld.scene import Mark, Part, Plate

Random = np.random.Generator

TRAIN_PLATES = (
    ("brushed", "steel"), ("cast", "steel"), ("cast", "grey"), ("painted", "red"), ("painted", "orange"), ("painted", "green"),
    ("painted", "blue"), ("painted", "white"), ("painted", "grey"), ("powder", "black"), ("powder", "grey"), ("powder", "blue"),
    ("plastic", "black"), ("plastic", "white"), ("brushed", "steel"), ("cast", "steel"),
)  # fmt: skip
HELD_OUT_PLATES = (("anodised", "steel"), ("anodised", "blue"), ("powder", "green"), ("anodised", "grey"))
FASTENER_FINISHES = (("steel", "steel"), ("zinc", "steel"), ("zinc", "brass"), ("black_oxide", "black"))
PLASTIC_COLORS = ("red", "orange", "yellow", "green", "blue", "white", "black")
SIZES = ("small", "medium", "large")


def pick(rng: Random, options: tuple[tuple[str, str], ...] | tuple[str, ...]) -> tuple[str, str] | str:
    return options[int(rng.integers(len(options)))]


class Places:
    """Free places on a plate; discs that are taken keep their distance."""

    def __init__(self, width: float, depth: float) -> None:
        self.width, self.depth = width, depth
        self.taken: list[tuple[float, float, float]] = []

    def free(self, x: float, y: float, radius: float) -> bool:
        inside = abs(x) + radius < self.width / 2 - 2 and abs(y) + radius < self.depth / 2 - 2
        return inside and all((x - a) ** 2 + (y - b) ** 2 > (radius + r + 1.5) ** 2 for a, b, r in self.taken)

    def take(self, x: float, y: float, radius: float) -> None:
        self.taken.append((x, y, radius))

    def find(self, rng: Random, radius: float, tries: int = 30) -> tuple[float, float] | None:
        for _ in range(tries):
            x = float(rng.uniform(-0.5, 0.5) * (self.width - 2 * radius))
            y = float(rng.uniform(-0.5, 0.5) * (self.depth - 2 * radius))
            if self.free(x, y, radius):
                self.take(x, y, radius)
                return x, y
        return None


def fastener_pattern(rng: Random, width: float, depth: float, radius: float) -> list[tuple[float, float]]:
    """Places of a plate's fasteners: corners, a frame, a bolt circle or two rows."""
    edge = radius * rng.uniform(1.5, 2.2)
    x, y = width / 2 - edge, depth / 2 - edge
    family = rng.choice(["corners", "frame", "circle", "rows"], p=[0.35, 0.3, 0.2, 0.15])
    if family == "corners":
        return [(-x, -y), (x, -y), (x, y), (-x, y)]
    if family == "frame":
        places = [(-x, -y), (x, -y), (x, y), (-x, y), (0.0, -y), (0.0, y)]
        return [*places, (-x, 0.0), (x, 0.0)] if depth > 9 * radius and rng.random() < 0.6 else places
    if family == "circle":
        count = int(rng.integers(4, 9))
        ring = min(x, y, max(3.2 * radius, count * 2.6 * radius / (2 * np.pi)) * rng.uniform(1.0, 1.3))
        start = rng.uniform(0, np.pi)
        return [(float(ring * np.cos(start + 2 * np.pi * k / count)), float(ring * np.sin(start + 2 * np.pi * k / count))) for k in range(count)]
    count = int(rng.integers(3, 6))
    return [(float(a), b) for a in np.linspace(-x, x, count) for b in (-y, y)]


def draw_plate(
    rng: Random,
    ids: Iterator[int],
    *,
    held_out: bool = False,
    defects: tuple[str, ...] | None = None,
    kind: str | None = None,
    size: tuple[float, float] | None = None,
) -> Plate:
    """A plate lying at the origin. ``defects``: exactly these (missing, tilted, crooked, stain, scratch, dent,
    wrong_color); None draws them. ``kind``: what it is fastened with; None draws it."""
    number = next(ids)
    width, depth = size or (float(rng.uniform(100, 190)), float(rng.uniform(80, 140)))
    finish, color = pick(rng, HELD_OUT_PLATES if held_out else TRAIN_PLATES)
    thickness = float(rng.uniform(5, 12))
    radius = float(rng.uniform(5.0, 9.0))
    places = Places(width, depth)
    spots = fastener_pattern(rng, width, depth, radius)
    for x, y in spots:
        places.take(x, y, radius)
    fastener = kind or str(rng.choice(["hex_bolt", "socket_screw", "cross_screw", "drilled_hole", "threaded_hole"], p=[0.70, 0.1, 0.11, 0.05, 0.04]))
    if defects is None:
        defects = _draw_defects(rng, fastener)
    parts = _fasteners(rng, ids, spots, radius, fastener, defects)
    parts += _mounted(rng, ids, places, radius, defects)
    marks = _marks(rng, ids, places, defects)
    relief = []
    if rng.random() < 0.35:
        w, d = float(rng.uniform(14, 34)), float(rng.uniform(10, 26))
        spot = places.find(rng, float(np.hypot(w, d) / 2), 15)
        if spot:
            relief.append((*spot, w, d))
    return Plate(
        id=number, x=0.0, y=0.0, turn=0.0, width=width, depth=depth, thickness=thickness,
        corner=float(rng.uniform(1.5, 14)), finish=finish, color=color, seed=int(rng.integers(2**31)),
        parts=tuple(parts), marks=tuple(marks), relief=tuple(relief),
    )  # fmt: skip


def _draw_defects(rng: Random, fastener: str) -> tuple[str, ...]:
    found = []
    if rng.random() < 0.5 and fastener in ("hex_bolt", "socket_screw", "cross_screw"):
        found += ["missing"] * int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08]))
    for defect, chance in (("tilted", 0.20), ("crooked", 0.35), ("stain", 0.20), ("scratch", 0.20), ("dent", 0.12), ("wrong_color", 0.2)):
        if rng.random() < chance:
            found.append(defect)
    return tuple(found)


def _fasteners(
    rng: Random, ids: Iterator[int], spots: list[tuple[float, float]], radius: float, fastener: str, defects: tuple[str, ...]
) -> list[Part]:
    finish, color = pick(rng, FASTENER_FINISHES)
    order = rng.permutation(len(spots))
    missing = set(order[: min(defects.count("missing"), len(spots) - 1)].tolist())
    loose = set(order[len(missing) : len(missing) + min(defects.count("tilted"), len(spots) - len(missing))].tolist())
    size = SIZES[int(np.digitize(radius, [6.2, 7.6]))]
    parts = []
    for k, (x, y) in enumerate(spots):
        base = Part(id=next(ids), kind=fastener, x=x, y=y, turn=float(rng.uniform(0, 2 * np.pi)), radius=radius, color=color,
                    finish=finish, size=size, seed=int(rng.integers(2**31)))  # fmt: skip
        if fastener in ("drilled_hole", "threaded_hole"):
            parts.append(replace(base, radius=radius * 0.6, color=None, size=None))
        elif k in missing:
            kind = "missing_bolt" if fastener == "hex_bolt" else "missing_screw"
            share = 1.0 if kind == "missing_bolt" else 0.75
            parts.append(replace(base, kind=kind, color=None, size=None, radius=radius * share))
        elif k in loose:
            parts.append(replace(base, state="tilted", tilt=float(rng.uniform(0.2, 0.5)), tilt_to=float(rng.uniform(0, 2 * np.pi))))
        else:
            share = 1.0 if fastener == "hex_bolt" else 0.75
            parts.append(replace(base, radius=radius * share))
    return parts


def _mounted(rng: Random, ids: Iterator[int], places: Places, radius: float, defects: tuple[str, ...]) -> list[Part]:
    """Labels, caps, connectors, nuts, washers, gears, cables and holes that belong to nothing."""
    parts: list[Part] = []

    def put(kind: str, r: float, reach: float | None = None, **more: object) -> None:
        spot = places.find(rng, reach or r)
        if spot:
            parts.append(Part(id=next(ids), kind=kind, x=spot[0], y=spot[1], radius=r, seed=int(rng.integers(2**31)), **more))  # type: ignore[arg-type]

    def sized(r: float, low: float, high: float) -> dict[str, object]:
        return {"size": SIZES[int(np.digitize(r, [low, high]))]}

    crooked = "crooked" in defects
    for k in range(1 if crooked else int(rng.choice([0, 1, 2], p=[0.4, 0.5, 0.1]))):
        half = float(rng.uniform(14, 24))
        wrong = crooked and k == 0
        angle = float(rng.uniform(0.17, 0.6) * rng.choice([-1, 1])) if wrong else float(rng.normal(0, 0.012))
        angle += float(rng.choice([0, 0, 0, np.pi / 2]))
        put("label", half, half * 1.12, turn=angle, color=str(rng.choice(["white", "white", "yellow", "grey"])),
            finish="paper", state="crooked" if wrong else "ok")  # fmt: skip
    if rng.random() < 0.5 or "wrong_color" in defects:
        usual = str(rng.choice(PLASTIC_COLORS))
        r = float(rng.uniform(5, 10))
        count = int(rng.integers(2, 5)) if "wrong_color" in defects else int(rng.integers(1, 4))
        odd = int(rng.integers(count)) if "wrong_color" in defects and count > 2 else -1
        for k in range(count):
            other = str(rng.choice([c for c in PLASTIC_COLORS if c != usual]))
            put("cap", r, r * 1.15, color=other if k == odd else usual, finish="plastic", state="wrong_color" if k == odd else "ok", **sized(r, 6.5, 8.5))
    for kind, chance, low, high in (
        ("connector", 0.35, 7, 12), ("nut", 0.25, 4.5, 8), ("washer", 0.22, 5, 9), ("gear", 0.22, 9, 17),
    ):  # fmt: skip
        if rng.random() < chance:
            for _ in range(int(rng.integers(1, 3))):
                r = float(rng.uniform(low, high))
                third = (high - low) / 3
                finish, color = pick(rng, FASTENER_FINISHES)
                if kind == "connector":
                    finish, color = "plastic", str(rng.choice(PLASTIC_COLORS))
                elif kind == "gear":
                    finish, color = pick(rng, (("machined", "steel"), ("plastic", "white"), ("plastic", "black"), ("machined", "brass")))
                put(kind, r, r * 1.1, turn=float(rng.uniform(0, 6.28)), color=color, finish=finish, **sized(r, low + third, high - third))
    if rng.random() < 0.45:
        kind = str(rng.choice(["drilled_hole", "threaded_hole"]))
        for _ in range(int(rng.integers(1, 4))):
            put(kind, float(rng.uniform(0.45, 0.8) * radius))
    if rng.random() < 0.15:
        length = float(rng.uniform(35, 60))
        put("cable", float(rng.uniform(1.4, 2.4)), length / 2, turn=float(rng.uniform(0, 6.28)), length=length, color=str(rng.choice(["black", "red", "blue", "yellow", "white"])), finish="rubber")
    return parts


def _marks(rng: Random, ids: Iterator[int], places: Places, defects: tuple[str, ...]) -> list[Mark]:
    marks = []
    for kind in ("stain", "scratch", "dent"):
        for _ in range(defects.count(kind)):
            reach = {"stain": rng.uniform(8, 16), "scratch": rng.uniform(10, 22), "dent": rng.uniform(5, 10)}[kind]
            spot = places.find(rng, float(reach))
            if spot is None:
                continue
            if kind == "scratch":
                turn, t = rng.uniform(0, np.pi), np.linspace(-1, 1, 7)
                bow = rng.uniform(-0.2, 0.2)
                points = tuple(
                    (float(spot[0] + reach * (a * np.cos(turn) - bow * (1 - a * a) * np.sin(turn))),
                     float(spot[1] + reach * (a * np.sin(turn) + bow * (1 - a * a) * np.cos(turn)))) for a in t
                )  # fmt: skip
                width = float(rng.uniform(0.9, 2.0))
            else:
                points, width = (spot,), float(2 * reach * 0.8)
            marks.append(Mark(id=next(ids), kind=kind, points=points, width=width, seed=int(rng.integers(2**31))))
    return marks
