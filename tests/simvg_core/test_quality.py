"""Frames that cannot be judged."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from simvg_core.quality import QualityLimits, frame_problem, measure

Pixels = NDArray[np.uint8]


def scene() -> Pixels:
    """Parts on a plate: circles and squares of some greys, with sensor noise."""
    rng = np.random.default_rng(3)
    pixels = np.full((480, 640, 3), 150, np.uint8)
    for number in range(12):
        x, y = (int(v) for v in rng.integers((60, 60), (580, 420)))
        level = int(rng.integers(30, 230))
        if number % 2:
            cv2.circle(pixels, (x, y), 24, (level, level, level), -1)
        else:
            cv2.rectangle(pixels, (x - 25, y - 18), (x + 25, y + 18), (level, level, level), -1)
    return np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)


def spoilt(how: Callable[[Pixels], object]) -> Pixels:
    return np.clip(np.asarray(how(scene()), np.float32), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda f: f, None),
        (lambda f: f * 0.4, None),
        (lambda f: cv2.GaussianBlur(f, (0, 0), 2), None),
        (lambda f: f * 0.02, "black"),
        (lambda f: f.astype(np.float32) + 240, "blown out"),
        (lambda f: f * 0.01 + 90, "one flat surface"),
        (lambda f: cv2.GaussianBlur(f, (0, 0), 16), "blurred beyond use"),
        (lambda f: cv2.blur(f, (60, 1)), "dragged by motion"),
        (lambda f: cv2.blur(f, (1, 60)), "dragged by motion"),
        (lambda f: f[:8], "too small"),
    ],
    ids=["in order", "dim", "soft", "black", "white", "flat", "blurred", "dragged", "dragged down", "small"],
)
def test_each_fault_is_named(how: Callable[[Pixels], object], says: str | None) -> None:
    """What a person could not judge is refused with its reason; what a person could is not."""
    problem = frame_problem(spoilt(how), QualityLimits(drag=0.1))
    assert problem is None if says is None else says in (problem or "")


@pytest.mark.parametrize(("height", "width"), [(240, 320), (17, 16), (101, 203)])
def test_measures_are_those_of_numpy(height: int, width: int) -> None:
    """Percentiles of counted bytes are those of sorted pixels, between two levels as well."""
    grey = np.random.default_rng(width).integers(0, 256, (height, width), np.uint8)
    found = measure(np.repeat(grey[:, :, None], 3, axis=2))
    assert found.bright == pytest.approx(np.percentile(grey, 99), abs=1e-9)
    assert found.dark == pytest.approx(np.percentile(grey, 5), abs=1e-9)
    assert found.deviation == pytest.approx(grey.std(), abs=1e-6)


@pytest.mark.parametrize("kept", [slice(None), slice(0, 90), slice(200, 280), slice(390, None)])
@pytest.mark.parametrize("sigma", [0.5, 4, 8, 9, 10, 11, 12, 16])
def test_frames_are_blurred_by_all_of_their_rows(kept: slice, sigma: float) -> None:
    """A few rows are looked at first; where they do not settle it, and only there, all are: the answer is the same."""
    rng, frame = np.random.default_rng(5), scene()
    shown = np.full_like(frame, 100)
    shown[kept] = frame[kept]
    shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), sigma), np.uint8)
    shown = np.clip(shown + rng.normal(0, 0.3, shown.shape), 0, 255).astype(np.uint8)
    whole, limit = measure(shown), QualityLimits().blur
    problem = frame_problem(shown)
    assert problem is None if whole.edges >= limit else f"edge share {whole.edges:.5f}" in (problem or "")


@pytest.mark.parametrize("seed", range(150))
def test_a_band_never_hides_what_the_whole_shows(seed: int) -> None:
    """Frames that are good in some places and black, white, flat or blurred in others are judged as by all of their
    pixels, though a band in the middle is looked at first."""
    rng = np.random.default_rng(seed)
    height, width = ((240, 320), (480, 640), (481, 851), (290, 200))[seed % 4]
    frame = np.full((height, width, 3), rng.choice([0, 12, 17, 90, 249, 255]), np.float32)
    for _ in range(rng.integers(0, 12)):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        rows, columns = int(rng.integers(2, height)), int(rng.integers(2, width))
        part = frame[top : top + rows, left : left + columns]
        part[:] = rng.choice([0, 20, 120, 255]) + rng.normal(0, rng.choice([0, 20, 60]), part.shape)
    if sigma := float(rng.choice([0, 0, 0, 1, 3, 9])):
        frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma * width / 320), np.float32)
    shown = np.clip(frame + rng.normal(0, rng.choice([0, 0.5]), frame.shape), 0, 255).astype(np.uint8)
    whole, limits = measure(shown), QualityLimits()
    good = whole.bright >= limits.black and whole.dark <= limits.white and whole.deviation >= limits.flat
    assert (frame_problem(shown) is None) == (good and whole.edges >= limits.blur)


@pytest.mark.parametrize("drag", [0, 0.1])
@pytest.mark.parametrize("blur", [0, 0.0004, 1])
def test_each_limit_can_be_off(blur: float, drag: float) -> None:
    """Whether or not the direction of edges is asked for, blur is judged by its own limit; 0 asks for none."""
    problem = frame_problem(scene(), QualityLimits(blur=blur, drag=drag))
    assert problem is None if blur < 1 else "blurred beyond use" in (problem or "")


def test_stripes_are_judged_unless_a_camera_is_told_otherwise() -> None:
    """A conveyor of rollers has edges in one direction only and is no fault by default."""
    stripes = np.tile((np.arange(640) // 20 % 2 * 120 + 60).astype(np.float32)[None, :, None], (480, 1, 3))
    noisy = stripes + np.random.default_rng(1).normal(0, 12, stripes.shape)
    assert frame_problem(np.clip(noisy, 0, 255).astype(np.uint8)) is None


def test_limits_are_those_of_the_camera() -> None:
    """A camera that looks at a dark scene is given a lower limit."""
    dark = spoilt(lambda f: f * 0.05)
    assert "black" in (frame_problem(dark) or "")
    assert frame_problem(dark, QualityLimits(black=4, flat=0.5, blur=0, drag=0)) is None
