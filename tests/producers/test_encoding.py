"""From pictures to bytes."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from infra.errors import CameraError
from producers.encoding import Encoder
from producers.frame import EncodedImage, Picture, picture_of

PIXELS = np.random.default_rng(2).integers(0, 255, (60, 80, 3), np.uint8)


def test_encoded_images_are_untouched(jpegs: list[bytes]) -> None:
    """A JPEG that fits goes through byte for byte."""
    image = EncodedImage(jpegs[0], "image/jpeg", 160, 120)
    assert Encoder(jpeg_quality=10, max_width=None).encode(image) is image
    assert Encoder(jpeg_quality=10, max_width=160).encode(image) is image


def test_quality_is_obeyed() -> None:
    """Lower quality gives fewer bytes of the same size in pixels."""
    sizes = []
    for quality in (95, 40):
        image = Encoder(jpeg_quality=quality, max_width=None).encode(picture_of(PIXELS))
        assert (image.content_type, image.width, image.height) == ("image/jpeg", 80, 60)
        sizes.append(len(image.data))
    assert sizes[1] < sizes[0]


def test_wide_images_are_scaled_down(jpegs: list[bytes]) -> None:
    """Pictures and JPEGs over ``max_width`` come out at that width, in proportion."""
    encoder = Encoder(jpeg_quality=90, max_width=40)
    for image in (encoder.encode(picture_of(PIXELS)), encoder.encode(EncodedImage(jpegs[0], "image/jpeg", 160, 120))):
        assert (image.width, image.height) == (40, 30)
        assert cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR).shape == (30, 40, 3)


def test_scaling_turns_no_picture() -> None:
    """A JPEG with an orientation tag comes out lying as it is stored, as it does when it passes untouched."""
    stored = cv2.imencode(".jpg", PIXELS)[1].tobytes()
    tag = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, 6, 0)  # turn right by 90°
    turned = stored[:2] + b"\xff\xe1" + struct.pack(">H", len(tag) + 2) + tag + stored[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (80, 60, 3)
    image = Encoder(jpeg_quality=90, max_width=40).encode(EncodedImage(turned, "image/jpeg", 80, 60))
    assert (image.width, image.height) == (40, 30)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(EncodedImage(b"\xff\xd8 no jpeg", "image/jpeg", 160, 120), id="no-image"),
        pytest.param(Picture(160, 120, lambda: np.zeros((0, 0, 3), np.uint8)), id="empty"),
    ],
)
def test_picture_that_cannot_be_encoded_says_so(image: EncodedImage | Picture) -> None:
    """The library's error becomes one of ours."""
    with pytest.raises(CameraError, match="picture of 160x120 cannot be encoded"):
        Encoder(jpeg_quality=90, max_width=40).encode(image)
