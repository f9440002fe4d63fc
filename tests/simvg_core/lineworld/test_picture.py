"""Pictures and their truth, on the real renderer at 96 × 72 pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simvg_core.lineworld.parts import BUILDERS
from simvg_core.lineworld.picture import render, view_of
from simvg_core.lineworld.scene import Mark, Part, Scene
from simvg_core.lineworld.tracer import Tracer

Table = Callable[..., Scene]


def the(records: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    found = [record for record in records if record["kind"] == kind]
    assert len(found) == 1
    return found[0]


def test_a_scene_gives_the_same_picture_and_truth_again(tracer: Tracer, table: Table) -> None:
    """What was rendered in between changes nothing."""
    scene = table(Part(id=1, kind="hex_bolt", x=10, y=5, radius=9, color="steel"))
    image, records = render(tracer, scene)
    render(tracer, table(Part(id=1, kind="gear", x=-20, y=0, radius=16, color="brass"), tilt=0.5))
    again, records_again = render(tracer, scene)
    assert np.array_equal(image, again)
    assert records == records_again


def test_an_empty_plate_is_in_the_truth(tracer: Tracer, table: Table) -> None:
    """A plate without parts is one instance that belongs to no plate."""
    _, records = render(tracer, table())
    assert [(r["kind"], r["plate"], r["clear"]) for r in records] == [("plate", None, True)]


@pytest.mark.parametrize("tilt", [0.0, 0.5], ids=["from above", "oblique"])
def test_a_straight_label_runs_as_its_plate_does(tracer: Tracer, table: Table, tilt: float) -> None:
    """Whatever the camera: a crooked one does not; and what has no sides has no ways."""
    for turn, apart in ((0.0, 0.0), (np.pi / 2, 90.0), (0.4, np.degrees(0.4))):
        label = Part(id=1, kind="label", x=0, y=0, radius=20, color="yellow", finish="paper", turn=turn)
        cap = Part(id=2, kind="cap", x=40, y=30, radius=8, color="red")
        _, records = render(tracer, table(label, cap, tilt=tilt, roll=0.3))
        ways = [the(records, kind)["axes_deg"] for kind in ("label", "plate")]
        assert the(records, "cap")["axes_deg"] is None
        # the picture's angles run clockwise, and an oblique view bends those between the axes
        found = abs((ways[0][0] - ways[1][0] + 180) % 360 - 180)
        assert found == pytest.approx(apart, abs=0.2 if tilt == 0 or turn != 0.4 else 8), (turn, ways)


@pytest.mark.parametrize("tilt", [0.0, 0.7], ids=["from above", "oblique"])
def test_the_box_bounds_the_pixels_that_show_the_part(tracer: Tracer, table: Table, tilt: float) -> None:
    """Red pixels of a red cap on a white plate reach to the box's edges and not beyond."""
    image, records = render(tracer, table(Part(id=1, kind="cap", x=-18, y=9, radius=12, color="red"), tilt=tilt))
    red = image[..., 2].astype(int) - image[..., 1] > 70
    rows, columns = np.nonzero(red)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    cap = the(records, "cap")
    assert np.abs(np.subtract(cap["box"], seen)).max() <= 2
    assert cap["plate"] == 100
    assert cap["color"] == "red"


@pytest.mark.parametrize("tilt", [0.0, 0.8], ids=["from above", "oblique"])
def test_the_box_of_a_missing_bolt_is_the_hole_with_its_seat(tracer: Tracer, table: Table, tilt: float) -> None:
    """The contact ring of the bolt's flange belongs to the box, so it is as wide as the bolt was."""
    scene = table(Part(id=1, kind="missing_bolt", x=15, y=-8, radius=12), tilt=tilt)
    _, records = render(tracer, scene)
    angle = np.linspace(0, 2 * np.pi, 64)
    rim = view_of(scene).project(np.stack([15 + 12 * np.cos(angle), -8 + 12 * np.sin(angle), np.full(64, 8.0)], 1))
    expected = [*rim.min(0), *rim.max(0)]
    assert np.abs(np.subtract(the(records, "missing_bolt")["box"], expected)).max() <= 1.5
    assert the(records, "missing_bolt")["clear"]


@pytest.mark.parametrize("tilt", [0.0, 0.8], ids=["from above", "oblique"])
@pytest.mark.parametrize(
    "kind", [k for k in BUILDERS if k not in ("washer", "cable", "spanner", "screwdriver", "pliers")]
)
def test_a_part_wholly_in_view_is_wholly_visible(tracer: Tracer, table: Table, kind: str, tilt: float) -> None:
    """Nothing that the plate hides counts as a part's hidden share."""
    part = Part(id=1, kind=kind, x=0, y=0, radius=16, color="steel")
    _, records = render(tracer, table(part, tilt=tilt))
    assert the(records, kind)["visible"] >= 0.9


def test_a_part_cut_by_the_border_is_partly_visible(tracer: Tracer, table: Table) -> None:
    """The share that lies outside of the picture is not visible, and the box stays inside."""
    scene = table(Part(id=1, kind="cap", x=40, y=0, radius=14, color="blue"))
    border = (scene.camera.distance - 12) * np.tan(np.radians(scene.camera.fov / 2))
    scene = replace(scene, camera=replace(scene.camera, look=(40.0 - float(border), 0.0)))
    _, records = render(tracer, scene)
    cap = the(records, "cap")
    assert 0.35 < cap["visible"] < 0.65
    assert cap["box"][2] == scene.camera.width


def test_a_part_behind_another_is_partly_visible(tracer: Tracer, table: Table) -> None:
    """What stands in front takes its share of the pixels; seen from above the same bolt is whole."""
    bolt = Part(id=1, kind="hex_bolt", x=0, y=15, radius=7, color="steel")
    cap = Part(id=2, kind="cap", x=0, y=-10, radius=16, color="blue")
    _, hidden = render(tracer, table(bolt, cap, tilt=1.0))
    _, free = render(tracer, table(bolt, cap))
    assert the(hidden, "hex_bolt")["visible"] < 0.7
    assert the(free, "hex_bolt")["visible"] > 0.9


def test_a_bolt_too_small_to_see_is_not_clear(tracer: Tracer, table: Table) -> None:
    """From far away a bolt is a few pixels: it is in the truth, but nobody is asked about it."""
    bolt = Part(id=1, kind="hex_bolt", x=0, y=0, radius=7, color="steel")
    _, records = render(tracer, table(bolt, distance=900.0))
    assert the(records, "hex_bolt")["clear"] is False


def test_a_stain_covers_its_own_pixels(tracer: Tracer, table: Table) -> None:
    """A dark stain on a white plate is a clear mark around the place where it was put."""
    scene = table()
    plate = replace(scene.plates[0], marks=(Mark(id=5, kind="stain", points=((-20.0, 10.0),), width=24, seed=3),))
    scene = replace(scene, plates=(plate,))
    image, records = render(tracer, scene)
    stain = the(records, "stain")
    x0, y0, x1, y1 = stain["box"]
    middle = view_of(scene).project(np.array([[-20.0, 10.0, 8.0]]))[0]
    assert stain["clear"]
    assert stain["plate"] == 100
    assert x0 < middle[0] < x1
    assert y0 < middle[1] < y1
    assert image[round(middle[1]), round(middle[0])].mean() < image[8:64, 70:80].mean() - 30


def test_exposure_brightens_the_picture(tracer: Tracer, table: Table) -> None:
    """One stop more light is seen in every tone."""
    scene = table()
    dark, _ = render(tracer, replace(scene, sensor=replace(scene.sensor, exposure=-1.5)))
    bright, _ = render(tracer, replace(scene, sensor=replace(scene.sensor, exposure=0.5)))
    assert bright.mean() > dark.mean() + 30
