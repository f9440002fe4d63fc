"""Size and completeness of JPEG and PNG bytes, read from their headers without decoding a pixel."""

from __future__ import annotations

import struct

from producers.frame import EncodedImage

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_FRAME_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}


def read_image(data: bytes) -> EncodedImage | None:
    """A complete JPEG or PNG → the image with its size in pixels; None for anything else or anything cut short.

    A JPEG without Huffman tables (Motion-JPEG's abbreviated form, which most programs cannot open) counts as
    incomplete. Damage inside the compressed pixels is not looked for: the worker meets it when it decodes.
    Source: ITU-T T.81 annex B; PNG specification, chunk layout.
    """
    if data.startswith(_PNG):
        return _read_png(data)
    if data.startswith(b"\xff\xd8"):
        return _read_jpeg(data)
    return None


def _read_png(data: bytes) -> EncodedImage | None:
    if len(data) < 33 or data[12:16] != b"IHDR" or data.rfind(_PNG_END) < 33:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return EncodedImage(data, "image/png", width, height) if width and height else None


def _read_jpeg(data: bytes) -> EncodedImage | None:
    size: tuple[int, int] | None = None
    tables = False
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _BARE_MARKERS:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xC4:
            tables = True
        elif marker in _FRAME_MARKERS and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = width, height
        elif marker == 0xDA:
            ended = data.rfind(b"\xff\xd9") > at + 2 + length
            if size is None or not all(size) or not tables or not ended:
                return None
            return EncodedImage(data, "image/jpeg", *size)
        at += 2 + length
    return None
