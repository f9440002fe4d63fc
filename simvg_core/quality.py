"""Is a frame good enough to say that something is NOT there?

A black, washed-out, featureless or blurred frame shows nothing, and "nothing seen" must then read "unknown", never
"absent". Thresholds are deliberately low: only frames a person could not use either are refused.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from simvg_core.images import as_bgr

# Shorter side, pixels: below this not even a large part can be made out.
MIN_SIDE = 16
# Grey levels (0 … 255). Black: all but the brightest 1 % of pixels are darker than this.
BLACK_LEVEL = 16.0
# Blown out: all but the darkest 5 % of pixels are brighter than this.
WHITE_LEVEL = 250.0
# Standard deviation of grey levels below which the frame is one flat surface (lens cap, fog, test signal).
FLAT_DEVIATION = 3.0
# Energy of fine edges (variance of the Laplacian of Gaussian at 320 pixels width) as a share of the grey variance. A
# rendered line in focus has 0.011, blurred by a sigma of 1 % of the width 0.0008, by 1.5 % (a bolt is gone) 0.00025.
BLUR_RATIO = 0.0003
# Pixels at that width; keeps sensor noise and 8-bit steps from passing as edges.
_EDGE_SIGMA = 1.5
_WIDTH = 320


def frame_problem(frame: Any) -> str | None:
    """Why a frame cannot be judged, in words, or None if it can.

    Args:
        frame: anything `as_bgr` takes, any size.

    Raises:
        ImageError: it is no frame at all.
    """
    bgr = as_bgr(frame)
    height, width = bgr.shape[:2]
    if min(height, width) < MIN_SIDE:
        return f"frame of {width}x{height} pixels is too small (shorter side below {MIN_SIDE})"
    if width > _WIDTH:
        scaled = max(MIN_SIDE, round(height * _WIDTH / width))
        bgr = cv2.resize(np.ascontiguousarray(bgr), (_WIDTH, scaled), interpolation=cv2.INTER_AREA).astype(np.uint8)
    grey = cv2.cvtColor(np.ascontiguousarray(bgr), cv2.COLOR_BGR2GRAY).astype(np.float32)
    bright, dark = float(np.percentile(grey, 99)), float(np.percentile(grey, 5))
    if bright < BLACK_LEVEL:
        return f"frame is black (99 % of pixels below grey level {bright:.0f}, limit {BLACK_LEVEL:.0f})"
    if dark > WHITE_LEVEL:
        return f"frame is blown out (95 % of pixels above grey level {dark:.0f}, limit {WHITE_LEVEL:.0f})"
    variance = float(grey.var())
    if variance < FLAT_DEVIATION**2:
        return f"frame shows one flat surface (grey deviation {variance**0.5:.1f}, limit {FLAT_DEVIATION:.0f})"
    smooth = cv2.GaussianBlur(grey, (0, 0), _EDGE_SIGMA)
    ratio = float(cv2.Laplacian(smooth, cv2.CV_32F).var()) / variance
    if ratio < BLUR_RATIO:
        return f"frame is blurred beyond use (edge share {ratio:.5f}, limit {BLUR_RATIO})"
    return None
