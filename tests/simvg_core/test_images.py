"""Frames made smaller."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from simvg_core.images import halved, resize, shrunk


def _scene(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(width)
    scene = cv2.resize(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8), (width, height))
    return np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("width", "height"), [(640, 480), (1280, 720), (1920, 1080), (641, 1080), (333, 321), (320, 320), (2560, 2560)]
)
def test_means_of_areas(width: int, height: int) -> None:
    """As OpenCV has them at once: within a grey level on average, a few at edges, of which this scene is full."""
    frame = _scene(width, height)
    wanted = cv2.resize(frame, (320, 320), interpolation=cv2.INTER_AREA).astype(int)
    found = resize(frame, 320, "area")
    assert found.shape == (320, 320, 3)
    assert found.dtype == np.uint8
    apart = np.abs(found - wanted)
    assert apart.mean() < 1.0
    assert apart.max() <= 12


@pytest.mark.parametrize("rows", [480, 400, 360, 340, 321, 639])
@pytest.mark.parametrize("channels", [1, 3])
def test_rows_of_pairs_are_means_of_areas(rows: int, channels: int) -> None:
    """Twice the columns, and rows of which each lies in two of the source or in more: OpenCV's areas, to one level."""
    frame = np.random.default_rng(rows).integers(0, 256, (rows, 640, 3), np.uint8)[:, :, :channels].squeeze()
    given = frame.copy()
    wanted = cv2.resize(frame, (320, 320), interpolation=cv2.INTER_AREA).astype(int)
    apart = shrunk(frame, 320, 320) - wanted
    assert np.abs(apart).max() <= 1
    assert abs(apart.mean()) < 0.3
    np.testing.assert_array_equal(frame, given)


def test_sides_that_are_even_thrice_are_halved_thrice() -> None:
    """Of a grey picture too; nothing is left to do then, and an eighth of a step is the step."""
    steps = np.repeat(np.arange(40, dtype=np.uint8)[None] * 5, 30, axis=0)
    large = np.kron(steps, np.ones((8, 8), np.uint8))
    np.testing.assert_array_equal(shrunk(large, 40, 30), steps)


@pytest.mark.parametrize(
    ("width", "height", "kept"),
    [(1920, 1080, (540, 960)), (2560, 1440, (360, 640)), (1282, 722, (361, 641)), (640, 480, (480, 640))],
)
def test_what_was_halved_before_becomes_the_same(width: int, height: int, kept: tuple[int, int]) -> None:
    """As long as it stays larger; the picture that is given is not touched."""
    frame = _scene(width, height)
    given = frame.copy()
    half = halved(frame, 320, 320)
    assert half.shape[:2] == kept
    np.testing.assert_array_equal(resize(half, 320, "area"), resize(frame, 320, "area"))
    np.testing.assert_array_equal(frame, given)


def test_nothing_to_do_changes_nothing() -> None:
    """The same pixels come back."""
    frame = _scene(320, 240)
    np.testing.assert_array_equal(shrunk(frame, 320, 240), frame)


def test_one_side_that_must_grow_is_interpolated() -> None:
    """Areas are for what becomes smaller."""
    frame = _scene(1280, 200)
    wanted = cv2.resize(frame, (320, 320), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(frame, 320, "area"), wanted)
