"""Augmentation keeps pictures and truth together."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from simvg_core.lineworld.truth import Seen
from simvg_core.training.augment import (
    AugmentSettings,
    augment,
    cut_out,
    mapping_of,
    move,
    photograph,
    plain,
    random_mapping,
    warp,
)

WIDTH, HEIGHT, SIZE = 240, 180, 160


def marker(x0: int, y0: int, x1: int, y1: int) -> tuple[np.ndarray, Seen]:
    """A white rectangle on black, and its truth."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[y0:y1, x0:x1] = 255
    box = (x0 / WIDTH, y0 / HEIGHT, x1 / WIDTH, y1 / HEIGHT)
    return frame, Seen(1, "label", None, "white", None, "ok", box, True)


def painted(picture: np.ndarray) -> np.ndarray:
    """xyxy of what is white, normalised."""
    rows, columns = np.nonzero(picture[:, :, 0] > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / picture.shape[0]


@pytest.mark.parametrize("turn", [0.0, 90.0, 180.0, 270.0])
@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("zoom", [0.7, 1.0, 1.2])
def test_a_painted_marker_stays_in_its_box(turn: float, mirror: float, zoom: float) -> None:
    """Quarter turns, mirrors and zooms are exact to a pixel."""
    frame, seen = marker(60, 50, 110, 80)
    mapping = mapping_of(WIDTH, HEIGHT, SIZE, turn_deg=turn, zoom=zoom, mirror=mirror, shift=(0.03, -0.02))
    moved = move([seen], mapping, WIDTH, HEIGHT)[0]
    np.testing.assert_allclose(moved.box, painted(warp(frame, mapping, (0, 0, 0))), atol=1.1 / SIZE)
    assert moved.clear


@pytest.mark.parametrize("turn", [0.0, 6.0, 90.0, 133.0])
@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_the_ways_of_a_rectangle_follow_its_edges(turn: float, mirror: float) -> None:
    """A bar is painted, its picture is mapped, and its long side is measured there."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    way = math.radians(25)
    bar = cv2.boxPoints(((120, 90), (90, 6), 25))
    cv2.fillPoly(frame, [bar.astype(np.int32)], (255, 255, 255))
    ways = tuple(math.atan2(math.sin(a) / HEIGHT, math.cos(a) / WIDTH) for a in (way, way + math.pi / 2))
    seen = Seen(1, "label", None, "white", None, "ok", (0.25, 0.25, 0.75, 0.75), True, ways)  # type: ignore[arg-type]
    mapping = mapping_of(WIDTH, HEIGHT, SIZE, turn_deg=turn, mirror=mirror)
    moved = move([seen], mapping, WIDTH, HEIGHT)[0]
    rows, columns = np.nonzero(warp(frame, mapping, (0, 0, 0))[:, :, 0] > 127)
    _, _, directions = np.linalg.svd(np.stack([columns - columns.mean(), rows - rows.mean()], 1), full_matrices=False)
    assert moved.axes is not None
    assert abs(np.dot(directions[0], (math.cos(moved.axes[0]), math.sin(moved.axes[0])))) > 0.998
    assert abs(math.sin(moved.axes[0] - moved.axes[1])) > 0.5


def test_a_small_turn_keeps_the_box_close() -> None:
    """The box of a turned rectangle is estimated; it stays within a few pixels."""
    frame, seen = marker(90, 70, 140, 100)
    mapping = mapping_of(WIDTH, HEIGHT, SIZE, turn_deg=6.0)
    moved = move([seen], mapping, WIDTH, HEIGHT)[0]
    np.testing.assert_allclose(moved.box, painted(warp(frame, mapping, (0, 0, 0))), atol=2.5 / SIZE)


@pytest.mark.parametrize("number", range(20))
def test_random_mappings_keep_round_things_in_their_boxes(number: int) -> None:
    """Any turn: the box of a disc follows it."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[(columns + 0.5 - 120) ** 2 + (rows + 0.5 - 90) ** 2 < 20**2] = 255
    seen = Seen(1, "cap", None, "white", None, "ok", (100 / WIDTH, 70 / HEIGHT, 140 / WIDTH, 110 / HEIGHT), True)
    settings = AugmentSettings(any_turn=1.0, shift=0.0, zoom=(0.7, 1.0))
    mapping = random_mapping(WIDTH, HEIGHT, SIZE, settings, np.random.default_rng(number))
    moved = move([seen], mapping, WIDTH, HEIGHT)[0]
    np.testing.assert_allclose(moved.box, painted(warp(frame, mapping, (0, 0, 0))), atol=1.6 / SIZE)


def test_what_is_cut_by_the_border_is_unclear_then_gone() -> None:
    """Half a thing is not decided; a sliver is not there."""
    _, seen = marker(0, 80, 40, 100)
    half = move([seen], mapping_of(WIDTH, HEIGHT, SIZE, shift=(-20 / WIDTH, 0)), WIDTH, HEIGHT)
    assert [one.clear for one in half] == [False]
    assert move([seen], mapping_of(WIDTH, HEIGHT, SIZE, shift=(-39 / WIDTH, 0)), WIDTH, HEIGHT) == []


def test_a_thing_of_a_few_pixels_is_unclear() -> None:
    """Nobody could name it."""
    _, seen = marker(100, 100, 106, 106)
    assert not move([seen], mapping_of(WIDTH, HEIGHT, SIZE, zoom=0.7), WIDTH, HEIGHT)[0].clear


def test_what_a_cut_out_hides_is_not_asked() -> None:
    """Over many cut-outs a thing is clear and (mostly) visible, unclear and hidden in part, or gone; each comes up."""
    shown: dict[str, list[float]] = {"clear": [], "unclear": [], "gone": []}
    for number in range(1000):
        frame, seen = marker(84, 66, 108, 84)
        picture, scene = plain(frame, [seen], SIZE, "area")
        thing = picture[:, :, 0] == 255
        before = picture.copy()
        left = cut_out(picture, scene, np.random.default_rng(number))
        state = "gone" if not left else "clear" if left[0].clear else "unclear"
        shown[state].append(float((picture == before).all(axis=2)[thing].mean()))
    assert all(len(shares) > 3 for shares in shown.values()), {state: len(shares) for state, shares in shown.items()}
    assert min(shown["clear"]) > 0.6
    assert max(shown["unclear"]) < 0.9
    assert max(shown["gone"]) < 0.2


def test_light_and_sensor_keep_shape_and_type() -> None:
    """Whatever is drawn, a picture stays a picture."""
    frame = np.full((SIZE, SIZE, 3), 90, np.uint8)
    for number in range(40):
        out = photograph(frame.copy(), AugmentSettings(), np.random.default_rng(number))
        assert out.shape == frame.shape and out.dtype == np.uint8


def test_augmentation_is_deterministic() -> None:
    """The generator decides everything."""
    frame, seen = marker(60, 50, 110, 80)
    pictures = [augment(frame, [seen], SIZE, AugmentSettings(), np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(pictures[0][0], pictures[1][0])
    assert pictures[0][1] == pictures[1][1]
