"""How much one line may look unlike another: tones, finishes, worn and patterned surfaces, light, optics and sensor.

Everything here changes how things look and nothing of what they are: the truth of a scene stays as it is. What splits
ending in ``_hard`` are made of stays out: their finishes, strip lights from low, cameras over 50° off the vertical.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from simvg_core.lineworld.scene import Camera, Lamp, Look, Scene, SensorNoise
from simvg_core.lineworld.surfaces import COLORS, F32, FINISHES, clouds, streaks

Random = np.random.Generator

LOWEST_LAMP, STEEPEST = 0.65, np.radians(50)
BELT_KINDS = ("rubber", "modular", "smooth", "steel")
GREYS = ("white", "black", "grey", "steel")
"""What has no hue; a little cast of its own does not give it one."""
VALUES = {"white": (0.8, 1.18), "grey": (0.65, 1.5), "black": (0.8, 2.8)}
"""How much darker or brighter than usual: white stays lighter than grey, and grey than black."""


def vary(scene: Scene, rng: Random) -> Scene:
    """The same scene on another maker's line: same parts, same places, same truth."""
    return replace(
        scene,
        camera=_camera(scene.camera, rng),
        lamps=tuple(_lamp(rng) for _ in range(int(rng.integers(1, 8)))),
        ambient=float(np.exp(rng.uniform(np.log(0.06), np.log(0.8)))),
        belt=replace(scene.belt, kind=str(rng.choice(BELT_KINDS)), color=_belt_color(rng)),
        sensor=SensorNoise(
            exposure=float(rng.normal(-0.35, 0.45)),
            noise=float(rng.uniform(0.3, 6.5)),
            blur=float(rng.uniform(0.2, 1.0)),
            vignette=float(rng.uniform(0, 0.6)),
        ),
        look=Look(tones=_tones(rng), finishes=_finishes(rng), wear=float(rng.uniform(0.0, 1.0))),
    )


def weather(rng: Random, wear: float, base: F32, rough: F32, bump: F32) -> None:
    """Stains of age, tool marks and grain on a surface's maps (H, W, …), in place; ``wear`` from 0 to 1."""
    height, width = rough.shape
    kinds = rng.permutation(("cloudy", "grainy", "streaked", "milled", "plain"))[: int(rng.integers(1, 4))]
    for kind in kinds:
        strength = np.float32(wear * rng.uniform(0.3, 1.0))
        if kind == "cloudy":
            pattern = clouds(rng, height, width, float(rng.uniform(20, 200)), 4)
            shade, relief = 0.16, 0.0
        elif kind == "grainy":
            pattern = clouds(rng, height, width, float(rng.uniform(1.5, 5)), 2)
            shade, relief = 0.12, 0.03
        elif kind == "streaked":
            pattern = streaks(rng, height, width, int(rng.integers(30, 200)))
            if rng.random() < 0.5:
                pattern = np.ascontiguousarray(cv2.resize(pattern.T, (width, height)))
            shade, relief = 0.12, 0.015
        elif kind == "milled":
            rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
            middle = rng.uniform(-1.5, 2.5, 2) * (height, width)
            pitch = float(rng.uniform(3, 9))
            pattern = np.sin(np.hypot(rows - middle[0], columns - middle[1]) * np.float32(2 * np.pi / pitch))
            shade, relief = 0.07, 0.03
        else:
            continue
        base *= np.clip(1 + shade * strength * pattern, 0.2, 2.0)[..., None]
        rough += 0.08 * strength * pattern
        bump += relief * strength * pattern
    np.clip(base, 0.003, 0.95, out=base)
    np.clip(rough, 0.08, 1.0, out=rough)


def _tones(rng: Random) -> Mapping[str, tuple[float, float, float]]:
    tones = {}
    for name, usual in COLORS.items():
        cast = np.clip(rng.normal(0, 0.02 if name in GREYS else 0.1, 3), -0.18, 0.18)
        value = rng.uniform(*VALUES.get(name, (0.7, 1.25)))
        red, green, blue = (float(c) for c in np.clip(np.array(usual) * np.exp(cast) * value, 0.008, 0.92))
        tones[name] = red, green, blue
    return tones


def _finishes(rng: Random) -> Mapping[str, tuple[float, float]]:
    return {
        name: (float(np.clip(rough * rng.uniform(0.6, 1.5), 0.12, 0.95)), float(metallic * rng.uniform(0.75, 1.0)))
        for name, (rough, metallic) in FINISHES.items()
    }


def _belt_color(rng: Random) -> tuple[float, float, float]:
    hue, saturation = float(rng.random()), float(rng.choice([0.0, rng.uniform(0, 0.3), rng.uniform(0.3, 0.8)]))
    return colorsys.hsv_to_rgb(hue, saturation, float(np.exp(rng.uniform(np.log(0.02), np.log(0.6)))))


def _lamp(rng: Random) -> Lamp:
    width, height = np.exp(rng.uniform(np.log(0.06), np.log(0.9), 2))
    brightness = float(np.exp(rng.uniform(np.log(0.4), np.log(2.5))))
    return Lamp(
        azimuth=float(rng.uniform(0, 2 * np.pi)),
        elevation=float(rng.uniform(LOWEST_LAMP, 1.5)),
        width=float(width),
        height=float(min(height, 0.4)),
        radiance=float(np.clip(brightness * 1.2 / (width * height) ** 0.6, 1.5, 45)),
        warmth=float(rng.normal(0, 0.5)),
    )


def _camera(camera: Camera, rng: Random) -> Camera:
    """Other lenses, from long to wide, that show about as much of the line."""
    fov = float(rng.uniform(14, 62))
    span = camera.distance * np.tan(np.radians(camera.fov) / 2)
    return replace(
        camera,
        fov=fov,
        distance=float(span * rng.uniform(0.85, 1.15) / np.tan(np.radians(fov) / 2)),
        tilt=float(rng.uniform(0, STEEPEST)),
        around=float(rng.uniform(-np.pi, np.pi)),
        roll=float(rng.normal(0, 0.10)),
    )
