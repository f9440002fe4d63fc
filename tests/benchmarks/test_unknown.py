"""What is measured of unknown frames."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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
