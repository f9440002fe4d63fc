"""The line in motion: what passes the camera, and how passes join."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from simvg_core.lineworld.build import BELT_MM
from simvg_core.lineworld.draw import TRAIN_BELTS
from simvg_core.lineworld.layout import TRAIN_PLATES
from simvg_core.lineworld.picture import view_of
from simvg_core.lineworld.scene import Plate
from simvg_core.lineworld.travel import (
    DEMO_FAULTS,
    FAULTS,
    PASS_FAULTS,
    PASS_SECONDS,
    PASS_SPEED,
    Run,
    demo_faults,
    product,
    travelling_line,
)


def line(faults: tuple[str, ...] = DEMO_FAULTS, **more: float) -> Run:
    return travelling_line(4, faults, width=640, height=480, **more)  # type: ignore[arg-type]


def in_view(run: Run, seconds: float) -> bool:
    scene = run.at(seconds, 0)
    view = view_of(scene)
    for plate in scene.plates:
        corners = np.array(list(itertools.product((-0.5, 0.5), (-0.5, 0.5), (0, 1)))) * [
            plate.width, plate.depth, plate.thickness + 10,
        ]  # fmt: skip
        pixels = view.project(corners + np.array([plate.x, plate.y, 0]))
        if ((pixels > 0) & (pixels < [view.width, view.height])).all(1).any():
            return True
    return False


def wrong(plate: Plate) -> list[str]:
    found = [part.kind for part in plate.parts if part.kind == "missing_bolt" or part.state != "ok"]
    return found + [mark.kind for mark in plate.marks]


def test_the_same_seed_makes_the_same_clip() -> None:
    """A clip can be rendered again from its seed."""
    assert line() == line()


@pytest.mark.parametrize("seconds", [1.0, 60.0, 61.0, 600.0])
def test_a_clip_shows_plates_to_its_end(seconds: float) -> None:
    """However long it is; the minute that is shipped has the plates it was rendered with."""
    faults = demo_faults(seconds)
    assert faults[: len(DEMO_FAULTS)] == DEMO_FAULTS
    assert (len(faults) == len(DEMO_FAULTS)) is (seconds <= 60)
    run = line(faults)
    times = np.arange(5.0, max(seconds, 6.0), 0.5)
    assert all(in_view(run, float(time)) for time in times[-40:])


def test_plates_travel_at_the_speed_of_the_belt() -> None:
    """Plates and the belt's pattern move together."""
    run = line()
    before, after = run.at(10.0, 100), run.at(10.5, 105)
    moved = {p.id: p.x for p in after.plates}
    for plate in before.plates:
        assert moved[plate.id] - plate.x == pytest.approx(run.speed * 0.5)
    assert after.belt.shift - before.belt.shift == pytest.approx(run.speed * 0.5)


def test_ids_stay_with_their_things_over_all_frames() -> None:
    """A part has one id from entering the view to leaving it, and shares it with nothing else of the clip."""
    run = line()
    names = {}
    for frame in range(0, 600, 25):
        for plate in run.at(frame / 10, frame).plates:
            for thing in (*plate.parts, *plate.marks):
                assert names.setdefault(thing.id, (plate.id, thing.kind)) == (plate.id, thing.kind)
    ids = [thing.id for plate in run.plates for thing in (plate, *plate.parts, *plate.marks)]
    assert len(ids) == len(set(ids))


def test_plates_come_with_the_faults_that_were_ordered() -> None:
    """The n-th plate of the run has the n-th fault."""
    signs = {
        "missing": "missing_bolt",
        "red_cap": "cap",
        "crooked": "label",
        "stain": "stain",
        "loose": "hex_bolt",
        "scratch": "scratch",
    }
    assert [wrong(plate) for plate in line(FAULTS).plates] == [[signs[f]] if f in signs else [] for f in FAULTS]


@pytest.mark.parametrize("family", [0, 1])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_product_has_at_most_one_fault(fault: str, family: int) -> None:
    """A good product has nothing wrong, any other exactly what was asked for."""
    plate = product(np.random.default_rng(1), itertools.count(1), family, fault, ("anodised", "steel"))
    assert len(wrong(plate)) == (fault != "good")


def test_an_unknown_fault_is_refused() -> None:
    """The message names the faults there are."""
    with pytest.raises(ValueError, match="'bent' is none of good, missing"):
        product(np.random.default_rng(1), itertools.count(1), 0, "bent", ("anodised", "steel"))


def test_the_demo_clip_has_good_plates_and_enough_faults() -> None:
    """Eight to twelve episodes among good plates, at least five of them missing bolts."""
    counts = {fault: DEMO_FAULTS.count(fault) for fault in DEMO_FAULTS}
    assert counts["good"] >= 2
    assert counts["missing"] >= 5
    assert 8 <= len(DEMO_FAULTS) - counts["good"] <= 12


def test_the_clip_shows_what_training_never_saw() -> None:
    """Materials and belt of the clip are kept out of the training set."""
    run = line()
    assert all((plate.finish, plate.color) not in TRAIN_PLATES for plate in run.plates)
    assert (run.scene.belt.kind, run.scene.belt.color) not in TRAIN_BELTS


@pytest.mark.parametrize("variant", range(len(PASS_FAULTS)))
def test_a_pass_begins_and_ends_with_an_empty_belt(variant: int) -> None:
    """Passes can be strung together in any order."""
    run = line((PASS_FAULTS[variant],), speed=PASS_SPEED, variant=variant)
    assert not in_view(run, 0.0)
    assert in_view(run, PASS_SECONDS / 2)
    assert not in_view(run, PASS_SECONDS)


def test_passes_join_without_a_jump_of_the_belt() -> None:
    """A pass moves the belt by a whole number of links."""
    link = BELT_MM / 512 * 64
    assert (PASS_SPEED * PASS_SECONDS / link) % 1 == pytest.approx(0)
