"""Sizes and completeness of encoded images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.image_header import read_image

PIXELS = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)


def encoded(ending: str, *options: int) -> bytes:
    return bytes(cv2.imencode(ending, PIXELS, list(options))[1].tobytes())


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(encoded(".jpg"), "image/jpeg", id="baseline"),
        pytest.param(encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "image/jpeg", id="progressive"),
        pytest.param(encoded(".jpg") + bytes(16), "image/jpeg", id="padded"),
        pytest.param(encoded(".png"), "image/png", id="png"),
    ],
)
def test_complete_image_is_recognised(data: bytes, kind: str) -> None:
    """Type and size come from the header, the bytes stay the same."""
    image = read_image(data)
    assert image is not None
    assert (image.content_type, image.width, image.height, image.data) == (kind, 64, 48, data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"GIF89a" + bytes(40), id="other-format"),
        pytest.param(encoded(".jpg")[:-200], id="jpeg-cut-short"),
        pytest.param(encoded(".png")[:-20], id="png-cut-short"),
        pytest.param(b"\xff\xd8\xff", id="jpeg-start-only"),
    ],
)
def test_incomplete_image_is_refused(data: bytes) -> None:
    """What other programs could not open is not passed through."""
    assert read_image(data) is None


def test_jpeg_without_huffman_tables_is_refused() -> None:
    """Motion-JPEG's abbreviated form must be decoded and encoded again."""
    data = encoded(".jpg")
    while (at := data.find(b"\xff\xc4")) >= 0:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        data = data[:at] + data[at + 2 + length :]
    assert read_image(data) is None


@given(st.binary(max_size=200).map(lambda tail: b"\xff\xd8" + tail))
def test_any_bytes_are_survived(data: bytes) -> None:
    """Garbage behind a JPEG's first bytes never raises."""
    read_image(data)
