"""Drawn scenes: the same from the same seed, apart between splits, and possible in the real world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from simvg_core.lineworld.build import build
from simvg_core.lineworld.draw import HELD_OUT_BELTS, SPLITS, draw_scene
from simvg_core.lineworld.layout import HELD_OUT_PLATES
from simvg_core.lineworld.scene import Part, Scene
from simvg_core.lineworld.surfaces import COLORS, HELD_OUT_COLORS

COMMON = ("train", "val", "test", "faults", "rare", "varied")
HARD = ("val_hard", "test_hard")


def scenes(split: str, count: int = 60) -> list[Scene]:
    return [draw_scene(5, k, split) for k in range(count)]


def parts_of(scene: Scene) -> list[Part]:
    return [*scene.loose, *(part for plate in scene.plates for part in plate.parts)]


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_draws_the_same_scene(split: str) -> None:
    """A picture's scene depends on nothing but seed, split and number."""
    assert draw_scene(3, 17, split) == draw_scene(3, 17, split)


@pytest.mark.parametrize(("seed", "index", "split"), [(4, 17, "train"), (3, 18, "train"), (3, 17, "val")])
def test_seed_number_and_split_each_draw_another_scene(seed: int, index: int, split: str) -> None:
    """No two pictures of the sets share a scene."""
    assert draw_scene(seed, index, split) != draw_scene(3, 17, "train")


@pytest.mark.parametrize("split", COMMON)
def test_common_splits_never_use_what_is_held_out(split: str) -> None:
    """Materials, belts and camera angles of the hard splits stay out of training."""
    for scene in scenes(split):
        assert not any(scene.held_out.values())
        assert all((plate.finish, plate.color) not in HELD_OUT_PLATES for plate in scene.plates)
        assert (scene.belt.kind, scene.belt.color) not in HELD_OUT_BELTS
        assert scene.camera.tilt < np.radians(50)


@pytest.mark.parametrize("split", HARD)
def test_hard_splits_use_only_what_is_held_out(split: str) -> None:
    """A score on a hard split is a score on things never seen."""
    for scene in scenes(split, 20):
        assert all(scene.held_out[name] for name in ("material", "light", "color", "camera"))
        assert all((plate.finish, plate.color) in HELD_OUT_PLATES for plate in scene.plates)
        assert (scene.belt.kind, scene.belt.color) in HELD_OUT_BELTS
        assert scene.camera.tilt >= np.radians(50)


def test_what_has_a_colour_has_another_tone_in_hard_splits() -> None:
    """A red cap there is none of training: the same scene in the usual tones looks different, and lies the same."""
    named = {name for name, tone in HELD_OUT_COLORS.items() if tone != COLORS[name]}
    assert {"red", "orange", "yellow", "green", "blue", "white"} <= named
    hard = next(scene for scene in scenes("test_hard") if any(part.finish == "plastic" for part in parts_of(scene)))
    strange, usual = build(hard), build(replace(hard, held_out={}))
    part = next(part for part in parts_of(hard) if part.finish == "plastic")
    assert part.color in named
    tone = np.array(HELD_OUT_COLORS[part.color], np.float32)
    assert np.isclose(strange.atlas.base, tone).all(axis=-1).any()
    assert not np.isclose(usual.atlas.base, tone).all(axis=-1).any()
    assert [one.outline.tolist() for one in strange.instances] == [one.outline.tolist() for one in usual.instances]


def test_every_id_stands_for_one_thing() -> None:
    """Parts, marks and plates of a scene never share an id."""
    for scene in scenes("train"):
        ids = [part.id for part in parts_of(scene)] + [plate.id for plate in scene.plates]
        ids += [mark.id for plate in scene.plates for mark in plate.marks]
        assert len(ids) == len(set(ids))


def test_rails_never_cut_a_plate() -> None:
    """Every corner of every plate lies between the side rails."""
    checked = 0
    for scene in scenes("train", 120):
        if scene.belt.rails is None:
            continue
        for plate in scene.plates:
            sine, cosine = np.sin(plate.turn), np.cos(plate.turn)
            corners = [plate.y + sine * x + cosine * y for x in (-plate.width / 2, plate.width / 2)
                       for y in (-plate.depth / 2, plate.depth / 2)]  # fmt: skip
            assert max(map(abs, corners)) < scene.belt.rails
            checked += 1
    assert checked > 20


def test_parts_of_a_plate_do_not_stand_in_one_another() -> None:
    """Fasteners and what is mounted between them keep apart."""
    for scene in scenes("train"):
        for plate in scene.plates:
            small = [part for part in plate.parts if part.kind not in ("label", "cable")]
            for k, one in enumerate(small):
                for other in small[k + 1 :]:
                    assert np.hypot(one.x - other.x, one.y - other.y) > 0.95 * (one.radius + other.radius)


def test_a_missing_bolt_has_bolts_beside_it() -> None:
    """A hole where a bolt belongs is told by the bolts of the same pattern."""
    seen = 0
    for scene in scenes("train", 120):
        for plate in scene.plates:
            kinds = Counter(part.kind for part in plate.parts)
            if kinds["missing_bolt"]:
                seen += 1
                assert kinds["hex_bolt"]
    assert seen > 10


def test_a_good_share_of_scenes_lack_a_bolt() -> None:
    """Missing bolts are common enough to learn from, and most scenes are without."""
    share = np.mean([any(part.kind == "missing_bolt" for part in parts_of(scene)) for scene in scenes("train", 300)])
    assert 0.25 < share < 0.5


def test_faults_are_common_in_the_set_that_teaches_them() -> None:
    """Of ``faults`` most scenes have something loose, and labels lie straight and crooked about alike often."""
    parts = [parts_of(scene) for scene in scenes("faults", 120)]
    usual = [parts_of(scene) for scene in scenes("train", 120)]

    def share(of: list[list[Part]], state: str) -> float:
        return float(np.mean([any(part.state == state for part in found) for found in of]))

    assert share(parts, "tilted") > 0.6 > 0.3 > share(usual, "tilted")
    labels = Counter(part.state for found in parts for part in found if part.kind == "label")
    assert 0.35 < labels["crooked"] / labels.total() < 0.65


def test_what_is_rare_is_common_in_the_set_that_teaches_it() -> None:
    """Of ``rare`` more pictures than usual have a cap of a wrong colour, a dent, a tool; one odd cap among three."""
    rare, usual = scenes("rare", 120), scenes("train", 120)

    def share(of: list[Scene], holds: Callable[[Scene], bool]) -> float:
        return float(np.mean([holds(scene) for scene in of]))

    for holds in (
        lambda scene: any(part.state == "wrong_color" for part in parts_of(scene)),
        lambda scene: any(mark.kind == "dent" for plate in scene.plates for mark in plate.marks),
        lambda scene: any(part.kind in ("spanner", "screwdriver", "pliers") for part in scene.loose),
    ):
        assert share(rare, holds) > 1.3 * share(usual, holds)
    caps = [[part.color for part in plate.parts if part.kind == "cap"] for scene in rare for plate in scene.plates]
    odd = [colors for colors in caps if len(set(colors)) == 2]
    assert len(odd) > 60
    assert all(min(Counter(colors).values()) == 1 for colors in odd)
