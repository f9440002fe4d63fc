"""The sums over frames always match."""

from __future__ import annotations

import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from consumers.grounding.ledger import Ledger, Totals
from infra.telemetry import start_metrics
from tests.consumers.grounding.colour import HeldEngine
from tests.consumers.grounding.conftest import Line

FATES = ("scored", "skipped", "rejected", "in_flight")

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
        assert ledger.totals().balanced and ledger.totals("a").balanced and ledger.totals("b").balanced
    assert ledger.totals().in_flight == sum(fate == "open" for _, fate in frames)
    assert ledger.totals("a").in_flight == sum(found == ("a", "open") for found in frames)
    assert ledger.cameras_in_flight() == {camera for camera, fate in frames if fate == "open"}
    assert ledger.totals("a").fetched == sum(camera == "a" for camera, _ in frames)


def test_no_frame_ends_twice() -> None:
    """A second fate for the same frame is a fault of ours and says so."""
    ledger = Ledger()
    ledger.fetched("a", (0, 1))
    ledger.scored("a", (0, 1))
    with pytest.raises(AssertionError, match="ends twice"):
        ledger.skipped("a", (0, 1), "behind")


def _scraped(port: int) -> dict[str, dict[str, float]]:
    """Per camera, what /metrics tells of the frames that a worker has read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found: dict[str, dict[str, float]] = {}
    for sample in (sample for family in families for sample in family.samples):
        name = sample.name.removeprefix("simvg_worker_frames_").removesuffix("_total")
        if sample.name.startswith("simvg_worker_frames_") and name in (*FATES, "fetched"):
            counts = found.setdefault(sample.labels["camera"], dict.fromkeys((*FATES, "fetched"), 0.0))
            counts[name] += sample.value
    return found


def _balanced(counts: dict[str, float]) -> bool:
    return counts["fetched"] == sum(counts[fate] for fate in FATES)


def test_scraped_sums_match_for_each_camera(line: Line) -> None:
    """With frames in the model's hands and without: what one camera sent is not made up for by another's."""
    line.add("red", cameras=("s-1", "s-2"))
    engine = HeldEngine()
    worker = line.start(engine, batch_size=2, time_budget=None)
    sent = {"s-1": 5, "s-2": 2, "s-3": 3}  # nobody watches the last
    for name, count in sent.items():
        camera = line.camera(name)
        for _ in range(count):
            camera.send("red")
    line.camera("s-1", "e2").send(image=b"no picture")
    with start_metrics(0) as metrics:
        line.until(lambda: worker.totals.fetched == sum(sent.values()) + 1 and engine.held.is_set())
        for held in (True, False):
            line.until(lambda: all(_balanced(counts) for counts in _scraped(metrics.port).values()))
            counts = {name: _scraped(metrics.port)[name] for name in sent}
            assert [counts[name]["fetched"] for name in sent] == [6, 2, 3]
            assert held == (sum(one["in_flight"] for one in counts.values()) > 0)
            engine.go.set()
            line.wait_for_frames(worker, sum(sent.values()) + 1)
    assert counts["s-1"]["rejected"] == 1
    assert [counts[name]["scored"] for name in sent] == [5, 2, 0]
    assert [counts[name]["skipped"] for name in sent] == [0, 0, 3]


def test_sums_match_at_any_moment_under_load(line: Line) -> None:
    """While frames stream in faster than they are scored, every look at the counts finds them balanced."""
    line.add("red")
    engine = HeldEngine()
    engine.seconds_per_batch = 0.02
    worker = line.start(engine, freshness="latest", batch_size=2, time_budget=None)
    cameras = [line.camera(f"c-{number}") for number in range(4)]
    sent = 0
    for number in range(40):
        if number == 20:
            engine.go.set()  # by now frames are behind, however slowly they are sent
        for camera in cameras:
            camera.send("red")
            sent += 1
            assert worker.totals.balanced
    line.wait_for_frames(worker, sent)
    totals = worker.totals
    assert totals.fetched == sent == totals.scored + totals.skipped["behind"]
    line.until(lambda: len(line.detections()) == totals.scored)
