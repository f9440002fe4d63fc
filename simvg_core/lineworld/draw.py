"""Drawing whole scenes for the stored sets: plates on a belt, clutter, lamps, camera."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from simvg_core.lineworld.layout import FASTENER_FINISHES, PLASTIC_COLORS, Random, draw_plate, pick
from simvg_core.lineworld.looks import vary
from simvg_core.lineworld.mix import COMMON, MIXES, Mix
from simvg_core.lineworld.scene import Belt, Camera, Lamp, Part, Plate, Scene, SensorNoise

SPLITS = ("train", "val", "test", "val_hard", "test_hard", "faults", "rare", "varied")
SPLIT_NUMBER = {name: k for k, name in enumerate(SPLITS)}
SHAPES = ((384, 288), (320, 320), (432, 243))

BeltLook = tuple[str, tuple[float, float, float]]
"""Kind of a belt and its linear colour."""

TRAIN_BELTS: tuple[BeltLook, ...] = (
    ("rubber", (0.025, 0.027, 0.03)),
    ("rubber", (0.03, 0.10, 0.06)),
    ("modular", (0.25, 0.27, 0.30)),
    ("modular", (0.05, 0.12, 0.30)),
    ("smooth", (0.35, 0.36, 0.36)),
    ("smooth", (0.02, 0.12, 0.08)),
    ("steel", (0.50, 0.50, 0.51)),
    ("smooth", (0.06, 0.065, 0.07)),
)
HELD_OUT_BELTS: tuple[BeltLook, ...] = (("smooth", (0.10, 0.16, 0.24)), ("modular", (0.45, 0.42, 0.36)))


def draw_scene(seed: int, index: int, split: str) -> Scene:
    """Scene number ``index`` of a set: the same for the same arguments, whatever was drawn before.

    Splits ending in ``_hard`` use materials, tones of colours, belts, lamps and camera angles that no other split has.
    ``faults`` is for training, with more loose fasteners, and labels of either kind; ``rare``, too, with more of all
    that is rare: caps of a wrong colour, dents, tools on the belt; ``varied``, too, with lines that look as unlike each
    other as several makers' (``looks.py``).
    """
    rng = np.random.default_rng([seed, SPLIT_NUMBER[split], index])
    hard = split.endswith("_hard")
    ids = itertools.count(1)
    mix = MIXES.get(split, COMMON)
    plates = _lay_out(rng, ids, hard, mix)
    camera = draw_camera(rng, plates, hard)
    lamps, ambient = draw_lamps(rng, hard)
    kind, color = pick(rng, HELD_OUT_BELTS if hard else TRAIN_BELTS)
    rails = float(rng.uniform(110, 220)) if rng.random() < 0.4 else None
    if rails is not None:  # the rails guide the plates, they never cut into them
        rails = max(rails, max(_half_across(p) for p in plates) + float(rng.uniform(3, 20)))
    scene = Scene(
        seed=int(rng.integers(2**31)),
        split=split,
        plates=tuple(plates),
        loose=tuple(_clutter(rng, ids, plates, mix)),
        camera=camera,
        lamps=lamps,
        ambient=ambient,
        belt=Belt(kind=kind, color=color, seed=int(rng.integers(2**31)), rails=rails),
        sensor=SensorNoise(
            exposure=float(rng.normal(-0.25, 0.4)),
            noise=float(rng.uniform(0.8, 4.5)),
            blur=float(rng.uniform(0.2, 0.7)),
            vignette=float(rng.uniform(0, 0.35)),
        ),
        held_out={"material": hard, "light": hard, "color": hard, "camera": hard},
    )
    return vary(scene, rng) if split == "varied" else scene


def _radius(plate: Plate) -> float:
    return float(np.hypot(plate.width, plate.depth) / 2)


def _half_across(plate: Plate) -> float:
    """How far a plate reaches across the belt from the belt's middle line."""
    turned = abs(np.sin(plate.turn)) * plate.width + abs(np.cos(plate.turn)) * plate.depth
    return abs(plate.y) + float(turned) / 2


def _lay_out(rng: Random, ids: Iterator[int], hard: bool, mix: Mix) -> list[Plate]:
    """One to three plates side by side on the belt, at any angle."""
    count = int(rng.choice([1, 2, 3], p=[0.62, 0.28, 0.10]))
    base_turn = float(rng.choice([0.0, 0.0, np.pi / 2, np.pi, rng.uniform(0, 2 * np.pi)]))
    plates: list[Plate] = []
    for k in range(count):
        if k and rng.random() < 0.5:  # the same product once more, with defects of its own: a hard pair
            first = plates[0]
            twin = np.random.default_rng(rng.integers(2**31))
            plate = draw_plate(twin, ids, held_out=hard, mix=mix, size=(first.width, first.depth))
            plate = replace(
                plate, finish=first.finish, color=first.color, corner=first.corner, thickness=first.thickness
            )
        else:
            plate = draw_plate(rng, ids, held_out=hard, mix=mix)
        for _ in range(40):
            spread = 0.0 if k == 0 else 230.0
            x, y = float(rng.uniform(-spread, spread)), float(rng.uniform(-0.6, 0.6) * spread)
            if all(np.hypot(x - p.x, y - p.y) > 0.86 * (_radius(p) + _radius(plate)) for p in plates):
                turn = (
                    base_turn + float(rng.normal(0, 0.12)) if rng.random() < 0.6 else float(rng.uniform(0, 2 * np.pi))
                )
                plates.append(replace(plate, x=x, y=y, turn=turn))
                break
    return plates


def draw_camera(rng: Random, plates: list[Plate], hard: bool) -> Camera:
    """A camera that looks at the plates, most often wholly, from 0 to 50° off the vertical (held out: 50 to 60°)."""
    focus = plates[int(rng.integers(len(plates)))]
    width, height = SHAPES[int(rng.choice(3, p=[0.6, 0.25, 0.15]))]
    fov = float(rng.uniform(24, 46))
    span = 2 * _radius(focus) * float(rng.uniform(0.75, 1.35)) * width / max(height, width * 0.8)
    tilt = (
        float(rng.uniform(np.radians(50), np.radians(60)))
        if hard
        else float(rng.choice([rng.uniform(0.0, 0.3), rng.uniform(0.25, 0.85)]))
    )
    wander = 0.10 * span
    return Camera(
        look=(focus.x + float(rng.normal(0, wander)), focus.y + float(rng.normal(0, wander))),
        distance=span / 2 / float(np.tan(np.radians(fov) / 2)),
        tilt=tilt,
        around=float(rng.choice([-np.pi / 2, np.pi / 2, rng.uniform(-np.pi, np.pi)], p=[0.5, 0.2, 0.3])),
        roll=float(rng.normal(0, 0.06)),
        fov=fov,
        width=width,
        height=height,
    )


def draw_lamps(rng: Random, hard: bool) -> tuple[tuple[Lamp, ...], float]:
    """Soft boxes and ceiling lamps; held out: long strip lights from low on two sides."""
    if hard:
        start = rng.uniform(0, 2 * np.pi)
        strips = tuple(
            Lamp(
                azimuth=float((start + k * np.pi) % (2 * np.pi)),
                elevation=float(rng.uniform(0.35, 0.6)),
                width=1.0,
                height=0.07,
                radiance=float(rng.uniform(10, 18)),
                warmth=float(rng.uniform(-0.6, 0.2)),
            )
            for k in range(2)
        )
        return strips, float(rng.uniform(0.3, 0.7))
    lamps = []
    for _ in range(int(rng.integers(1, 5))):
        big = rng.random() < 0.6
        lamps.append(
            Lamp(
                azimuth=float(rng.uniform(0, 2 * np.pi)),
                elevation=float(rng.uniform(0.6, 1.45)),
                width=float(rng.uniform(0.3, 0.7) if big else rng.uniform(0.08, 0.25)),
                height=float(rng.uniform(0.15, 0.4) if big else rng.uniform(0.06, 0.15)),
                radiance=float(rng.uniform(3, 9) if big else rng.uniform(12, 40)),
                warmth=float(rng.normal(0, 0.4)),
            )
        )
    return tuple(lamps), float(rng.uniform(0.08, 0.5))


def _clutter(rng: Random, ids: Iterator[int], plates: list[Plate], mix: Mix) -> list[Part]:
    """Parts and tools lying on the belt, clear of the plates."""
    parts: list[Part] = []
    tools = ("spanner", "screwdriver", "pliers")
    kinds = ("hex_bolt", "nut", "washer", "cap", "gear", *tools, "cable", "socket_screw", *tools * (mix.tools - 1))
    for _ in range(int(rng.choice([0, 1, 2, 3, 5], p=[0.35, 0.25, 0.2, 0.12, 0.08]))):
        kind = str(rng.choice(kinds))
        length = {
            "spanner": rng.uniform(70, 120),
            "screwdriver": rng.uniform(90, 140),
            "pliers": rng.uniform(80, 120),
            "cable": rng.uniform(50, 110),
        }.get(kind, 0.0)
        radius = {"spanner": 8.0, "screwdriver": 8.0, "pliers": 7.0, "cable": rng.uniform(1.5, 2.8)}.get(
            kind, float(rng.uniform(5, 9))
        )
        reach = max(length / 2, radius)
        for _ in range(25):
            near = plates[int(rng.integers(len(plates)))]
            x, y = float(near.x + rng.uniform(-170, 170)), float(near.y + rng.uniform(-140, 140))
            if all(np.hypot(x - p.x, y - p.y) > reach + _radius(p) * 0.92 for p in plates) and all(
                np.hypot(x - p.x, y - p.y) > reach + max(p.length / 2, p.radius) + 2 for p in parts
            ):
                finish, color = pick(rng, FASTENER_FINISHES)
                if kind in ("cap", "screwdriver", "pliers", "cable"):
                    finish, color = "plastic", str(rng.choice(PLASTIC_COLORS))
                elif kind == "spanner":
                    finish, color = "steel", "steel"
                parts.append(
                    Part(
                        id=next(ids),
                        kind=kind,
                        x=x,
                        y=y,
                        turn=float(rng.uniform(0, 2 * np.pi)),
                        radius=float(radius),
                        color=color,
                        finish=finish,
                        seed=int(rng.integers(2**31)),
                        length=float(length),
                    )
                )
                break
    return parts
