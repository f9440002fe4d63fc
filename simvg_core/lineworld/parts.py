"""The parts of the line as shapes: what an instance of each kind looks like, by its characteristic radius."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simvg_core.lineworld.scene import Part
from simvg_core.lineworld.shapes import (
    Shape,
    block,
    cross,
    hexagon,
    join,
    lathe,
    placement,
    ring,
    rounded_rectangle,
    slab,
    teeth,
    tube,
)

Colored = list[tuple[Shape, str, str | None]]
"""Shapes with the finish and colour of each (colour None: the part's own)."""


def hex_bolt(p: Part) -> Colored:
    """Hexagon head with chamfer on a washer face; ``radius`` is the flange's."""
    r = p.radius
    head = lathe(
        [
            (0, 0.78 * r),
            (0.55 * r, 0.78 * r),
            (0.66 * r, 0.74 * r),
            (0.80 * r, 0.62 * r, hexagon),
            (0.80 * r, 0.12 * r, hexagon),
        ]
    )
    flange = lathe([(0, 0.13 * r), (0.9 * r, 0.13 * r), (r, 0.09 * r), (r, -0.02 * r)])
    shank = lathe([(0.5 * r, 0), (0.5 * r, -1.2 * r)], 20)
    return [(join([head, flange, shank]), p.finish, None)]


def socket_screw(p: Part) -> Colored:
    """Cylinder head with a hexagon socket."""
    r = p.radius
    outside = lathe([(0.52 * r, 0.9 * r, hexagon), (0.6 * r, 0.9 * r), (0.93 * r, 0.9 * r), (r, 0.82 * r), (r, 0.0)])
    inside = lathe([(0, 0.35 * r), (0.52 * r, 0.35 * r, hexagon), (0.52 * r, 0.9 * r, hexagon)])
    return [(outside, p.finish, None), (inside, "black_oxide", "black")]


def cross_screw(p: Part) -> Colored:
    """Pan head with a cross recess."""
    r = p.radius
    dome = [(r * np.sin(a), 0.15 * r + 0.4 * r * np.cos(a)) for a in np.linspace(0.65, np.pi / 2, 5)]
    top = lathe([(0.58 * r, dome[0][1], cross), dome[0], *dome[1:], (r, 0.0)], 48)
    recess = lathe([(0, 0.12 * r), (0.35 * r, 0.12 * r, cross), (0.58 * r, dome[0][1], cross)], 48)
    return [(top, p.finish, None), (recess, "black_oxide", "black")]


def nut(p: Part) -> Colored:
    """Hexagon nut; with a stud in it when the seed says so."""
    r = p.radius
    body = lathe(
        [
            (0.52 * r, 0.62 * r),
            (0.6 * r, 0.7 * r),
            (0.82 * r, 0.7 * r),
            (r, 0.6 * r, hexagon),
            (r, 0.08 * r, hexagon),
            (0.85 * r, 0.0),
        ]
    )
    bore = lathe([(0, 0.02), (0.52 * r, 0.02), (0.52 * r, 0.62 * r)], 24)
    shapes: Colored = [(body, p.finish, None), (bore, "black_oxide", "black")]
    if p.seed % 2:
        thread = [(0.0, 1.1 * r), (0.42 * r, 1.1 * r)]
        for k in range(8):
            thread += [(0.47 * r, 1.05 * r - 0.12 * k * r), (0.42 * r, 0.99 * r - 0.12 * k * r)]
        shapes.append((lathe(thread, 20), "steel", "steel"))
    return shapes


def washer(p: Part) -> Colored:
    """Flat washer lying down."""
    r = p.radius
    return [
        (lathe([(0.52 * r, 0.0), (0.52 * r, 0.14 * r), (0.96 * r, 0.14 * r), (r, 0.10 * r), (r, 0.0)]), p.finish, None)
    ]


def cap(p: Part) -> Colored:
    """Moulded cap, domed or flat with a grip ring."""
    r = p.radius
    if p.seed % 2:
        dome = [(r * np.sin(a), 0.25 * r + 0.45 * r * np.cos(a)) for a in np.linspace(0, np.pi / 2, 7)]
        return [(lathe([*dome, (r, 0.12 * r), (1.12 * r, 0.10 * r), (1.12 * r, 0)]), "plastic", None)]
    profile = [(0, 0.55 * r), (0.5 * r, 0.55 * r), (0.55 * r, 0.68 * r), (0.9 * r, 0.68 * r), (r, 0.58 * r), (r, 0)]
    return [
        (
            lathe([(a, b, teeth(24, 0.05)) if i >= 3 else (a, b) for i, (a, b) in enumerate(profile)], 72),
            "plastic",
            None,
        )
    ]


def connector(p: Part) -> Colored:
    """Open pin header: a housing with rows of pins."""
    w, d = 2 * p.radius, 1.05 * p.radius
    h = 0.75 * p.radius
    t = 0.16 * p.radius
    walls = [block(w, t, h, 0.15).moved(placement(0, y, 0)) for y in (-d / 2 + t / 2, d / 2 - t / 2)] + [
        block(t, d, h, 0.15).moved(placement(x, 0, 0)) for x in (-w / 2 + t / 2, w / 2 - t / 2)
    ]
    floor = block(w - t, d - t, 0.2 * h, 0.1)
    pins = int(3 + p.seed % 4)
    pin = [
        block(0.12 * p.radius, 0.12 * p.radius, 0.85 * h, 0.05, 0.05).moved(placement(x, y, 0))
        for x in np.linspace(-w / 2 + 2.4 * t, w / 2 - 2.4 * t, pins)
        for y in (-d / 6, d / 6)
    ]
    return [(join([*walls, floor]), "plastic", None), (join(pin), "steel", "brass")]


def gear(p: Part) -> Colored:
    """Spur gear with a web and a bore; the seed says how many teeth."""
    r = p.radius
    shape = teeth(int(12 + p.seed % 10))
    body = lathe(
        [
            (0.28 * r, 0.30 * r),
            (0.45 * r, 0.30 * r),
            (0.48 * r, 0.22 * r),
            (0.70 * r, 0.22 * r),
            (0.73 * r, 0.30 * r),
            (0.97 * r, 0.30 * r, shape),
            (r, 0.27 * r, shape),
            (r, 0, shape),
        ],
        132,
    )
    bore = lathe([(0, 0.02), (0.28 * r, 0.02), (0.28 * r, 0.30 * r)], 24)
    return [(body, p.finish, None), (bore, "black_oxide", "black")]


def cable(p: Part) -> Colored:
    """A cable on the surface along a curve drawn from the seed, with sleeves at its ends."""
    rng = np.random.default_rng(p.seed)
    t = np.linspace(0, 1, 40)
    bend = rng.uniform(-0.35, 0.35, 3)
    x = (t - 0.5) * p.length
    y = p.length * sum(b * np.sin((k + 1) * np.pi * t) / (k + 1) for k, b in enumerate(bend))
    path = np.stack([x, y - y.mean(), np.full_like(t, p.radius * 0.95)], 1)
    ends = [tube(path[s], 1.5 * p.radius, 12) for s in (np.s_[:5], np.s_[-5:])]
    return [(tube(path, p.radius), "rubber", None), (join(ends), "plastic", "black")]


def spanner(p: Part) -> Colored:
    """Combination spanner: an open end and a ring end."""
    length, r = p.length, p.radius
    jaw = 0.55 * r
    angle = np.linspace(0.6, 2 * np.pi - 0.6, 16)
    head = np.stack([length / 2 - r * np.cos(angle + np.pi), r * np.sin(angle)], 1)
    mouth = np.array([[length / 2 + 0.2 * r, -jaw], [length / 2 + 0.2 * r, jaw]])
    open_end = slab(
        np.concatenate([head, mouth]),
        [],
        0.5 * r,
        0.1 * r,
    )
    shaft = slab(rounded_rectangle(length - r, 0.8 * r, 0.3 * r), [], 0.36 * r, 0.1 * r)
    eye = slab(ring(0.95 * r, -length / 2, 0), [ring(0.55 * r, -length / 2, 0)], 0.5 * r, 0.1 * r)
    return [(join([open_end, shaft, eye]), p.finish, None)]


def screwdriver(p: Part) -> Colored:
    length, r = p.length, p.radius
    lying = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [-1.0, 0, 0, r], [0, 0, 0, 1.0]])
    grip = lathe(
        [
            (0, 0.42 * length),
            (0.6 * r, 0.42 * length),
            (r, 0.38 * length, teeth(8, 0.14)),
            (0.9 * r, 0.2 * length, teeth(8, 0.14)),
            (r, 0.1 * length, teeth(8, 0.14)),
            (0.55 * r, 0.02 * length),
            (0, 0.02 * length),
        ],
        48,
    )
    shaft = lathe(
        [(0.26 * r, 0.03 * length), (0.26 * r, -0.5 * length), (0.1 * r, -0.55 * length), (0, -0.55 * length)], 16
    )
    return [(grip.moved(lying), "plastic", None), (shaft.moved(lying), "steel", "steel")]


def pliers(p: Part) -> Colored:
    """Closed pliers with rubber handles."""
    length, r = p.length, p.radius
    t = np.linspace(0, 1, 16)
    shapes: Colored = []
    for side in (-1, 1):
        arm = np.stack([-t * 0.62 * length, side * r * (0.5 + 2.2 * np.sin(t * 1.9) * t), np.full_like(t, 0.5 * r)], 1)
        shapes.append((tube(arm, 0.55 * r, 10), "rubber", None))
        jaw = np.stack([t * 0.34 * length, side * r * 0.55 * (1 - 0.75 * t), np.full_like(t, 0.45 * r)], 1)
        shapes.append((tube(jaw, 0.45 * r, 10), "zinc", "steel"))
    shapes.append((lathe([(0, 1.0 * r), (0.8 * r, 1.0 * r), (0.9 * r, 0.9 * r), (0.9 * r, 0)], 24), "zinc", "steel"))
    return shapes


BUILDERS: dict[str, Callable[[Part], Colored]] = {
    "hex_bolt": hex_bolt,
    "socket_screw": socket_screw,
    "cross_screw": cross_screw,
    "nut": nut,
    "washer": washer,
    "cap": cap,
    "connector": connector,
    "gear": gear,
    "cable": cable,
    "spanner": spanner,
    "screwdriver": screwdriver,
    "pliers": pliers,
}
"""Builder of each kind that stands on a surface; holes and labels are made with their plate."""

HOLES = {
    # kind: (bore radius, seat radius, seat depth) as shares of the part's radius
    "missing_bolt": (0.56, 1.0, 0.10),
    "missing_screw": (0.62, 1.0, 0.42),
    "threaded_hole": (0.85, 1.0, 0.18),
    "drilled_hole": (1.0, 1.0, 0.0),
}


def hole(p: Part, depth: float) -> Colored:
    """What is seen of an open hole: the machined seat (or countersink) and the dark bore below."""
    bore, seat, deep = HOLES[p.kind]
    r, b, d = seat * p.radius, bore * p.radius, deep * p.radius
    shapes: Colored = []
    if p.kind == "missing_bolt":  # flat contact ring of the bolt's flange in a shallow counterbore
        shapes.append((lathe([(b, -d), (0.96 * r, -d), (r, 0.0)]), "machined", "steel"))
    elif d:  # countersink or chamfer
        shapes.append((lathe([(b, -d), (r, 0.0)]), "machined", "steel"))
    bottom = -max(depth - 0.3, d + 0.5)
    if p.kind in ("threaded_hole", "missing_bolt"):
        turns = 6
        wall: list[tuple[float, float]] = [(0, bottom), (0.9 * b, bottom)]
        for k in range(turns):
            z = bottom + (-d - bottom) * (k + 1) / turns
            wall += [(b, z - 0.4 * (-d - bottom) / turns), (0.88 * b if k < turns - 1 else b, z)]
        shapes.append((lathe(wall, 28), "black_oxide", "grey"))
    else:
        shapes.append((lathe([(0, bottom), (b, bottom), (b, -d)], 28), "black_oxide", "black"))
    return shapes
