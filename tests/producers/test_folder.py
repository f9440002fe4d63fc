"""Folders of images as sources."""

from __future__ import annotations

import struct
from itertools import islice
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from infra.errors import CameraError
from producers.frame import EncodedImage, Picture
from producers.sources import open_source


def fill(folder: Path, **files: bytes) -> Path:
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def test_images_pass_through_byte_for_byte(tmp_path: Path, jpegs: list[bytes]) -> None:
    """JPEG and PNG files are published as they are, in the natural order of their names."""
    png = cv2.imencode(".png", np.zeros((30, 40, 3), np.uint8))[1].tobytes()
    fill(tmp_path, f10_jpg=jpegs[2], f2_JPG=jpegs[1], f1_jpeg=jpegs[0], g_png=png, notes_txt=b"?")
    shots = list(open_source(str(tmp_path), as_fast_as_possible=True).shots(Event()))
    images = [shot.image for shot in shots]
    assert all(isinstance(image, EncodedImage) for image in images)
    assert [image.data for image in images if isinstance(image, EncodedImage)] == [*jpegs[:3], png]
    assert [shot.index for shot in shots] == [0, 1, 2, 3]


def test_other_formats_are_decoded(tmp_path: Path) -> None:
    """A bitmap comes as pixels."""
    pixels = np.full((30, 40, 3), 90, np.uint8)
    fill(tmp_path, a_bmp=cv2.imencode(".bmp", pixels)[1].tobytes())
    (shot,) = open_source(str(tmp_path), as_fast_as_possible=True).shots(Event())
    assert isinstance(shot.image, Picture)
    np.testing.assert_array_equal(shot.image.bgr(), pixels)


def test_file_that_is_no_image_keeps_its_place(tmp_path: Path, jpegs: list[bytes]) -> None:
    """A broken file is a corrupt frame, not the end."""
    fill(tmp_path, a_jpg=jpegs[0], b_jpg=b"no image", c_jpg=jpegs[1], d_bmp=b"", e_jpg=jpegs[2][:-100])
    shots = list(open_source(str(tmp_path), as_fast_as_possible=True).shots(Event()))
    assert [shot.image is None for shot in shots] == [False, True, False, True, True]


def test_image_that_claims_a_huge_size_is_a_corrupt_frame(tmp_path: Path, jpegs: list[bytes]) -> None:
    """A bitmap whose header is damaged costs one frame, and not the camera."""
    bitmap = bytearray(cv2.imencode(".bmp", np.zeros((30, 40, 3), np.uint8))[1].tobytes())
    bitmap[18:26] = struct.pack("<ii", 2_000_000, 2_000_000)  # width and height
    fill(tmp_path, a_bmp=bytes(bitmap), b_jpg=jpegs[0])
    shots = list(open_source(str(tmp_path), as_fast_as_possible=True).shots(Event()))
    assert [shot.image is None for shot in shots] == [True, False]


def test_order_of_names_is_the_same_everywhere(
    tmp_path: Path, jpegs: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digits that are no numbers are letters, and names of equal numbers have an order of their own, whichever the
    file system lists first."""
    names = ["01.jpg", "1.jpg", "A2.jpg", "a2.jpg", "Öl 3.jpg", "1²2.jpg"]
    for data, name in zip([*jpegs, jpegs[0]], names, strict=True):
        (tmp_path / name).write_bytes(data)
    listed = list(tmp_path.iterdir())
    orders = []
    for there in (listed, listed[::-1]):
        monkeypatch.setattr(Path, "iterdir", lambda _, there=there: iter(there))
        shots = open_source(str(tmp_path), as_fast_as_possible=True).shots(Event())
        orders.append([shot.image.data for shot in shots if isinstance(shot.image, EncodedImage)])
    assert len(orders[0]) == len(names) and orders[0] == orders[1]


@pytest.mark.parametrize("loop", [False, True])
def test_folder_without_a_readable_image_says_so(tmp_path: Path, loop: bool) -> None:
    """A folder of which no image can be decoded does not pass for a short recording, nor is it played for ever."""
    fill(tmp_path, a_jpg=b"no image", b_png=b"")
    with pytest.raises(CameraError, match="none of its 2 images can be decoded"):
        list(open_source(str(tmp_path), loop=loop, as_fast_as_possible=True).shots(Event()))


def test_rate_is_the_setting_s(tmp_path: Path, jpegs: list[bytes]) -> None:
    """``fps`` is the rate at which a folder is played, through all rounds of a loop."""
    fill(tmp_path, a_jpg=jpegs[0], b_jpg=jpegs[1])
    source = open_source(str(tmp_path), fps=4, loop=True, as_fast_as_possible=True)
    times = [shot.captured_ns for shot in islice(source.shots(Event()), 5)]
    assert [time - times[0] for time in times] == [n * 250_000_000 for n in range(5)]


def test_folder_without_images_says_so(tmp_path: Path) -> None:
    """The error names the folder and the endings that are read."""
    fill(tmp_path, a_txt=b"")
    with pytest.raises(CameraError, match=r"cannot open folder .*: it holds no image \(.bmp, .jpeg, .jpg"):
        list(open_source(str(tmp_path)).shots(Event()))
