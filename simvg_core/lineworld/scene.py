"""The scene description: everything that is on the line, where it is, and how it is seen. Lengths in mm, angles in rad.

World frame: x along the belt (plates travel towards +x), y across it, z up; the belt's surface is z = 0. A part on a
plate is placed in the plate's own frame (origin in its middle, z = 0 on its top face).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Color = str
"""One of red, orange, yellow, green, blue, white, black, grey, steel, brass, copper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing: ``radius`` is its characteristic half width, ``length`` that of a tool or cable (0 for others).

    ``state``: ok, tilted (by ``tilt`` towards the direction ``tilt_to``), crooked or wrong_color. ``id`` stays the same
    for the same thing over all frames of a clip. ``seed`` draws what has no name (label texts, a cable's bends).
    """

    id: int
    kind: str
    x: float
    y: float
    turn: float = 0.0
    radius: float = 5.0
    color: Color | None = None
    finish: str = "steel"
    size: str | None = None
    state: str = "ok"
    tilt: float = 0.0
    tilt_to: float = 0.0
    seed: int = 0
    length: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A scratch, dent or stain on a plate's top: ``points`` are its axis in the plate's frame, ``width`` in mm."""

    id: int
    kind: str
    points: tuple[tuple[float, float], ...]
    width: float
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """An assembly plate lying on the belt; ``relief`` lists raised blocks of it as (x, y, width, depth)."""

    id: int
    x: float
    y: float
    turn: float
    width: float
    depth: float
    thickness: float
    corner: float
    finish: str
    color: Color
    seed: int
    parts: tuple[Part, ...] = ()
    marks: tuple[Mark, ...] = ()
    relief: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Where the camera stands: distance to ``look``, tilt from straight down, direction around, field of view (°)."""

    look: tuple[float, float]
    distance: float
    tilt: float
    around: float
    roll: float
    fov: float
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """A soft box on the sky: direction (azimuth, elevation), its half sizes (rad), radiance and warmth (−1 … 1)."""

    azimuth: float
    elevation: float
    width: float
    height: float
    radiance: float
    warmth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Belt:
    """What the plates lie on; ``shift`` moves its pattern along x, ``rails`` is the half width between side rails."""

    kind: str
    color: tuple[float, float, float]
    seed: int
    shift: float = 0.0
    rails: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorNoise:
    """What the camera's electronics do: exposure (stops), noise (grey levels), blur (px), vignette.

    ``level`` is the radiance that is shown as a middle tone; None measures it in each picture (automatic exposure).
    """

    exposure: float = 0.0
    noise: float = 2.0
    blur: float = 0.4
    vignette: float = 0.1
    level: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How one maker's line looks: linear ``tones`` of the colours' names, (roughness, metallic) of the finishes, and
    how worn (0 … 1) plates and belt are."""

    tones: Mapping[str, tuple[float, float, float]]
    finishes: Mapping[str, tuple[float, float]]
    wear: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One picture's worth of line."""

    seed: int
    split: str
    plates: tuple[Plate, ...]
    loose: tuple[Part, ...]
    camera: Camera
    lamps: tuple[Lamp, ...]
    ambient: float
    belt: Belt
    sensor: SensorNoise = SensorNoise()
    held_out: dict[str, bool] = field(default_factory=dict)
    look: Look | None = None
