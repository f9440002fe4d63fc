"""Drawing an assembly plate: its pattern of fasteners, what else is mounted on it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from simvg_core.lineworld.mix import COMMON, Mix
from simvg_core.lineworld.scene import Mark, Part, Plate

Random = np.random.Generator
Option = TypeVar("Option")

TRAIN_PLATES = (
    ("brushed", "steel"),
    ("cast", "steel"),
    ("cast", "grey"),
    ("painted", "red"),
    ("painted", "orange"),
    ("painted", "green"),
    ("painted", "blue"),
    ("painted", "white"),
    ("painted", "grey"),
    ("powder", "black"),
    ("powder", "grey"),
    ("powder", "blue"),
    ("plastic", "black"),
    ("plastic", "white"),
    ("brushed", "steel"),
    ("cast", "steel"),
)
HELD_OUT_PLATES = (("anodised", "steel"), ("anodised", "blue"), ("powder", "green"), ("anodised", "grey"))
FASTENER_FINISHES = (("steel", "steel"), ("zinc", "steel"), ("zinc", "brass"), ("black_oxide", "black"))
GEAR_FINISHES = (("machined", "steel"), ("plastic", "white"), ("plastic", "black"), ("machined", "brass"))
PLASTIC_COLORS = ("red", "orange", "yellow", "green", "blue", "white", "black")
SIZES = ("small", "medium", "large")


def pick(rng: Random, options: Sequence[Option]) -> Option:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


class Places:
    """Free places on a plate; discs that are taken keep their distance."""

    def __init__(self, width: float, depth: float) -> None:
        self.width, self.depth = width, depth
        self.taken: list[tuple[float, float, float]] = []

    def free(self, x: float, y: float, radius: float) -> bool:
        """Whether a disc lies within the plate and clear of all that is taken."""
        inside = abs(x) + radius < self.width / 2 - 2 and abs(y) + radius < self.depth / 2 - 2
        return inside and all((x - a) ** 2 + (y - b) ** 2 > (radius + r + 1.5) ** 2 for a, b, r in self.taken)

    def take(self, x: float, y: float, radius: float) -> None:
        """Takes a disc, free or not."""
        self.taken.append((x, y, radius))

    def find(self, rng: Random, radius: float, tries: int = 30) -> tuple[float, float] | None:
        """Takes a free disc drawn at random and returns its middle; None when no try found one."""
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
        return [
            (float(ring * np.cos(start + 2 * np.pi * k / count)), float(ring * np.sin(start + 2 * np.pi * k / count)))
            for k in range(count)
        ]
    count = int(rng.integers(3, 6))
    return [(float(a), b) for a in np.linspace(-x, x, count) for b in (-y, y)]


def draw_plate(
    rng: Random,
    ids: Iterator[int],
    *,
    held_out: bool = False,
    mix: Mix = COMMON,
    defects: tuple[str, ...] | None = None,
    kind: str | None = None,
    size: tuple[float, float] | None = None,
) -> Plate:
    """A plate lying at the origin, on a finish that only ``held_out`` plates or only the others have.

    ``defects``: these (missing, tilted, crooked, stain, scratch, dent, wrong_color), each as often as it is named and
    as far as the plate has room for it; None draws them, as often as ``mix`` says. ``kind``: what it is fastened with;
    None draws it.
    """
    number = next(ids)
    width, depth = size or (float(rng.uniform(100, 190)), float(rng.uniform(80, 140)))
    finish, color = pick(rng, HELD_OUT_PLATES if held_out else TRAIN_PLATES)
    thickness = float(rng.uniform(5, 12))
    radius = float(rng.uniform(5.0, 9.0))
    places = Places(width, depth)
    spots = fastener_pattern(rng, width, depth, radius)
    for x, y in spots:
        places.take(x, y, radius)
    fastener = kind or str(
        rng.choice(["hex_bolt", "socket_screw", "cross_screw", "drilled_hole", "threaded_hole"], p=mix.fasteners)
    )
    if defects is None:
        defects = _draw_defects(rng, fastener, mix)
        if mix.most_tilted > 1 and "tilted" in defects:
            defects += ("tilted",) * int(rng.integers(mix.most_tilted))
    parts = _fasteners(rng, ids, spots, radius, fastener, defects)
    parts += _mounted(rng, ids, places, radius, defects, mix)
    marks = _marks(rng, ids, places, defects)
    relief = []
    if rng.random() < 0.35:
        w, d = float(rng.uniform(14, 34)), float(rng.uniform(10, 26))
        spot = places.find(rng, float(np.hypot(w, d) / 2), 15)
        if spot:
            relief.append((*spot, w, d))
    return Plate(
        id=number,
        x=0.0,
        y=0.0,
        turn=0.0,
        width=width,
        depth=depth,
        thickness=thickness,
        corner=float(rng.uniform(1.5, 14)),
        finish=finish,
        color=color,
        seed=int(rng.integers(2**31)),
        parts=tuple(parts),
        marks=tuple(marks),
        relief=tuple(relief),
    )


def _draw_defects(rng: Random, fastener: str, mix: Mix) -> tuple[str, ...]:
    found = []
    if rng.random() < 0.5 and fastener in ("hex_bolt", "socket_screw", "cross_screw"):
        found += ["missing"] * int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08]))
    for defect, chance in mix.defects.items():
        if rng.random() < chance:
            found.append(defect)
    return tuple(found)


def _fasteners(
    rng: Random,
    ids: Iterator[int],
    spots: list[tuple[float, float]],
    radius: float,
    fastener: str,
    defects: tuple[str, ...],
) -> list[Part]:
    finish, color = pick(rng, FASTENER_FINISHES)
    order = rng.permutation(len(spots))
    missing = set(order[: min(defects.count("missing"), len(spots) - 1)].tolist())
    loose = set(order[len(missing) : len(missing) + min(defects.count("tilted"), len(spots) - len(missing))].tolist())
    size = _size(radius, 6.2, 7.6)
    parts = []
    for k, (x, y) in enumerate(spots):
        base = Part(
            id=next(ids),
            kind=fastener,
            x=x,
            y=y,
            turn=float(rng.uniform(0, 2 * np.pi)),
            radius=radius,
            color=color,
            finish=finish,
            size=size,
            seed=int(rng.integers(2**31)),
        )
        if fastener in ("drilled_hole", "threaded_hole"):
            parts.append(replace(base, radius=radius * 0.6, color=None, size=None))
        elif k in missing:
            kind = "missing_bolt" if fastener == "hex_bolt" else "missing_screw"
            share = 1.0 if kind == "missing_bolt" else 0.75
            parts.append(replace(base, kind=kind, color=None, size=None, radius=radius * share))
        elif k in loose:
            parts.append(
                replace(
                    base, state="tilted", tilt=float(rng.uniform(0.2, 0.5)), tilt_to=float(rng.uniform(0, 2 * np.pi))
                )
            )
        else:
            share = 1.0 if fastener == "hex_bolt" else 0.75
            parts.append(replace(base, radius=radius * share))
    return parts


class _Mounting:
    """What is mounted on a plate beside its fasteners, each thing in a free place."""

    def __init__(self, rng: Random, ids: Iterator[int], places: Places) -> None:
        self.rng, self.ids, self.places = rng, ids, places
        self.parts: list[Part] = []

    def put(
        self,
        kind: str,
        radius: float,
        reach: float,
        *,
        turn: float = 0.0,
        color: str | None = None,
        finish: str = "steel",
        size: str | None = None,
        state: str = "ok",
        length: float = 0.0,
    ) -> None:
        """Mounts a part where a disc of ``reach`` is free; without such a place nothing is mounted."""
        spot = self.places.find(self.rng, reach)
        if spot:
            self.parts.append(
                Part(
                    id=next(self.ids),
                    kind=kind,
                    x=spot[0],
                    y=spot[1],
                    radius=radius,
                    turn=turn,
                    color=color,
                    finish=finish,
                    size=size,
                    state=state,
                    length=length,
                    seed=int(self.rng.integers(2**31)),
                )
            )

    def labels(self, crooked: bool, at_least: int) -> None:
        """None to two printed labels; of ``crooked`` ones there is at least one, and the first is."""
        rng = self.rng
        for k in range(1 if crooked else max(at_least, int(rng.choice([0, 1, 2], p=[0.4, 0.5, 0.1])))):
            half = float(rng.uniform(14, 24))
            wrong = crooked and k == 0
            angle = float(rng.uniform(0.17, 0.6) * rng.choice([-1, 1])) if wrong else float(rng.normal(0, 0.012))
            angle += float(rng.choice([0, 0, 0, np.pi / 2]))
            color = str(rng.choice(["white", "white", "yellow", "grey"]))
            state = "crooked" if wrong else "ok"
            self.put("label", half, half * 1.12, turn=angle, color=color, finish="paper", state=state)

    def caps(self, wrong_color: bool, at_least: int) -> None:
        """Caps of one colour; with ``wrong_color`` there are ``at_least`` so many, and one of three or more is odd."""
        rng = self.rng
        usual = str(rng.choice(PLASTIC_COLORS))
        r = float(rng.uniform(5, 10))
        count = int(rng.integers(at_least, 5)) if wrong_color else int(rng.integers(1, 4))
        odd = int(rng.integers(count)) if wrong_color and count > 2 else -1
        for k in range(count):
            other = str(rng.choice([c for c in PLASTIC_COLORS if c != usual]))
            color, state = (other, "wrong_color") if k == odd else (usual, "ok")
            self.put("cap", r, r * 1.15, color=color, finish="plastic", state=state, size=_size(r, 6.5, 8.5))

    def hardware(self, kind: str, low: float, high: float) -> None:
        """One or two connectors, nuts, washers or gears with a radius from ``low`` to ``high``."""
        rng = self.rng
        for _ in range(int(rng.integers(1, 3))):
            r = float(rng.uniform(low, high))
            third = (high - low) / 3
            finish, color = pick(rng, FASTENER_FINISHES)
            if kind == "connector":
                finish, color = "plastic", str(rng.choice(PLASTIC_COLORS))
            elif kind == "gear":
                finish, color = pick(rng, GEAR_FINISHES)
            turn = float(rng.uniform(0, 6.28))
            self.put(kind, r, r * 1.1, turn=turn, color=color, finish=finish, size=_size(r, low + third, high - third))

    def holes(self, radius: float) -> None:
        """One to three holes that belong to no bolt, smaller than fasteners of ``radius``."""
        kind = str(self.rng.choice(["drilled_hole", "threaded_hole"]))
        for _ in range(int(self.rng.integers(1, 4))):
            r = float(self.rng.uniform(0.45, 0.8) * radius)
            self.put(kind, r, r)

    def cable(self) -> None:
        """A cable lying on the plate."""
        rng = self.rng
        length = float(rng.uniform(35, 60))
        radius = float(rng.uniform(1.4, 2.4))
        turn = float(rng.uniform(0, 6.28))
        color = str(rng.choice(["black", "red", "blue", "yellow", "white"]))
        self.put("cable", radius, length / 2, turn=turn, length=length, color=color, finish="rubber")


def _size(radius: float, low: float, high: float) -> str:
    return SIZES[int(np.digitize(radius, [low, high]))]


def _mounted(
    rng: Random, ids: Iterator[int], places: Places, radius: float, defects: tuple[str, ...], mix: Mix
) -> list[Part]:
    """Labels, caps, connectors, nuts, washers, gears, cables and holes that belong to nothing."""
    mounting = _Mounting(rng, ids, places)
    mounting.labels("crooked" in defects, mix.least_labels)
    if rng.random() < 0.5 or "wrong_color" in defects:
        mounting.caps("wrong_color" in defects, mix.least_caps)
    for kind, chance, low, high in (
        ("connector", 0.35, 7, 12),
        ("nut", 0.25, 4.5, 8),
        ("washer", 0.22, 5, 9),
        ("gear", 0.22, 9, 17),
    ):
        if rng.random() < chance:
            mounting.hardware(kind, low, high)
    if rng.random() < 0.45:
        mounting.holes(radius)
    if rng.random() < 0.15:
        mounting.cable()
    return mounting.parts


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
                    (
                        float(spot[0] + reach * (a * np.cos(turn) - bow * (1 - a * a) * np.sin(turn))),
                        float(spot[1] + reach * (a * np.sin(turn) + bow * (1 - a * a) * np.cos(turn))),
                    )
                    for a in t
                )
                width = float(rng.uniform(0.9, 2.0))
            else:
                points, width = (spot,), float(2 * reach * 0.8)
            marks.append(Mark(id=next(ids), kind=kind, points=points, width=width, seed=int(rng.integers(2**31))))
    return marks
