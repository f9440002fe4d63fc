"""The sums over frames always match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.grounding.ledger import Ledger, Totals
from tests.consumers.grounding.colour import ColourEngine
from tests.consumers.grounding.conftest import Line

fates = st.sampled_from(["open", "scored", "behind", "expired", "corrupt_image"])


def test_empty_ledger_is_balanced() -> None:
    """Before the first frame all counts are zero."""
    assert Ledger().totals() == Totals()
    assert Totals().balanced


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), fates)))
def test_every_frame_has_one_fate(frames: list[tuple[str, str]]) -> None:
    """fetched = scored + skipped + rejected + in flight after every single event, and per camera."""
    ledger = Ledger()
    for number, (camera, fate) in enumerate(frames):
        ledger.fetched(camera, (0, number))
        assert ledger.totals().balanced
        if fate == "scored":
            ledger.scored(camera, (0, number))
        elif fate == "corrupt_image":
            ledger.rejected(camera, (0, number), fate)
        elif fate != "open":
            ledger.skipped(camera, (0, number), fate)  # type: ignore[arg-type] # one of the reasons
        assert ledger.totals().balanced
    assert ledger.totals().in_flight == sum(fate == "open" for _, fate in frames)
    assert ledger.totals("a").fetched == sum(camera == "a" for camera, _ in frames)


def test_no_frame_ends_twice() -> None:
    """A second fate for the same frame is a fault of ours and says so."""
    ledger = Ledger()
    ledger.fetched("a", (0, 1))
    ledger.scored("a", (0, 1))
    with pytest.raises(AssertionError, match="ends twice"):
        ledger.skipped("a", (0, 1), "behind")


def test_sums_match_at_any_moment_under_load(line: Line) -> None:
    """While frames stream in faster than they are scored, every look at the counts finds them balanced."""
    line.add("red")
    worker = line.start(ColourEngine(seconds_per_batch=0.02), freshness="latest", batch_size=2)
    cameras = [line.camera(f"c-{number}") for number in range(4)]
    sent = 0
    for _ in range(40):
        for camera in cameras:
            camera.send("red")
            sent += 1
            assert worker.totals.balanced
    line.wait_for_frames(worker, sent)
    totals = worker.totals
    assert totals.fetched == sent == totals.scored + totals.skipped["behind"]
    line.until(lambda: len(line.detections()) == totals.scored)
