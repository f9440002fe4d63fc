"""Triangle meshes of machine parts. Lengths in millimetres, z up.

Every shape is an array of quads or triangles with its own vertices, so that edges stay sharp where faces meet and
normals are exact: smooth around a turned part, flat along its profile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Section = Callable[[Array], Array]
"""Radius factor of a turned part by angle: 1 for a circle."""


@dataclass(frozen=True, slots=True)
class Shape:
    """``points`` (n, 3), unit ``normals`` (n, 3), ``faces`` (m, 3) and texture coordinates ``uv`` (n, 2) in 0..1."""

    points: Array
    normals: Array
    faces: NDArray[np.int64]
    uv: Array

    def moved(self, matrix: Array) -> Shape:
        """The shape under a 4×4 rigid motion with uniform scale."""
        rotation = matrix[:3, :3]
        normals = self.normals @ rotation.T
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return Shape(self.points @ rotation.T + matrix[:3, 3], normals, self.faces, self.uv)


def join(shapes: Sequence[Shape]) -> Shape:
    """One shape of several."""
    starts = np.cumsum([0, *(len(s.points) for s in shapes)])
    return Shape(
        np.concatenate([s.points for s in shapes]),
        np.concatenate([s.normals for s in shapes]),
        np.concatenate([s.faces + start for s, start in zip(shapes, starts, strict=False)]),
        np.concatenate([s.uv for s in shapes]),
    )


def placement(
    x: float,
    y: float,
    z: float = 0.0,
    *,
    turn: float = 0.0,
    tilt: float = 0.0,
    tilt_to: float = 0.0,
    scale: float = 1.0,
) -> Array:
    """4×4 matrix: scale, turn about z, tilt by ``tilt`` towards the direction ``tilt_to``, then move. Radians."""
    c, s = np.cos(turn), np.sin(turn)
    spin = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    axis = np.array([-np.sin(tilt_to), np.cos(tilt_to), 0.0])
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    lean = np.eye(3) + np.sin(tilt) * k + (1 - np.cos(tilt)) * (k @ k)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * (lean @ spin)
    matrix[:3, 3] = (x, y, z)
    return matrix


def circle(angle: Array) -> Array:
    """Section of a round part."""
    return np.ones_like(angle)


def hexagon(angle: Array) -> Array:
    """Section of a hexagon with inner radius cos 30°, corner radius 1."""
    return np.asarray(np.cos(np.pi / 6) / np.cos((angle % (np.pi / 3)) - np.pi / 6), np.float64)


def cross(angle: Array) -> Array:
    """Section of a cross recess with arms of a third of its reach."""
    half = 0.3
    c, s = np.maximum(np.abs(np.cos(angle)), 1e-6), np.maximum(np.abs(np.sin(angle)), 1e-6)
    return np.maximum(np.minimum(1 / c, half / s), np.minimum(1 / s, half / c))


def teeth(count: int, depth: float = 0.16) -> Section:
    """Section of a gear of ``count`` teeth."""

    def section(angle: Array) -> Array:
        return 1 - depth * (0.5 - 0.5 * np.clip(2.2 * np.cos(angle * count), -1, 1))

    return section


def lathe(profile: Sequence[tuple[float, float] | tuple[float, float, Section]], sides: int = 36) -> Shape:
    """A turned part: ``profile`` lists (radius, z[, section]) from the middle of the top down its outside.

    Each step of the profile is a ring of faces of its own. Rings between round sections are smooth around.
    """
    angle = np.arange(sides, dtype=np.float64) * (2 * np.pi / sides)
    after: Array = np.append(angle[1:], 2 * np.pi)
    rings: list[Shape] = []
    for lower, upper in zip(profile[1:], profile[:-1], strict=True):
        sections = [point[2] if len(point) == 3 else circle for point in (upper, lower)]
        corners = []
        for section, (radius, z), at in (
            (sections[0], upper[:2], angle),
            (sections[0], upper[:2], after),
            (sections[1], lower[:2], after),
            (sections[1], lower[:2], angle),
        ):
            r = radius * section(at)
            corners.append(np.stack([r * np.cos(at), r * np.sin(at), np.full(sides, z)], 1))
        quad = np.stack(corners, 1)  # (sides, 4, 3), seen from outside: top left, top right, bottom right, bottom left
        flat = np.cross(quad[:, 2] - quad[:, 0], quad[:, 1] - quad[:, 3])
        flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
        normals = np.repeat(flat[:, None], 4, 1)
        if all(section is circle for section in sections):
            across = np.hypot(flat[0, 0], flat[0, 1]) * np.sign(
                flat[0, 0] * np.cos((angle + after) / 2)[0] + flat[0, 1] * np.sin((angle + after) / 2)[0]
            )
            for corner, at in enumerate((angle, after, after, angle)):
                normals[:, corner, 0] = across * np.cos(at)
                normals[:, corner, 1] = across * np.sin(at)
        rings.append(_quads(quad, normals))
    return join(rings)


def _quads(quad: Array, normals: Array) -> Shape:
    count = len(quad)
    base = np.arange(count)[:, None] * 4
    faces = np.concatenate([base + np.array([0, 3, 2]), base + np.array([0, 2, 1])])
    uv = np.tile(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), (count, 1))
    return Shape(quad.reshape(-1, 3), normals.reshape(-1, 3), faces.astype(np.int64), uv)


def rounded_rectangle(width: float, height: float, corner: float, steps: int = 6) -> Array:
    """Outline (n, 2), counter-clockwise, centred on the origin."""
    corner = min(corner, width / 2 - 0.01, height / 2 - 0.01)
    turn = np.linspace(0, np.pi / 2, steps)
    points = []
    for k, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        centre = np.array([sx * (width / 2 - corner), sy * (height / 2 - corner)])
        angle = turn + k * np.pi / 2
        points.append(centre + corner * np.stack([np.cos(angle), np.sin(angle)], 1))
    return np.concatenate(points)


def ring(radius: float, x: float, y: float, sides: int = 36) -> Array:
    """Circle outline (n, 2), counter-clockwise."""
    angle = np.arange(sides) * (2 * np.pi / sides)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1)


def slab(outline: Array, holes: Sequence[Array], height: float, bevel: float) -> Shape:
    """A plate from z = 0 to ``height`` with a bevelled outer edge; uv spans the outline's bounds.

    It is open below and in its ``holes`` (outlines as of ``ring``): what is seen in a hole is a shape of its own.
    """
    import mapbox_earcut  # what asks about pictures, as training does, renders none

    centre = outline.mean(0)
    shrink = 1 - bevel / np.maximum(np.linalg.norm(outline - centre, axis=1, keepdims=True), 1e-9)
    inner = centre + (outline - centre) * shrink
    rings = [inner, *holes]
    flat = np.concatenate(rings)
    ends = np.cumsum([len(r) for r in rings]).astype(np.uint32)
    triangles = mapbox_earcut.triangulate_float64(np.ascontiguousarray(flat), ends).reshape(-1, 3).astype(np.int64)
    a, b, c = (flat[triangles[:, k]] for k in range(3))
    turned = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]) < 0
    triangles[turned] = triangles[turned][:, ::-1]
    low, high = outline.min(0), outline.max(0)
    top = Shape(
        np.column_stack([flat, np.full(len(flat), height)]),
        np.tile(np.array([[0.0, 0, 1]]), (len(flat), 1)),
        triangles,
        (flat - low) / (high - low),
    )
    sides = [top]
    for upper, lower, z_up, z_low in (
        (inner, outline, height, height - bevel),
        (outline, outline, height - bevel, 0.0),
    ):
        quad = np.stack(
            [
                np.column_stack([upper, np.full(len(upper), z_up)]),
                np.column_stack([np.roll(upper, -1, 0), np.full(len(upper), z_up)]),
                np.column_stack([np.roll(lower, -1, 0), np.full(len(lower), z_low)]),
                np.column_stack([lower, np.full(len(lower), z_low)]),
            ],
            1,
        )
        normal = np.cross(quad[:, 1] - quad[:, 3], quad[:, 2] - quad[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        outward = quad.mean(1)[:, :2] - centre
        normal *= np.sign((normal[:, :2] * outward).sum(1, keepdims=True) + 1e-12)
        side = _quads(quad, np.repeat(normal[:, None], 4, 1))
        sides.append(Shape(side.points, side.normals, side.faces, (side.points[:, :2] - low) / (high - low)))
    return join(sides)


def block(width: float, depth: float, height: float, bevel: float = 0.4, corner: float = 0.6) -> Shape:
    """A bevelled box standing on z = 0, centred in x and y."""
    return slab(rounded_rectangle(width, depth, corner, 3), [], height, bevel)


def sheet(width: float, height: float, z: float = 0.0) -> Shape:
    """A flat rectangle facing up; uv spans it, v down the picture."""
    x, y = width / 2, height / 2
    points = np.array([[-x, y, z], [x, y, z], [x, -y, z], [-x, -y, z]])
    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    return Shape(points, np.tile(np.array([[0.0, 0, 1]]), (4, 1)), np.array([[0, 2, 1], [0, 3, 2]]), uv)


def tube(path: Array, radius: float, sides: int = 12) -> Shape:
    """A tube along ``path`` (n, 3), smooth all over."""
    ahead = np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    across = np.cross(ahead, [0.0, 0, 1])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    up = np.cross(across, ahead)
    angle = np.arange(sides) * (2 * np.pi / sides)
    normals = across[:, None] * np.cos(angle)[None, :, None] + up[:, None] * np.sin(angle)[None, :, None]
    points = path[:, None] + radius * normals
    n = len(path)
    i, j = np.meshgrid(np.arange(n - 1), np.arange(sides), indexing="ij")
    a, b = i * sides + j, i * sides + (j + 1) % sides
    faces = np.concatenate(
        [np.stack([a, b + sides, b], -1).reshape(-1, 3), np.stack([a, a + sides, b + sides], -1).reshape(-1, 3)]
    )
    return Shape(points.reshape(-1, 3), normals.reshape(-1, 3), faces, np.zeros((n * sides, 2)))
