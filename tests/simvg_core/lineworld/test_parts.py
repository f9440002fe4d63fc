"""Shapes of parts: within their size, closed to the light, and apart from one another."""

from __future__ import annotations

import numpy as np
import pytest

from simvg_core.lineworld.parts import BUILDERS, HOLES, hole
from simvg_core.lineworld.scene import Part
from simvg_core.lineworld.shapes import Shape, join, lathe, placement, ring, rounded_rectangle, slab

ROUND = [k for k in BUILDERS if k not in ("connector", "cable", "spanner", "screwdriver", "pliers")]


def shape_of(kind: str, **more: float) -> Shape:
    return join([s for s, _, _ in BUILDERS[kind](Part(id=1, kind=kind, x=0, y=0, radius=8, **more))])  # type: ignore[arg-type]


def facing(shape: Shape) -> np.ndarray:
    """Cosine between each face's winding and its normals."""
    corners = shape.points[shape.faces]
    wound = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(wound, axis=1)
    real = size > 1e-6
    return np.asarray((wound[real] / size[real, None] * shape.normals[shape.faces][real].mean(1)).sum(1))


@pytest.mark.parametrize("kind", ROUND)
def test_a_part_is_as_wide_as_its_radius_says(kind: str) -> None:
    """The characteristic radius is what layout keeps free and what is seen."""
    reach = np.hypot(*shape_of(kind).points[:, :2].T).max()
    assert 8 * 0.95 <= reach <= 8 * 1.15


@pytest.mark.parametrize("kind", BUILDERS)
def test_normals_have_length_one(kind: str) -> None:
    """The renderer takes normals as they are."""
    lengths = np.linalg.norm(shape_of(kind, length=90.0).normals, axis=1)
    assert np.allclose(lengths[lengths > 0.5], 1.0)


@pytest.mark.parametrize("kind", HOLES)
def test_a_hole_lies_below_the_surface(kind: str) -> None:
    """Nothing of an open hole stands out of the plate, and it is not deeper than the plate."""
    points = join([s for s, _, _ in hole(Part(id=1, kind=kind, x=0, y=0, radius=6), 8.0)]).points
    assert points[:, 2].max() <= 0
    assert points[:, 2].min() >= -8


def test_seats_of_a_missing_bolt_and_a_missing_screw_differ() -> None:
    """A bolt's seat is a shallow contact ring, a screw's a deep countersink: a person can tell which is missing."""
    assert HOLES["missing_bolt"][2] < 0.5 * HOLES["missing_screw"][2]


def test_faces_of_a_turned_part_look_outwards() -> None:
    """Winding and normals agree, and normals point away from the axis."""
    can = lathe([(0, 5), (4, 5), (4, 0)])
    assert (facing(can) > 0.9).all()
    side = np.abs(can.normals[:, 2]) < 0.5
    assert ((can.normals[side, :2] * can.points[side, :2]).sum(1) > 0).all()


def test_a_plate_is_open_where_it_has_a_hole() -> None:
    """Real holes: the top face leaves the hole's disc free."""

    def area_of_top(holes: list[np.ndarray]) -> float:
        plate = slab(rounded_rectangle(100, 60, 5), holes, 8, 1)
        corners = plate.points[plate.faces]
        corners = corners[(corners[:, :, 2] == 8).all(1)]
        return float(
            np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
        )

    assert area_of_top([]) - area_of_top([ring(6, 20, 10)]) == pytest.approx(np.pi * 36, rel=0.02)


def test_a_placement_is_a_rigid_motion() -> None:
    """Tilted and turned parts keep their shape."""
    matrix = placement(3, 4, 5, turn=0.7, tilt=0.4, tilt_to=1.1)
    assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3))
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
