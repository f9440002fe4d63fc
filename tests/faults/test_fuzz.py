"""Broken inputs in small numbers; `python -m tests.faults.fuzz` sends ten thousand."""

from __future__ import annotations

import pytest

from tests.consumers.grounding.conftest import Line, line
from tests.faults.fuzz import run_fuzz

__all__ = ["line"]


@pytest.mark.timeout(300)
def test_broken_inputs_are_counted_and_kept(line: Line) -> None:  # the fixture of that name
    """No crash, no stuck partition: each input has one fate, refused ones are kept, good ones are judged."""
    outcome = run_fuzz(line, 400, seed=1)
    assert outcome.fault is None, outcome
    assert outcome.rejected > 100
    assert outcome.scored > outcome.good_sent
