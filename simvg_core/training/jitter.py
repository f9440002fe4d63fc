"""Large-scale jitter: a picture is made coarser, or a part of it is cut out.

Part of the paper's training (arXiv 2409.17531, section 4.1). The name and the idea are those of "Simple Copy-Paste"
(arXiv 2012.07177); how windows are drawn and judged follows the published code of SimVG, which has it from SeqTR (arXiv
2203.16265).

A scale is drawn. Below 1 the picture is reduced to that share of the network's side (the resize to the network's input
brings it back, so what changes is its sharpness). Above 1 a window of 1 / scale of both sides is cut out, so that
everything in it grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from simvg_core.images import Frame
from simvg_core.training.fields import Count, Share, Span, check

Boxes = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class JitterSettings:
    """How far pictures are scaled.

    Args:
        scale: lowest and highest, drawn evenly.
        keep: shares of every target's area that a window should keep; the first that `tries` windows reach counts.
        keep_at_least: where none is reached, the best window must keep this, else the picture stays whole.
        tries: windows per share of `keep`.

    Raises:
        ConfigurationError: a value of another type or out of range.
    """

    scale: Span = (0.3, 1.4)
    keep: tuple[Share, ...] = (0.9, 0.8, 0.7, 0.6, 0.5)
    keep_at_least: Share = 0.3
    tries: Count = 100

    def __post_init__(self) -> None:
        check(self)


def jitter(
    frame_bgr: Frame, boxes_xyxy_px: Boxes, size: int, settings: JitterSettings, rng: np.random.Generator
) -> tuple[Frame, Boxes]:
    """(H, W, 3) and its targets (n, 4), n may be 0 → the jittered picture and where the targets are in it.

    `size` is the side of the network's input in pixels. Targets are clipped to the picture.
    """
    height, width = frame_bgr.shape[:2]
    scale = float(rng.uniform(*settings.scale))
    if scale <= 1:
        return _coarser(frame_bgr, boxes_xyxy_px, scale * size / max(height, width))
    window = window_of(boxes_xyxy_px, width, height, scale, settings, rng)
    if window is None:
        return frame_bgr, boxes_xyxy_px
    left, top, right, bottom = window
    low, high = np.array([left, top] * 2, np.float32), np.array([right, bottom] * 2, np.float32)
    return frame_bgr[top:bottom, left:right], np.clip(boxes_xyxy_px, low, high) - low


def _coarser(frame_bgr: Frame, boxes_xyxy_px: Boxes, factor: float) -> tuple[Frame, Boxes]:
    height, width = frame_bgr.shape[:2]
    shape = max(1, round(width * factor)), max(1, round(height * factor))
    small: Any = cv2.resize(frame_bgr, shape, interpolation=cv2.INTER_LINEAR)
    ratio = np.array([shape[0] / width, shape[1] / height] * 2, np.float32)
    return cast(Frame, small), boxes_xyxy_px * ratio


def window_of(
    boxes_xyxy_px: Boxes, width: int, height: int, scale: float, settings: JitterSettings, rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """A window (left, top, right, bottom) in pixels that keeps the targets as `settings` say; None = there is none."""
    w, h = max(1, round(width / scale)), max(1, round(height / scale))
    best: tuple[float, tuple[int, int, int, int]] | None = None
    for wanted in settings.keep:
        lefts = rng.integers(0, width - w + 1, settings.tries)
        tops = rng.integers(0, height - h + 1, settings.tries)
        windows = np.stack([lefts, tops, lefts + w, tops + h], axis=1)
        kept = kept_share(windows, boxes_xyxy_px)
        place = int(np.argmax(kept >= wanted)) if (kept >= wanted).any() else int(kept.argmax())
        if best is None or kept[place] > best[0]:
            left, top, right, bottom = windows[place].tolist()
            best = float(kept[place]), (left, top, right, bottom)
        if best[0] >= wanted:
            return best[1]
    return best[1] if best is not None and best[0] >= settings.keep_at_least else None


def kept_share(windows: NDArray[np.int64], boxes_xyxy_px: Boxes) -> NDArray[np.float64]:
    """(m, 4) windows and (n, 4) boxes → (m,) the smallest share of a box's area that is inside; 1 without boxes."""
    low = np.maximum(windows[:, None, :2], boxes_xyxy_px[None, :, :2])
    high = np.minimum(windows[:, None, 2:], boxes_xyxy_px[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=2)
    areas = (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).prod(axis=1)
    shares: NDArray[np.float64] = (inside / np.maximum(areas, 1e-9)).min(axis=1, initial=1.0)
    return shares
