"""Epochs and sequences."""

from __future__ import annotations

from producers.frame import Shot
from producers.numbering import Numbering


def test_live_frames_are_numbered_on() -> None:
    """A live source's frames count from 0 in one epoch."""
    numbering = Numbering("e")
    assert [numbering.number(Shot(1, None)) for _ in range(3)] == [("e", 0), ("e", 1), ("e", 2)]


def test_recorded_frames_keep_their_index() -> None:
    """Each playing of a file is an epoch of its own, in which the sequence is the index in the file."""
    numbering = Numbering("e")
    shots = [Shot(1, None, index, playing) for playing in range(2) for index in range(2)]
    assert [numbering.number(shot) for shot in shots] == [("e", 0), ("e", 1), ("e.1", 0), ("e.1", 1)]


def test_new_run_is_a_new_epoch() -> None:
    """Two runs never share their numbers by chance."""
    assert Numbering().number(Shot(1, None)) != Numbering().number(Shot(1, None))
