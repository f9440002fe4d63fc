"""Is a frame good enough to say that something is NOT there?

A black, washed-out, featureless or blurred frame shows nothing, and "nothing seen" must then read "unknown", never
"absent". The default limits are those of `docs/benchmarks/unknown.md`: no frame of a camera in order is refused there.
Each can be set per camera, for one that looks at a dark or a plain scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simvg_core.images import Frame, as_bgr, shrunk

# Shorter side, pixels: below this not even a large part can be made out.
MIN_SIDE = 16
# Pixels at 320 pixels width; keeps sensor noise and 8-bit steps from passing as edges.
_EDGE_SIGMA = 1.5
_SMOOTHING = cv2.getGaussianKernel(13, _EDGE_SIGMA, cv2.CV_32F)
_WIDTH = 320
_LEVELS = np.arange(256)
_BRIGHTEST, _DARKEST = 0.01, 0.05
# Rows in the middle that are looked at first, rows beside them that their edges depend on, and how many single rows all
# over the frame are looked at.
_BAND, _BESIDE, _SPREAD = 64, 8, 96
# Share of second differences in the weaker direction from which it is sharp, whatever the other has: a frame in order
# has 0.0045 at least, stripes or not.
_SHARP = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """From where a frame cannot be judged. Grey levels are 0 … 255.

    `black`: all but the brightest 1 % of pixels are darker. `white`: all but the darkest 5 % are brighter. `flat`: the
    standard deviation of all is less (lens cap, fog, test signal). `blur`: fine edges (variance of the Laplacian of
    Gaussian at 320 pixels width) have a smaller share of the grey variance. `drag`: they run in one direction only,
    the other has less than this part of them, and few altogether: the picture is dragged by motion. Off by default, as
    a conveyor of rollers looks the same; 0.1 is right for a camera that sees parts with edges in both directions.
    """

    black: float = 16.0
    white: float = 250.0
    flat: float = 2.0
    blur: float = 0.0004
    drag: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What a frame measures, in the terms of :class:`QualityLimits`."""

    bright: float
    dark: float
    deviation: float
    edges: float
    weak_edges: float
    direction: float


def measure(frame: Any) -> Quality:
    """The measures of a frame of any size.

    Raises ImageError when it is no frame at all.
    """
    grey = _grey(as_bgr(frame))
    height, width = grey.shape
    if width > _WIDTH:
        grey = shrunk(grey, _WIDTH, max(1, round(height * _WIDTH / width)))
    counts = _counts(grey).cumsum()
    variance = _variance(grey)
    share = 1 / variance if variance > 0 else 0.0
    smooth = _smooth(grey)
    edges = _variance(cv2.Laplacian(smooth, cv2.CV_32F)) * share
    along, across = (_variance(cv2.Sobel(smooth, cv2.CV_32F, *way)) * share for way in ((2, 0), (0, 2)))
    return Quality(
        bright=_percentile(counts, 1 - _BRIGHTEST),
        dark=_percentile(counts, _DARKEST),
        deviation=variance**0.5,
        edges=edges,
        weak_edges=min(along, across),
        direction=min(along, across) / max(along, across) if max(along, across) > 0 else 1.0,
    )


def _plainly_in_order(frame: Frame, limits: QualityLimits) -> bool:
    """Whether a band of rows in the middle is so good that the whole cannot be bad, in a third of the time.

    Bright and dark pixels, deviation and fine edges of the whole are at least the band's, times its share of the rows.
    Only the variance that the edges are compared with is taken from single rows all over the frame: edges have to be
    twice the limit.
    """
    height, width = frame.shape[:2]
    scale = max(1.0, width / _WIDTH)
    rows = round(height / scale)
    first, count = (rows - _BAND) // 2 - _BESIDE, _BAND + 2 * _BESIDE
    if first < 0:
        return False
    grey = _grey(frame[round(first * scale) : round((first + count) * scale)])
    if scale > 1:
        grey = shrunk(grey, _WIDTH, count)
    band, share = grey[_BESIDE:-_BESIDE], _BAND / rows
    counts = _counts(band) * (share / band.size)
    bright, dark = counts[limits.black < _LEVELS].sum(), counts[limits.white > _LEVELS].sum()
    if bright <= _BRIGHTEST or dark <= _DARKEST:
        return False
    if _variance(band) * share < limits.flat**2:
        return False
    fine = cv2.Laplacian(_smooth(grey), cv2.CV_32F)[_BESIDE:-_BESIDE]
    variance = _variance(_grey(frame[:: max(1, height // _SPREAD)]))
    return bool(_variance(fine) * share >= 2 * limits.blur * variance)


def _grey(frame: Frame) -> Any:
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_BGR2GRAY)


def _counts(grey: Any) -> NDArray[np.int64]:
    """How many pixels have each of the 256 levels."""
    return np.asarray(cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel(), np.int64)


def _smooth(grey: Any) -> Any:
    return cv2.sepFilter2D(grey, cv2.CV_32F, _SMOOTHING, _SMOOTHING)


def _variance(picture: Any) -> float:
    """As `cv2.meanStdDev` has it, in a third of its time for float32."""
    mean, squares = float(cv2.mean(picture)[0]), float(cv2.norm(picture, cv2.NORM_L2SQR))
    return max(0.0, squares / int(picture.size) - mean * mean)


def _percentile(counts: NDArray[np.int64], share: float) -> float:
    """As `numpy.percentile` has it, of bytes that are counted already: ``counts[v]`` of them are at most v.

    Sorting all pixels for it took a quarter of this file's time.
    """
    place = share * (int(counts[-1]) - 1)
    low, high = (int(np.searchsorted(counts, index, side="right")) for index in (math.floor(place), math.ceil(place)))
    return low + (high - low) * (place % 1)


def frame_problem(frame: Any, limits: QualityLimits = QualityLimits()) -> str | None:
    """Why a frame cannot be judged, in words, or None if it can.

    Args:
        frame: anything `as_bgr` takes, any size.
        limits: of its camera.

    Raises:
        ImageError: it is no frame at all.
    """
    shown = as_bgr(frame)
    height, width = shown.shape[:2]
    if min(height, width) < MIN_SIDE:
        return f"frame of {width}x{height} pixels is too small (shorter side below {MIN_SIDE})"
    if limits.drag <= 0 and _plainly_in_order(shown, limits):  # few cameras ask for the direction of edges
        return None
    found = measure(shown)
    if found.bright < limits.black:
        return f"frame is black (99 % of pixels below grey level {found.bright:.0f}, limit {limits.black:g})"
    if found.dark > limits.white:
        return f"frame is blown out (95 % of pixels above grey level {found.dark:.0f}, limit {limits.white:g})"
    if found.deviation < limits.flat:
        return f"frame shows one flat surface (grey deviation {found.deviation:.1f}, limit {limits.flat:g})"
    if found.edges < limits.blur:
        return f"frame is blurred beyond use (edge share {found.edges:.5f}, limit {limits.blur:g})"
    if found.direction < limits.drag and found.weak_edges < _SHARP:
        return (
            f"frame is dragged by motion (edges across it {found.direction:.3f} of those along, limit {limits.drag:g})"
        )
    return None
