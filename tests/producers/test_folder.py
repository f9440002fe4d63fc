"""Folders of images as sources."""

from __future__ import annotations

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
