"""One renderer for all tests of the folder: compiling its kernels takes longer than a picture."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from simvg_core.lineworld.scene import Belt, Camera, Lamp, Part, Plate, Scene, SensorNoise
from simvg_core.lineworld.tracer import Tracer


@pytest.fixture(scope="session")
def tracer() -> Tracer:
    """A renderer of the lowest quality."""
    with warnings.catch_warnings():
        # SWIG's types inside the libraries, on Python 3.11's import system
        warnings.simplefilter("ignore", DeprecationWarning)
        return Tracer(samples=1)


@pytest.fixture
def table() -> Callable[..., Scene]:
    """Builds a small scene: one white plate of 120 × 90 mm seen straight from above, with the given parts on it."""

    def build(*parts: Part, **camera: float) -> Scene:
        plate = Plate(
            id=100, x=0, y=0, turn=0, width=120, depth=90, thickness=8, corner=4, finish="painted", color="white",
            seed=1, parts=parts,
        )  # fmt: skip
        seen = Camera(look=(0, 0), distance=300, tilt=0.0, around=-np.pi / 2, roll=0, fov=26, width=96, height=72)
        lamp = Lamp(azimuth=1, elevation=1.0, width=0.6, height=0.4, radiance=6, warmth=0)
        return Scene(
            seed=7, split="test", plates=(plate,), loose=(), camera=replace(seen, **camera), lamps=(lamp,), ambient=0.4,
            belt=Belt(kind="smooth", color=(0.05, 0.05, 0.05), seed=2),
            sensor=SensorNoise(exposure=-0.3, noise=0, blur=0, vignette=0),
        )  # fmt: skip

    return build
