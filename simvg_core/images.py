"""Camera frames as arrays: any kind to BGR, and to the model's size. NumPy and OpenCV only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from simvg_core.errors import ImageError

Frame = NDArray[np.uint8]
TRAILER_BYTES = 1024
"""So far before a file's end may its end mark stand: cameras may pad behind it."""
_ENDS = {b"\xff\xd8": ("JPEG", b"\xff\xd9"), b"\x89PNG": ("PNG", b"IEND")}
# OpenCV's stubs know no dtypes, so its results pass through Any.


def as_bgr(frame: Any) -> Frame:
    """Any frame a camera gives → (H, W, 3) uint8 BGR.

    Greyscale (H, W) or (H, W, 1) is repeated into three channels, an alpha channel is dropped, 16-bit values are
    scaled to 8 bits (65535 → 255).

    Raises:
        ImageError: not an array, another dtype, another number of channels, or no pixels.
    """
    if not isinstance(frame, np.ndarray):
        raise ImageError(f"a frame is a {type(frame).__name__}; pass a numpy array (height, width, 3), uint8 BGR.")
    if frame.dtype == np.uint16:
        frame = (frame / 257.0 + 0.5).astype(np.uint8)
    if frame.dtype != np.uint8:
        raise ImageError(f"a frame has dtype {frame.dtype}; convert it to uint8 (0 … 255) or uint16 (0 … 65535).")
    if frame.ndim == 2:
        frame = frame[:, :, None]
    if frame.ndim != 3 or frame.shape[2] not in (1, 3, 4) or 0 in frame.shape:
        raise ImageError(f"a frame has shape {frame.shape}; pass (height, width) or (height, width, 1, 3 or 4).")
    if frame.shape[2] == 1:
        return cast(Frame, np.repeat(frame, 3, axis=2))
    return cast(Frame, frame[:, :, :3])


def cut_off(head: bytes, tail: bytes) -> str | None:
    """The kind of a file that lacks its end mark, by its first four bytes and its last `TRAILER_BYTES`; None where it
    has one, or is of a kind without."""
    return next((kind for begin, (kind, end) in _ENDS.items() if head.startswith(begin) and end not in tail), None)


def read_frame(path: Path) -> Frame:
    """A picture file → (H, W, 3) uint8 BGR, upright as its orientation tag says.

    Raises:
        ImageError: no such file, no picture that OpenCV reads, or one that is cut off: what lacks of a JPEG would be
            grey.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror}); give a JPEG or PNG file.") from error
    if (kind := cut_off(data[:4], data[-TRAILER_BYTES:])) is not None:
        raise ImageError(f"{path} is cut off ({len(data)} bytes without a {kind}'s end mark); copy it again.")
    try:
        frame: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise ImageError(f"{path} cannot be decoded ({error.err}); give a smaller or another picture.") from error
    if frame is None:
        raise ImageError(
            f"{path} is not a picture that OpenCV reads ({len(data)} bytes, they begin {data[:8]!r}); give a JPEG or "
            "PNG file."
        )
    return cast(Frame, frame)


def resize(frame_bgr: Frame, size: int, how: str) -> Frame:
    """(H, W, 3) → (size, size, 3); the aspect ratio is not kept, as in the paper. `how` is `SimVGConfig.resize`."""
    smaller = frame_bgr.shape[0] >= size and frame_bgr.shape[1] >= size
    frame_bgr = np.ascontiguousarray(frame_bgr)
    if how == "area" and smaller:
        return shrunk(frame_bgr, size, size)
    return cast(Frame, cv2.resize(frame_bgr, (size, size), interpolation=cv2.INTER_LINEAR))


def shrunk(picture: Frame, width: int, height: int) -> Frame:
    """(H, W) or (H, W, 3), no smaller than asked for → mean values of areas, `height` rows of `width`.

    Halved first: OpenCV has fast code for the mean of 2×2 pixels and none for other areas. 1920×1080 to 320×320 takes
    3 ms that way, 6 to 10 at once; the pixels differ by 0.15 grey levels on average, by up to 5 at edges. What then has
    twice the columns, and rows as in `_in_pairs`, goes without OpenCV's code for any area, too: within one grey level,
    a quarter of one brighter on average; 0.4 ms in place of 1.0 for 640×480.
    """
    shown: Any = halved(picture, width, height)
    rows, columns = shown.shape[:2]
    if columns == 2 * width and rows > height and _in_pairs(rows, height):
        shown = _rows_of_pairs(shown, height)
        return cast(Frame, cv2.resize(shown, (width, height), interpolation=cv2.INTER_LINEAR))  # means of two
    if (rows, columns) != (height, width):
        shown = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA)
    return cast(Frame, shown)


def halved(picture: Frame, width: int, height: int) -> Frame:
    """(H, W) or (H, W, 3) → as often halved as it can be without rounding, and without getting smaller than `height`
    rows of `width`: the first step of `shrunk`, which makes of the result what it makes of the picture."""
    shown: Any = picture
    rows, columns = picture.shape[:2]
    for _ in range(halvings(rows, columns, height, width)):
        rows, columns = rows // 2, columns // 2
        shown = cv2.resize(shown, (columns, rows), interpolation=cv2.INTER_AREA)
    return cast(Frame, shown)


def _in_pairs(rows: int, height: int) -> bool:
    """Whether every row of the result lies in two of the source, with few pairs of weights: 3 rows for 2, 9 for 8 …"""
    return rows - height == math.gcd(rows, height) and height <= 16 * (rows - height)


def _rows_of_pairs(picture: Any, height: int) -> Any:
    """(H, W) or (H, W, 3) → `height` rows, means of areas; `_in_pairs` must hold."""
    rows = picture.shape[0]
    groups = rows - height  # each has one row more than its result
    given = picture.reshape(groups, rows // groups, -1)
    made = np.empty((groups, height // groups, given.shape[2]), np.uint8)
    for row in range(made.shape[1]):
        first = (made.shape[1] - row) / given.shape[1]
        cv2.addWeighted(given[:, row], first, given[:, row + 1], 1 - first, 0, dst=made[:, row])
    return made.reshape(height, *picture.shape[1:])


def halvings(rows: int, columns: int, height: int, width: int) -> int:
    """How often a picture can be halved before its sides are odd, or smaller than asked for."""
    count = 0
    while rows % 2 == 0 and columns % 2 == 0 and rows >= 2 * height and columns >= 2 * width:
        rows, columns, count = rows // 2, columns // 2, count + 1
    return count
