"""What the tiles benchmark counts as a false alarm, and as found."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tiles import PICTURES, alarms, pictures_of, render_frames
from consumers.grounding.findings import Finding
from infra.contracts import State

BOLT = (0.1, 0.1, 0.2, 0.2)
SEEN, NOT_SEEN = Finding(State.PRESENT, 0.9, (BOLT,), (0.9,)), Finding(State.ABSENT, 0.1)


def test_without_cases_there_is_no_share() -> None:
    """A dash, not a division by nothing."""
    assert alarms("bolt", [], []) == ("–", "–")


def test_each_picture_counts_once_and_only_for_its_own_text() -> None:
    """False where it shows none; found where a box lies on a target."""
    cases = [(0, "bolt", []), (1, "bolt", []), (2, "bolt", [BOLT]), (3, "bolt", [(0.5, 0.5, 0.6, 0.6)]), (0, "cap", [])]
    answers = [{"bolt": one, "cap": SEEN} for one in (SEEN, NOT_SEEN, SEEN, SEEN)]
    assert alarms("bolt", cases, answers) == ("50.0 % of 2", "50.0 % of 2")


@pytest.mark.parametrize("count", [3, 7])
def test_pictures_are_spread_and_have_their_truth(count: int) -> None:
    """No more than asked for; boxes are in shares of the picture."""
    pictures, cases = pictures_of(Path(__file__).parents[2] / PICTURES, count)
    assert len(pictures) == count
    assert {number for number, _, _ in cases} <= set(range(count))
    assert all(0 <= side <= 1 for _, _, boxes in cases for box in boxes for side in box)


def test_frames_of_another_seed_are_not_taken_for_these(tmp_path: Path) -> None:
    """They lie in the folder under the same names."""
    (tmp_path / "000.json").write_text('{"seed": 106}')
    render_frames(tmp_path, 1, 106)
    with pytest.raises(SystemExit, match=r"000\.json is of another seed than 107; name another folder with --work"):
        render_frames(tmp_path, 1, 107)
