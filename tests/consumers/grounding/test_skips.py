"""Skipped frames are told with the next scored one."""

from __future__ import annotations

import time

from consumers.grounding.skips import MOST_RUNS, SkipLog
from infra.contracts import FrameHeader, StandingQuery
from tests.consumers.grounding.conftest import Line


def header(sequence: int, camera: str = "line-1", epoch: str = "e") -> FrameHeader:
    return FrameHeader(
        id=f"{camera}/{epoch}/{sequence}",
        camera=camera,
        sequence=sequence,
        epoch=epoch,
        captured_ns=sequence + 1,
        published_ns=sequence + 1,
        width=16,
        height=16,
    )


def test_nothing_skipped_is_told_as_nothing() -> None:
    """A camera that was never skipped has no runs."""
    assert SkipLog().take("line-1") == ()


def test_frames_of_one_reason_are_one_run() -> None:
    """Runs are by camera, reason and epoch, told once and in order."""
    log = SkipLog()
    for sequence in (4, 5, 6):
        log.add(header(sequence), "behind")
    log.add(header(7), "rate")
    log.add(header(0, epoch="f"), "rate")
    log.add(header(9, "line-2"), "behind")
    told = [(run.reason, run.epoch, run.first, run.last) for run in log.take("line-1")]
    assert told == [("behind", "e", 4, 6), ("rate", "e", 7, 7), ("rate", "f", 0, 0)]
    assert log.take("line-1") == ()
    assert len(log.take("line-2")) == 1


def test_no_more_runs_are_kept_than_a_message_should_carry() -> None:
    """A camera that changes its reasons for ever keeps the newest runs."""
    log = SkipLog()
    for sequence in range(3 * MOST_RUNS):
        log.add(header(sequence), "rate" if sequence % 2 else "behind")
    assert [run.first for run in log.take("line-1")] == list(range(2 * MOST_RUNS, 3 * MOST_RUNS))


def test_detections_say_what_was_skipped_before(line: Line) -> None:
    """Every frame is on the detections topic: scored, or within a run that was skipped, with its reason."""
    query: StandingQuery = line.add("red", rate=2.0)
    worker = line.start()
    camera = line.camera()
    start = time.time_ns() // 1_000_000_000 * 1_000_000_000
    for number in range(9):  # 10 frames/s against a rate of 2
        camera.send("red", captured_ns=start + number * 100_000_000, published_ns=start + number * 100_000_000)
    line.wait_for_frames(worker, 9)
    line.until(lambda: len(line.detections()) == 2)
    scored = [message.frame.sequence for message in line.detections()]
    told = [run for message in line.detections() for run in message.skipped]
    covered = [sequence for run in told for sequence in range(run.first, run.last + 1)]
    assert {run.reason for run in told} <= {"rate", "behind"} and not set(covered) & set(scored)
    assert set(range(scored[-1] + 1)) <= set(scored) | set(covered)
    assert {result.query_id for message in line.detections() for result in message.results} == {query.id}
