"""From a captured picture to the bytes that are published."""

from __future__ import annotations

import cv2
import numpy as np

from infra.errors import CameraError
from producers.decoding import decode
from producers.frame import EncodedImage, Picture, Pixels


class Encoder:
    """Passes JPEG and PNG through untouched, encodes the rest as JPEG; scales down what is wider than ``max_width``."""

    def __init__(self, *, jpeg_quality: int, max_width: int | None) -> None:
        self._quality = jpeg_quality
        self._max_width = max_width

    def encode(self, image: EncodedImage | Picture) -> EncodedImage:
        """Raises CameraError for a picture that cannot be decoded, scaled or encoded."""
        fits = self._max_width is None or image.width <= self._max_width
        if isinstance(image, EncodedImage) and fits:
            return image
        try:
            pixels = self._scaled(_pixels(image))
            done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        except (cv2.error, ValueError, MemoryError) as error:
            raise CameraError(f"picture of {image.width}x{image.height} cannot be encoded: {error}") from error
        if not done:
            raise CameraError(f"picture of {image.width}x{image.height} cannot be encoded as JPEG")
        return EncodedImage(data.tobytes(), "image/jpeg", pixels.shape[1], pixels.shape[0])

    def _scaled(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        if self._max_width is None or width <= self._max_width:
            return pixels
        size = self._max_width, max(1, round(height * self._max_width / width))
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _pixels(image: EncodedImage | Picture) -> Pixels:
    if isinstance(image, Picture):
        return image.bgr()
    pixels = decode(image.data)
    if pixels is None:
        raise ValueError("its bytes are no image")
    return pixels
