"""What an edge box must hold, as it is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.edge import megabytes, sizes


def test_an_empty_folder_weighs_nothing(tmp_path: Path) -> None:
    """No file, no byte."""
    assert megabytes(tmp_path) == 0


def test_links_are_not_counted_twice(tmp_path: Path) -> None:
    """An environment links its interpreter."""
    (tmp_path / "a").write_bytes(b"x" * 1000)
    (tmp_path / "b").symlink_to("a")
    assert megabytes(tmp_path) == pytest.approx(0.001)


def test_bundled_libraries_count_as_their_package(tmp_path: Path) -> None:
    """`av.libs` is a part of `av`; the largest package comes first."""
    packages = tmp_path / "lib/python3.11/site-packages"
    for name, size in (("numpy", 10), ("av", 5), ("av.libs", 20), ("cv2", 1), ("opencv_python_headless.libs", 40)):
        (packages / name).mkdir(parents=True)
        (packages / name / "file").write_bytes(b"x" * size)
    (packages / "av-1.dist-info").mkdir()
    assert {name: round(size * 1e6) for name, size in sizes(tmp_path).items()} == {"cv2": 41, "av": 25, "numpy": 10}
    assert list(sizes(tmp_path)) == ["cv2", "av", "numpy"]
