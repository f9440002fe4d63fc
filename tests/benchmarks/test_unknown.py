"""What is measured of unknown frames."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import unknown
from benchmarks.unknown import main


def test_a_folder_without_pictures_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says which folder holds none, and what to name instead."""
    monkeypatch.setattr(sys, "argv", ["unknown.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main()
    told = capsys.readouterr().err
    assert f"{tmp_path / 'images'} holds no *.jpg" in told and "benchmarks/line/val" in told


def test_the_page_tells_the_command_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the options that it had, or its figures could not be made again."""
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "images/a.jpg"), pixels)
    monkeypatch.setattr(unknown, "SECONDS", 1)
    monkeypatch.setattr(sys, "argv", ["benchmarks/unknown.py", str(tmp_path), "--frames", "1", "--cameras", "1"])
    main()
    assert f"Made by `python benchmarks/unknown.py {tmp_path} --frames 1 --cameras 1`" in capsys.readouterr().out
