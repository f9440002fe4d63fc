"""Frozen and stale cameras."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import pytest

from consumers.grounding.frames import Pixels
from consumers.grounding.vision import Sight, VisionLimits, look, sample

SECOND = 1_000_000_000
LIMITS = VisionLimits(frozen_s=2.0, stale_s=5.0)
SCENE: Pixels = cv2.resize(
    np.random.default_rng(1).integers(30, 220, (24, 32, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC
).astype(np.uint8)


def coded(pixels: Pixels, quality: int = 90) -> Pixels:
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def noisy(number: int, sigma: float) -> Pixels:
    noise = np.random.default_rng(number).normal(0, sigma, SCENE.shape)
    return coded(np.clip(SCENE + noise, 0, 255).astype(np.uint8))


def watch(pictures: Iterable[Pixels], limits: VisionLimits = LIMITS, fps: int = 5) -> list[str | None]:
    """What is said of each picture."""
    sight: Sight | None = None
    said: list[str | None] = []
    for number, pixels in enumerate(pictures):
        ns = SECOND + number * SECOND // fps
        sight, problem = look(sight, sample(pixels), captured_ns=ns, published_ns=ns, limits=limits)
        said.append(problem)
    return said


def test_same_picture_again_is_frozen_after_its_time() -> None:
    """For two seconds nobody can tell; then every repeat is unknown, with the reason."""
    said = watch([SCENE] * 15)
    assert said[:10] == [None] * 10
    assert said[10] == "camera is frozen (the same picture for 2 s in 11 frames, limit 2 s)"
    assert None not in said[10:]


@pytest.mark.parametrize("sigma", [0.7, 1.5, 4.0])
def test_scene_at_rest_is_not_frozen(sigma: float) -> None:
    """The sensor noise of a living camera is enough, also through its JPEG."""
    assert set(watch(noisy(number, sigma) for number in range(20))) == {None}


def test_key_frames_do_not_hide_a_frozen_camera() -> None:
    """A frozen picture that video codes a little differently once a second stays frozen."""
    said = watch([noisy(number // 5, 0.7) for number in range(25)])
    assert said[-1] is not None and said[-1].startswith("camera is frozen")


def test_small_thing_that_moves_is_not_frozen() -> None:
    """One bolt-sized spot that moves over a noiseless picture shows that the camera lives."""

    def at(number: int) -> Pixels:
        pixels = SCENE.copy()
        pixels[200:230, 20 * number : 20 * number + 30] = 255
        return pixels

    assert set(watch(at(number) for number in range(25))) == {None}


def test_frozen_camera_that_moves_again_is_trusted_at_once() -> None:
    """The first picture that differs can be judged."""
    said = watch([*[SCENE] * 15, noisy(1, 12.0)])
    assert said[-1] is None


def test_too_few_frames_say_nothing() -> None:
    """Two pictures a minute apart may well be the same."""
    sight, _ = look(None, sample(SCENE), captured_ns=SECOND, published_ns=SECOND, limits=LIMITS)
    _, problem = look(sight, sample(SCENE), captured_ns=60 * SECOND, published_ns=60 * SECOND, limits=LIMITS)
    assert problem is None


def test_old_picture_is_stale() -> None:
    """A picture that was captured long before it was published says nothing of now."""
    _, problem = look(None, sample(SCENE), captured_ns=SECOND, published_ns=9 * SECOND, limits=LIMITS)
    assert problem == "frame is stale (captured 8.0 s before it was published, limit 5 s)"


def test_limits_can_be_switched_off() -> None:
    """A file that is played as a camera may stand still and be old."""
    off = VisionLimits(frozen_s=None, stale_s=None)
    assert set(watch([SCENE] * 30, off)) == {None}
    assert look(None, sample(SCENE), captured_ns=1, published_ns=99 * SECOND, limits=off)[1] is None


@pytest.mark.parametrize("shape", [(1, 1, 3), (20, 30, 3), (2160, 3840, 3)])
def test_pictures_of_any_size(shape: tuple[int, int, int]) -> None:
    """A picture smaller than the grid is compared as it is; a change of size is a change."""
    sight, problem = look(None, sample(np.zeros(shape, np.uint8)), captured_ns=1, published_ns=1, limits=LIMITS)
    sight, problem = look(sight, sample(SCENE), captured_ns=2, published_ns=2, limits=LIMITS)
    assert problem is None and sight.frames == 1
