"""Image files: sizes from headers, and what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from simvg_core.errors import ConfigurationError
from simvg_core.training.sets.errors import SetNotFoundError
from simvg_core.training.sets.pictures import Picture, check_pictures, find_images, image_size, with_pictures
from simvg_core.training.sets.sample import Sample

Write = Callable[..., Path]


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
def test_size_is_that_of_the_pixels(suffix: str, tmp_path: Path, write_image: Write) -> None:
    """Width before height, for each kind of file."""
    assert image_size(write_image(tmp_path / f"a.{suffix}", 31, 17)) == (31, 17)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_image_has_the_size_that_opencv_gives_it(orientation: int, suffix: str, tmp_path: Path) -> None:
    """Phones store pictures lying down; boxes are in pixels of the upright one."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (31, 17)).save(path, exif=exif)
    pixels = cv2.imread(str(path))
    assert pixels is not None
    assert image_size(path) == (pixels.shape[1], pixels.shape[0])


def test_whole_pictures_are_no_problem(tmp_path: Path, write_image: Write) -> None:
    """Nothing to report, not even when decoding."""
    picture = Picture("1", write_image(tmp_path / "a.jpg"), 40, 30)
    assert check_pictures([], decode=True) == []
    assert check_pictures([picture], decode=True) == []


def test_broken_pictures_are_named_in_order(tmp_path: Path, write_image: Write) -> None:
    """Missing, no image, empty, of another size."""
    (tmp_path / "text.jpg").write_text("no image", encoding="utf-8")
    (tmp_path / "empty.jpg").touch()
    pictures = [
        Picture("1", tmp_path / "missing.jpg", 40, 30),
        Picture("2", tmp_path / "text.jpg", 40, 30),
        Picture("3", tmp_path / "empty.jpg", 40, 30),
        Picture("4", write_image(tmp_path / "a.jpg", 30, 40), 40, 30),
    ]
    problems = check_pictures(pictures)
    assert [problem.record for problem in problems] == ["image 1", "image 2", "image 3", "image 4"]
    whats = ["is missing", "is unreadable", "is unreadable", "is 30×40, its annotation says 40×30"]
    assert all(what in problem.what for what, problem in zip(whats, problems, strict=True))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_picture_that_was_cut_off_is_found_by_its_end(suffix: str, tmp_path: Path, write_image: Write) -> None:
    """Without decoding it: its header is whole, but it has no end mark."""
    path = write_image(tmp_path / f"a.{suffix}", 400, 300)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    (problem,) = check_pictures([Picture("1", path, 400, 300)])
    assert "is cut off: it has no " in problem.what


def test_harm_between_header_and_end_is_found_by_decoding(tmp_path: Path) -> None:
    """Which the quick check passes."""
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(300) + whole[500:])
    picture = Picture("1", path, 40, 30)
    assert check_pictures([picture]) == []
    (problem,) = check_pictures([picture], decode=True)
    assert "cannot be decoded" in problem.what


def test_samples_of_broken_pictures_are_left_out_and_told(
    tmp_path: Path, write_image: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """With their number and the first picture's fault; none are none."""
    whole, other = write_image(tmp_path / "a.jpg"), write_image(tmp_path / "b.jpg", 30, 40)
    paths = [whole, other, other, tmp_path / "gone.jpg"]
    samples = [
        Sample(id=str(n), image=path, image_id=path.stem, text="cap", boxes_xyxy_px=(), width=40, height=30)
        for n, path in enumerate(paths)
    ]
    assert with_pictures([], "mine") == ([], 0)
    assert with_pictures(samples[:1], "mine") == (samples[:1], 0)
    assert not caplog.messages
    assert with_pictures(samples, "mine") == (samples[:1], 3)
    (told,) = caplog.messages
    assert told.startswith("mine: 3 expressions about 2 images are left out, the first: image b: ")
    assert "is 30×40, its annotation says 40×30" in told


def test_checks_without_pillow_name_it(tmp_path: Path, write_image: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes with what a training needs."""
    picture = Picture("1", write_image(tmp_path / "a.jpg"), 40, 30)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(
        ConfigurationError, match=r"PIL, which is not installed; run `pip install 'simvg-line\[train\]'"
    ):
        check_pictures([picture])


def test_first_folder_with_an_image_is_taken(tmp_path: Path, write_image: Write) -> None:
    """Empty folders, and such with other images, are passed over; a few lost images do no harm."""
    (tmp_path / "one").mkdir()
    write_image(tmp_path / "two/other.jpg")
    write_image(tmp_path / "three/b.jpg")
    folders = [tmp_path / name for name in ("none", "one", "two", "three")]
    assert find_images(["a.jpg", "b.jpg"], folders) == tmp_path / "three"


def test_images_that_are_nowhere_are_named(tmp_path: Path) -> None:
    """With the folders that were looked in."""
    with pytest.raises(SetNotFoundError, match=r"a\.jpg.*looked in .*one, .*two.*--images DIR"):
        find_images(["a.jpg"], [tmp_path / "one", tmp_path / "two"])
