"""The rendered line as a source."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from threading import Event

import pytest

from infra.errors import CameraError
from producers.frame import Shot
from producers.sources import open_source


def test_passes_follow_each_other_for_ever(clip: Callable[..., Path], drawn: Callable[[Shot], int | None]) -> None:
    """Passes play in the order of their names, over and over, numbered on as one camera."""
    clip(3, name="line/pass_00.mp4", first=0)
    folder = clip(2, name="line/pass_01.mp4", first=10).parent
    source = open_source(f"line:{folder}", as_fast_as_possible=True)
    shots = list(islice(source.shots(Event()), 8))
    assert [drawn(shot) for shot in shots] == [0, 1, 2, 10, 11, 0, 1, 2]
    assert source.live and {shot.index for shot in shots} == {None}
    gaps = [b.captured_ns - a.captured_ns for a, b in pairwise(shots)]
    assert {round(gap / 1e6) for gap in gaps} == {100}


def test_folder_without_passes_says_so(tmp_path: Path) -> None:
    """The error names the folder and what was looked for."""
    with pytest.raises(CameraError, match=r"holds no pass_\*\.mp4"):
        next(iter(open_source(f"line:{tmp_path}").shots(Event())))
