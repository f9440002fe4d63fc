"""The pictures that go with an alert: the frame as the camera sent it, and a crop of what was found."""

from __future__ import annotations

import cv2
import numpy as np

from consumers.grounding.decode import in_full
from consumers.grounding.frames import Frame, Picture, Pixels
from consumers.grounding.work import Outgoing
from infra.contracts import Alert, AlertState, Box
from infra.topics import MAX_MESSAGE_BYTES

CROP_MARGIN = 0.5
"""Surroundings shown around the boxes, as a share of their size."""

MIN_CROP_PX = 96


def pictures_of(alert: Alert, picture: Picture, quality: int) -> list[Outgoing]:
    """The frame, to which the alert refers, and what was found on it.

    Only where it was raised on this frame: what operators do to it later does not change what was seen.
    """
    if alert.state is not AlertState.RAISED or alert.frame != picture.frame.place:
        return []
    pixels = in_full(picture)
    pictures = {
        "frame": frame_jpeg(picture.frame, pixels, quality, MAX_MESSAGE_BYTES),
        "crop": crop_jpeg(pixels, alert.boxes, quality),
    }
    return [
        Outgoing.image(
            "evidence",
            key=alert.id,
            value=jpeg,
            id=f"{alert.id}/{alert.number}/{part}",
            source=f"/cameras/{alert.camera}",
            part=part,
        )
        for part, jpeg in pictures.items()
        if jpeg is not None
    ]


def frame_jpeg(frame: Frame, pixels: Pixels, quality: int, max_bytes: int) -> bytes:
    """The frame as JPEG: the camera's own bytes where they are one and fit, else encoded, smaller until they fit."""
    if frame.header.content_type == "image/jpeg" and len(frame.image) <= max_bytes:
        return frame.image
    encoded = jpeg(pixels, quality)
    while len(encoded) > max_bytes and min(pixels.shape[:2]) > 64:
        pixels = np.asarray(cv2.resize(pixels, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), np.uint8)
        encoded = jpeg(pixels, quality)
    return encoded


def crop_jpeg(pixels: Pixels, boxes: tuple[Box, ...], quality: int) -> bytes | None:
    """What the boxes (xyxy, normalised) enclose together, with some surroundings; None without boxes."""
    if not boxes:
        return None
    height, width = pixels.shape[:2]
    left, top = min(b[0] for b in boxes) * width, min(b[1] for b in boxes) * height
    right, bottom = max(b[2] for b in boxes) * width, max(b[3] for b in boxes) * height
    dx = max((right - left) * CROP_MARGIN, (MIN_CROP_PX - (right - left)) / 2)
    dy = max((bottom - top) * CROP_MARGIN, (MIN_CROP_PX - (bottom - top)) / 2)
    x0, y0 = max(int(left - dx), 0), max(int(top - dy), 0)
    x1, y1 = min(int(right + dx) + 1, width), min(int(bottom + dy) + 1, height)
    return jpeg(pixels[y0:y1, x0:x1], quality)


def jpeg(pixels: Pixels, quality: int) -> bytes:
    """Pixels → JPEG bytes."""
    done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "an 8-bit picture can always be encoded as JPEG"
    return encoded.tobytes()
