"""Pictures of the travelling line for training: what a plant photographs when it commissions a camera.

The products are those of the clips; materials, belts and lamps are those of the training sets, so that the clips stay
on ground that no training picture has shown.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from simvg_core.lineworld.draw import TRAIN_BELTS, draw_lamps
from simvg_core.lineworld.layout import FASTENER_FINISHES, PLASTIC_COLORS, TRAIN_PLATES, Random
from simvg_core.lineworld.scene import Belt, Camera, Plate, Scene, SensorNoise
from simvg_core.lineworld.travel import FAULTS, SPACING, product

FAULT_SHARES = {
    "good": 0.16,
    "missing": 0.38,
    "red_cap": 0.10,
    "crooked": 0.16,
    "stain": 0.10,
    "loose": 0.06,
    "scratch": 0.04,
}


def draw_commissioning_scene(seed: int, index: int) -> Scene:
    """Scene number ``index``: one or two plates on the belt, seen from about where the camera of the clips stands."""
    rng = np.random.default_rng([seed, 77, index])
    ids = itertools.count(1)
    first = float(rng.uniform(-150, 150))
    places = [first]
    if rng.random() < 0.7:
        places.append(first - float(np.sign(first) or 1) * SPACING * float(rng.uniform(0.85, 1.1)))
    plates = [replace(_plate(rng, ids), x=x) for x in places]
    lamps, ambient = draw_lamps(rng, False)
    kind, color = TRAIN_BELTS[int(rng.integers(len(TRAIN_BELTS)))]
    fov = float(rng.uniform(29, 37))
    camera = Camera(
        look=(float(rng.normal(0, 8)), float(rng.normal(0, 8))),
        distance=430.0 * float(rng.uniform(0.8, 1.2)),
        tilt=float(rng.uniform(0.2, 0.62)),
        around=-np.pi / 2 + float(rng.normal(0, 0.15)),
        roll=float(rng.normal(0.01, 0.04)),
        fov=fov,
        width=384,
        height=288,
    )
    return Scene(
        seed=int(rng.integers(2**31)),
        split="train",
        plates=tuple(plates),
        loose=(),
        camera=camera,
        lamps=lamps,
        ambient=ambient,
        belt=Belt(kind=kind, color=color, seed=int(rng.integers(2**31)), rails=float(rng.uniform(85, 160))),
        sensor=SensorNoise(
            exposure=float(rng.normal(-0.2, 0.35)),
            noise=float(rng.uniform(0.8, 3.5)),
            blur=float(rng.uniform(0.2, 0.6)),
            vignette=float(rng.uniform(0, 0.3)),
        ),
        held_out={"material": False, "light": False, "color": False, "camera": False},
    )


def _plate(rng: Random, ids: itertools.count[int]) -> Plate:
    """A product with a drawn fault, in a drawn finish, with drawn colours of its bolts and caps."""
    fault = str(rng.choice(FAULTS, p=[FAULT_SHARES[name] for name in FAULTS]))
    finish = TRAIN_PLATES[int(rng.integers(len(TRAIN_PLATES)))]
    plate = product(rng, ids, int(rng.integers(2)), fault, finish)
    bolt_finish, bolt_color = FASTENER_FINISHES[int(rng.integers(len(FASTENER_FINISHES)))]
    cap_color = str(rng.choice([c for c in PLASTIC_COLORS if c != "red"])) if rng.random() < 0.6 else None
    parts = []
    for part in plate.parts:
        if part.kind == "hex_bolt" and rng.random() < 0.98:
            part = replace(part, finish=bolt_finish, color=bolt_color)
        elif part.kind == "cap" and part.state == "ok" and cap_color:
            part = replace(part, color=cap_color)
        parts.append(part)
    return replace(plate, parts=tuple(parts), turn=plate.turn + (np.pi if rng.random() < 0.3 else 0.0))
