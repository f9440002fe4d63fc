"""Large-scale jitter."""

from __future__ import annotations

import numpy as np
import pytest

from simvg_core.errors import ConfigurationError
from simvg_core.training.jitter import JitterSettings, jitter, kept_share, window_of

NONE = np.zeros((0, 4), np.float32)
FRAME = np.zeros((60, 90, 3), np.uint8)


def rng() -> np.random.Generator:
    """The same in every test."""
    return np.random.default_rng(3)


def test_a_picture_without_a_target_is_cut_anywhere() -> None:
    """Above 1 a window of 1 / scale of both sides is left."""
    frame, boxes = jitter(FRAME, NONE, 96, JitterSettings(scale=(1.5, 1.5)), rng())
    assert frame.shape == (40, 60, 3)
    assert boxes.shape == (0, 4)


def test_below_one_the_picture_gets_coarser() -> None:
    """Its long side has that share of the network's, and boxes go along."""
    box = np.array([[9, 6, 45, 30]], np.float32)
    frame, boxes = jitter(FRAME, box, 96, JitterSettings(scale=(0.5, 0.5)), rng())
    assert frame.shape == (32, 48, 3)
    np.testing.assert_allclose(boxes, box * np.array([48 / 90, 32 / 60] * 2))


def test_windows_keep_what_they_should() -> None:
    """Nine tenths of every target where that can be."""
    boxes = np.array([[10, 10, 30, 30], [35, 12, 50, 40]], np.float32)
    for seed in range(20):
        window = window_of(boxes, 90, 60, 1.4, JitterSettings(), np.random.default_rng(seed))
        assert window is not None
        assert kept_share(np.array([window]), boxes)[0] >= 0.9


def test_a_target_over_the_whole_picture_is_cut_as_little_as_needed() -> None:
    """1 / 1.3² of it is left, which reaches the level of a half."""
    boxes = np.array([[0, 0, 90, 60]], np.float32)
    window = window_of(boxes, 90, 60, 1.3, JitterSettings(), rng())
    assert window is not None
    assert kept_share(np.array([window]), boxes)[0] == pytest.approx(1 / 1.69, abs=0.02)


def test_a_picture_stays_whole_where_a_window_would_lose_a_target() -> None:
    """Targets in opposite corners do not fit any window of a half."""
    boxes = np.array([[0, 0, 10, 10], [80, 50, 90, 60]], np.float32)
    frame, moved = jitter(FRAME, boxes, 96, JitterSettings(scale=(2.0, 2.0)), rng())
    assert frame.shape == FRAME.shape
    np.testing.assert_array_equal(moved, boxes)


def test_boxes_that_do_not_meet_share_nothing() -> None:
    """Two negative sides are no area."""
    share = kept_share(np.array([[50, 50, 60, 60]]), np.array([[0, 0, 10, 10]], np.float32))
    assert share.tolist() == [0.0]


def test_a_falling_range_is_refused() -> None:
    """With the value."""
    with pytest.raises(ConfigurationError, match=r"scale=\(1\.4, 0\.3\) must rise from above 0"):
        JitterSettings(scale=(1.4, 0.3))
