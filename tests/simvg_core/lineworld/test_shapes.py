"""Meshes: closed and turned outwards, and placed where they are told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvg_core.lineworld.parts import BUILDERS
from simvg_core.lineworld.scene import Part
from simvg_core.lineworld.shapes import Shape, block, join, lathe, placement, ring, rounded_rectangle, sheet, slab, tube

ANGLES = st.floats(-np.pi, np.pi)
PLACES = st.floats(-500, 500)


def made(kind: str) -> Shape:
    return join([shape for shape, _, _ in BUILDERS[kind](Part(id=1, kind=kind, x=0, y=0, radius=8))])


SHAPES = {
    "hex bolt": made("hex_bolt"),
    "washer": made("washer"),
    "nut": made("nut"),
    "block": block(30, 20, 10),
    "slab": slab(rounded_rectangle(100, 60, 5), [], 8, 1),
    "slab with holes": slab(rounded_rectangle(100, 60, 5), [ring(6, 20, 10), ring(4, -30, 0)], 8, 1),
    "sheet": sheet(20, 10),
    "tube": tube(np.stack([np.linspace(0, 60, 40), 9 * np.sin(np.linspace(0, 3, 40)), np.full(40, 4.0)], 1), 3),
}


def corners_of(shape: Shape) -> np.ndarray:
    """(m, 3, 3), without faces that have no area (those that meet in a turned part's axis)."""
    corners = shape.points[shape.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return np.asarray(corners[area > 1e-6])


def volume(shape: Shape) -> float:
    """Signed volume between the faces and the origin: that of the body when what is open lies in z = 0."""
    a, b, c = corners_of(shape).transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("name", SHAPES)
def test_winding_and_normals_of_every_face_agree(name: str) -> None:
    """The renderer shades by normals and hits by winding; both know the same outside."""
    shape = SHAPES[name]
    corners = shape.points[shape.faces]
    wound = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(wound, axis=1)
    normals = shape.normals[shape.faces].mean(1)
    cosine = (wound * normals).sum(1)[size > 1e-6] / size[size > 1e-6]
    assert cosine.min() > 0.9


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "sheet"])
def test_the_volume_of_a_body_is_positive(name: str) -> None:
    """Faces are seen from outside."""
    assert volume(SHAPES[name]) > 0


def test_a_closed_turned_part_has_the_volume_of_its_prism() -> None:
    """No face of a lathe's rings is missing or twice there."""
    area = 36 / 2 * 5**2 * np.sin(2 * np.pi / 36)
    assert volume(lathe([(0, 7), (5, 7), (5, 0), (0, 0)])) == pytest.approx(area * 7)


def test_a_plate_without_bevel_has_the_volume_of_its_outline() -> None:
    """Top and edge of a slab close it but for its underside."""
    x, y = rounded_rectangle(100, 60, 5).T
    area = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2
    assert volume(slab(rounded_rectangle(100, 60, 5), [], 8, 1e-6)) == pytest.approx(area * 8, rel=1e-5)


def test_no_face_covers_a_hole() -> None:
    """Looking down through a hole's middle nothing of the slab is in the way."""
    for x, y in ((20.0, 10.0), (-30.0, 0.0)):
        flat = corners_of(SHAPES["slab with holes"])[:, :, :2] - np.array([x, y])
        after = np.roll(flat, -1, 1)
        side = flat[..., 0] * after[..., 1] - flat[..., 1] * after[..., 0]
        assert not ((side > 1e-9).all(1) | (side < -1e-9).all(1)).any()


def test_joined_shapes_keep_their_faces() -> None:
    """Faces of the second shape point at its own points."""
    one, two = sheet(2, 2), sheet(4, 4, 1.0)
    joined = join([one, two])
    assert np.array_equal(joined.points[joined.faces[2:]], two.points[two.faces])


@given(x=PLACES, y=PLACES, z=PLACES, turn=ANGLES, tilt=ANGLES, tilt_to=ANGLES, scale=st.floats(0.1, 10))
def test_a_placement_scales_turns_and_moves(
    x: float, y: float, z: float, turn: float, tilt: float, tilt_to: float, scale: float
) -> None:
    """The origin goes to the place, and all lengths grow by the scale, without mirroring."""
    matrix = placement(x, y, z, turn=turn, tilt=tilt, tilt_to=tilt_to, scale=scale)
    linear = matrix[:3, :3] / scale
    assert np.allclose(matrix @ [0, 0, 0, 1], [x, y, z, 1])
    assert np.allclose(linear @ linear.T, np.eye(3))
    assert np.linalg.det(linear) == pytest.approx(1)


@given(turn=ANGLES, tilt=st.floats(0.01, 1.5), tilt_to=ANGLES)
def test_a_tilt_leans_towards_its_direction(turn: float, tilt: float, tilt_to: float) -> None:
    """The axis of a tilted part leans by ``tilt`` towards ``tilt_to`` however the part is turned."""
    axis = placement(0, 0, turn=turn, tilt=tilt, tilt_to=tilt_to)[:3, 2]
    expected = [np.sin(tilt) * np.cos(tilt_to), np.sin(tilt) * np.sin(tilt_to), np.cos(tilt)]
    assert np.allclose(axis, expected)


def test_a_moved_shape_keeps_unit_normals() -> None:
    """Scaling a shape does not scale its normals."""
    moved = block(30, 20, 10).moved(placement(1, 2, 3, turn=0.5, tilt=0.3, scale=2.5))
    assert np.allclose(np.linalg.norm(moved.normals, axis=1), 1)
    assert volume(moved) != 0
