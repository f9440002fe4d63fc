"""What all benchmarks share: pages, and numbers of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.measure import positive, write


def test_results_are_shown_where_the_page_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An hour of measuring is not lost."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write(tmp_path / "file/page.md", ["a", "b"])
    assert capsys.readouterr().out == "a\nb\n"


@pytest.mark.parametrize("text", ["0", "-3"])
def test_numbers_that_leave_nothing_to_measure_are_refused(text: str) -> None:
    """Before anything is measured, not by a median of nothing after it."""
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is too few; give 1 or more"):
        positive(text)
    assert positive("1") == 1
