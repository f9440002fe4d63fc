"""Lines that look unlike each other: everything that is true of them stays, and what is held out stays out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simvg_core.lineworld.build import build
from simvg_core.lineworld.draw import draw_scene
from simvg_core.lineworld.looks import vary, weather
from simvg_core.lineworld.scene import Scene
from simvg_core.lineworld.surfaces import COLORS, FINISHES


def varied(count: int) -> list[Scene]:
    return [draw_scene(5, k, "varied") for k in range(count)]


def hue(color: tuple[float, float, float]) -> NDArray[np.float64]:
    """The tone at full brightness, as on a screen."""
    return np.asarray((np.array(color) / max(color)) ** (1 / 2.2))


def test_another_look_leaves_every_thing_what_and_where_it_is() -> None:
    """Plates, parts, marks and belt position are those of the scene; only their look is another."""
    scene = draw_scene(5, 3, "train")
    other = vary(scene, np.random.default_rng(1))
    assert (other.plates, other.loose, other.seed, other.held_out) == (
        scene.plates, scene.loose, scene.seed, scene.held_out,
    )  # fmt: skip
    assert other.look is not None
    assert scene.look is None
    one, two = build(scene), build(other)
    assert [i.outline.tolist() for i in one.instances] == [i.outline.tolist() for i in two.instances]
    assert [(i.kind, i.color, i.state) for i in one.instances] == [(i.kind, i.color, i.state) for i in two.instances]
    assert (one.atlas.marks == two.atlas.marks).all()
    assert not np.allclose(one.atlas.base, two.atlas.base)


def test_a_tone_is_still_of_its_name() -> None:
    """The nearest of the usual tones that have a hue is that of its own name; white, grey and black keep their order.

    Metals are told by their shine."""
    hues = {name: hue(COLORS[name]) for name in ("red", "orange", "yellow", "green", "blue")}
    for scene in varied(150):
        assert scene.look is not None
        tones = scene.look.tones
        assert tones.keys() == COLORS.keys()
        for name in hues:
            apart = {other: float(np.abs(hue(tones[name]) - usual).max()) for other, usual in hues.items()}
            assert min(apart, key=apart.__getitem__) == name, (name, tones[name])
        assert min(tones["white"]) > 1.5 * max(tones["grey"]) > 1.5 * 2 * max(tones["black"])


def test_looks_differ_from_picture_to_picture() -> None:
    """Tones, finishes, belts, lenses and light are drawn anew for each picture."""
    scenes = varied(60)
    assert len({scene.belt.color for scene in scenes}) == 60
    assert len({scene.belt.kind for scene in scenes}) == 4
    assert len({len(scene.lamps) for scene in scenes}) >= 6
    angles = [scene.camera.fov for scene in scenes]
    assert min(angles) < 20 < 55 < max(angles)
    for scene in scenes:
        assert scene.look is not None
        assert scene.look.finishes.keys() == FINISHES.keys()
        assert all(0.1 < rough < 1 and 0 <= metallic <= 1 for rough, metallic in scene.look.finishes.values())
        assert all(lamp.elevation >= 0.65 for lamp in scene.lamps)


def test_a_worn_surface_keeps_to_what_a_surface_can_be() -> None:
    """Base colour and roughness stay within their range at full wear, and no wear changes nothing."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        base, rough = np.full((96, 96, 3), 0.5, np.float32), np.full((96, 96), 0.4, np.float32)
        bump = np.zeros((96, 96), np.float32)
        weather(rng, 1.0, base, rough, bump)
        assert 0.003 <= base.min() <= base.max() <= 0.95
        assert 0.08 <= rough.min() <= rough.max() <= 1.0
        assert np.isfinite(bump).all()
    base, rough, bump = np.full((8, 8, 3), 0.5, np.float32), np.full((8, 8), 0.4, np.float32), np.zeros((8, 8))
    weather(rng, 0.0, base, rough, bump.astype(np.float32))
    assert (base == 0.5).all()
    assert np.allclose(rough, 0.4)


def test_only_the_varied_split_looks_otherwise() -> None:
    """Pictures of the other splits are those that their seeds have always given."""
    for split in ("train", "val", "test", "test_hard", "faults", "rare"):
        scene = draw_scene(5, 0, split)
        assert scene.look is None
        assert build(scene).atlas.base.sum() == build(replace(scene)).atlas.base.sum()
