"""Broken inputs in small numbers; `python -m tests.faults.fuzz` sends ten thousand."""

from __future__ import annotations

import pytest

from tests.consumers.grounding.conftest import Line, line
from tests.faults.fuzz import run_fuzz

__all__ = ["line"]


@pytest.mark.timeout(300)
def test_broken_inputs_are_counted_and_kept(line: Line) -> None:  # the fixture of that name
    """No crash, no stuck partition, no thread that ended: each input has one fate, refused frames are kept, readable
    actions and good queries hold, good frames are judged."""
    outcome = run_fuzz(line, 400, seed=1)
    assert outcome.fault is None, outcome
    assert outcome.rejected > 100
    assert outcome.scored > outcome.good_sent and outcome.unknown > 0
    assert outcome.actions_read > 0 and outcome.actions_refused > 0
    assert outcome.queries_used > 0 and outcome.queries_refused > 0
