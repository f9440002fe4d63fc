"""Box geometry on NumPy arrays, for what runs without torch; conventions as in `boxes.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def cxcywh_to_xyxy(boxes: Floats) -> Floats:
    """(..., 4) centre and size → (..., 4) corners, same unit."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def xyxy_to_cxcywh(boxes: Floats) -> Floats:
    """(..., 4) corners → (..., 4) centre and size, same unit."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=-1)
