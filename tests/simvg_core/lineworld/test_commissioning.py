"""Commissioning scenes: the products of the clips on the materials of training."""

from __future__ import annotations

import pytest

from simvg_core.lineworld.commissioning import FAULT_SHARES, draw_commissioning_scene
from simvg_core.lineworld.draw import HELD_OUT_BELTS
from simvg_core.lineworld.layout import HELD_OUT_PLATES
from simvg_core.lineworld.travel import DEMO_BELT, FAULTS


def test_the_same_seed_draws_the_same_scene() -> None:
    """A picture's scene depends on nothing but seed and number."""
    assert draw_commissioning_scene(2, 5) == draw_commissioning_scene(2, 5)
    assert draw_commissioning_scene(2, 5) != draw_commissioning_scene(2, 6)


def test_nothing_of_the_clips_surroundings_is_shown() -> None:
    """Materials and belts that the clips use stay out of training."""
    for index in range(60):
        scene = draw_commissioning_scene(2, index)
        assert all((plate.finish, plate.color) not in HELD_OUT_PLATES for plate in scene.plates)
        assert (scene.belt.kind, scene.belt.color) not in (*HELD_OUT_BELTS, DEMO_BELT)


def test_every_fault_has_its_share() -> None:
    """The shares name the faults there are and add up."""
    assert set(FAULT_SHARES) == set(FAULTS)
    assert sum(FAULT_SHARES.values()) == pytest.approx(1)
