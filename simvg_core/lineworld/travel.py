"""The line in motion: products that travel past a fixed camera, each with at most one thing wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simvg_core.lineworld.draw import draw_lamps
from simvg_core.lineworld.layout import HELD_OUT_PLATES, Random
from simvg_core.lineworld.scene import Belt, Camera, Mark, Part, Plate, Scene, SensorNoise

SPEED = 45.0
"""Millimetres per second."""

SPACING = 190.0
ENTRY = -230.0
"""Middle of the first plate at time 0, outside of the view."""

FAULTS = ("good", "missing", "red_cap", "crooked", "stain", "loose", "scratch")

DEMO_FAULTS = (
    "good",
    "missing",
    "red_cap",
    "good",
    "missing",
    "crooked",
    "stain",
    "missing",
    "good",
    "red_cap",
    "missing",
    "crooked",
    "stain",
    "missing",
)
"""What is wrong with each plate of the demo clip, which is a minute long; in a longer one they come again."""

PASS_FAULTS = ("missing", "good", "missing", "crooked")
"""What is wrong with the plate of each pass of the endless line."""

PASS_SECONDS = 8.0
PASS_SPEED = 56.25
"""Moves the belt by four links of its pattern in a pass, so that passes join without a jump."""

DEMO_BELT = ("modular", (0.09, 0.10, 0.11))
LEVEL = 0.447
"""Radiance shown as a middle tone: a fixed camera keeps its exposure while plates come and go."""

RAILS = 88.0
"""Half width between the side rails (mm): the camera sees both."""


@dataclass(frozen=True, slots=True)
class Run:
    """Plates in the order in which they come, with what stays the same over all frames."""

    plates: tuple[Plate, ...]
    entries: tuple[float, ...]
    speed: float
    camera: Camera
    scene: Scene

    def at(self, seconds: float, frame: int) -> Scene:
        """The scene at a time; plates out of sight are left out."""
        reach = 260.0
        moved = [replace(p, x=start + self.speed * seconds) for p, start in zip(self.plates, self.entries, strict=True)]
        return replace(
            self.scene,
            seed=self.scene.seed + frame,
            plates=tuple(p for p in moved if abs(p.x) < reach),
            belt=replace(self.scene.belt, shift=self.speed * seconds),
        )


def demo_faults(seconds: float) -> tuple[str, ...]:
    """What is wrong with each plate of a demo clip: as many plates as pass the camera in this time."""
    further = math.ceil(max(0.0, seconds - 60.0) * SPEED / SPACING)
    return tuple(itertools.islice(itertools.cycle(DEMO_FAULTS), len(DEMO_FAULTS) + further))


def product(rng: Random, ids: Iterator[int], family: int, fault: str, finish: tuple[str, str]) -> Plate:
    """One plate of a product family (0 or 1) with the given fault. Raises ValueError for an unknown fault."""
    if fault not in FAULTS:
        raise ValueError(f"fault {fault!r} is none of {', '.join(FAULTS)}")
    plate_id = next(ids)
    width, depth, radius = ((138.0, 102.0, 7.5), (120.0, 104.0, 8.0))[family]
    x, y = width / 2 - 13, depth / 2 - 13
    spots = [(-x, -y), (x, -y), (x, y), (-x, y)] + ([(0.0, -y), (0.0, y)] if family == 0 else [])
    bolts = [
        Part(
            id=next(ids),
            kind="hex_bolt",
            x=a,
            y=b,
            turn=float(rng.uniform(0, 6.28)),
            radius=radius,
            color="steel",
            finish="steel",
            size="medium",
            seed=k,
        )
        for k, (a, b) in enumerate(spots)
    ]
    k = int(rng.integers(len(bolts)))
    if fault == "missing":
        bolts[k] = replace(bolts[k], kind="missing_bolt", color=None, size=None)
    elif fault == "loose":
        bolts[k] = replace(bolts[k], state="tilted", tilt=0.45, tilt_to=float(rng.uniform(0, 6.28)))
    rest = _mounted_a(ids) if family == 0 else _mounted_b(ids)
    if fault == "crooked":
        rest = [
            replace(p, turn=p.turn + float(rng.choice([-0.38, 0.38])), state="crooked") if p.kind == "label" else p
            for p in rest
        ]
    if fault == "red_cap":
        rest = [replace(p, color="red", state="wrong_color") if p.kind == "cap" else p for p in rest]
    marks: tuple[Mark, ...] = ()
    spot = ((6.0, -22.0), (26.0, -20.0))[family]
    if fault == "stain":
        marks = (Mark(id=next(ids), kind="stain", points=(spot,), width=24.0, seed=int(rng.integers(2**31))),)
    elif fault == "scratch":
        line = tuple((spot[0] - 14 + 28 * t, spot[1] + 5 * t * (1 - t) * 4) for t in np.linspace(0, 1, 7))
        marks = (Mark(id=next(ids), kind="scratch", points=line, width=1.6, seed=int(rng.integers(2**31))),)
    return Plate(
        id=plate_id,
        x=0.0,
        y=float(rng.normal(0, 3)),
        turn=float(rng.normal(0, 0.03)),
        width=width,
        depth=depth,
        thickness=8.0,
        corner=(9.0, 4.0)[family],
        finish=finish[0],
        color=finish[1],
        seed=int(rng.integers(2**31)),
        parts=(*bolts, *rest),
        marks=marks,
    )


def _mounted_a(ids: Iterator[int]) -> list[Part]:
    return [
        Part(id=next(ids), kind="label", x=-24, y=8, radius=20, color="white", finish="paper", seed=41),
        Part(id=next(ids), kind="connector", x=34, y=14, radius=10, color="black", finish="plastic", seed=2),
        Part(id=next(ids), kind="cap", x=40, y=-16, radius=8.5, color="blue", finish="plastic", seed=1),
        Part(id=next(ids), kind="drilled_hole", x=8, y=22, radius=3.6),
        Part(id=next(ids), kind="drilled_hole", x=-36, y=-22, radius=3.6),
    ]


def _mounted_b(ids: Iterator[int]) -> list[Part]:
    return [
        Part(id=next(ids), kind="gear", x=-20, y=4, radius=16, color="steel", finish="machined", size="medium", seed=7),
        Part(id=next(ids), kind="label", x=20, y=28, radius=17, color="yellow", finish="paper", seed=58),
        Part(id=next(ids), kind="cap", x=24, y=2, radius=8.5, color="white", finish="plastic", seed=2),
        Part(id=next(ids), kind="threaded_hole", x=-24, y=-30, radius=3.8),
    ]


def travelling_line(
    seed: int, faults: Sequence[str], *, width: int, height: int, speed: float = SPEED, variant: int = 0
) -> Run:
    """Plates of two product families in turn, on materials and under lamps kept out of training.

    ``variant`` picks the materials and the order of the families.
    """
    rng = np.random.default_rng([seed, 99, variant])
    ids = itertools.count(1)
    plates = tuple(
        product(
            rng,
            ids,
            (k + variant) % 2,
            fault,
            HELD_OUT_PLATES[((k + variant) % 2 + 2 * (variant // 2)) % len(HELD_OUT_PLATES)],
        )
        for k, fault in enumerate(faults)
    )
    lamps, ambient = draw_lamps(np.random.default_rng([seed, 98]), True)
    camera = Camera(
        look=(0.0, 0.0), distance=430.0, tilt=0.42, around=-np.pi / 2, roll=0.01, fov=33.0, width=width, height=height
    )
    kind, color = DEMO_BELT
    scene = Scene(
        seed=seed * 100_000 + variant * 10_000,
        split="test_hard",
        plates=(),
        loose=(),
        camera=camera,
        lamps=lamps,
        ambient=0.5 * ambient,
        belt=Belt(kind=kind, color=color, seed=seed, rails=RAILS),
        sensor=SensorNoise(level=LEVEL, exposure=-0.5, noise=1.6, blur=0.45, vignette=0.15),
        held_out={"material": True, "light": True, "color": False, "camera": False},
    )
    return Run(plates, tuple(ENTRY - k * SPACING for k in range(len(plates))), speed, camera, scene)
