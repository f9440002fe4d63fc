"""What the demo's board makes of messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumers.demo.board import Board
from consumers.demo.truth import ClipTruth, Sighting, Target
from infra.contracts import (
    CAMERA_BLIND,
    Action,
    Alert,
    AlertQuery,
    AlertState,
    Detections,
    FrameReference,
    QueryResult,
    Severity,
    State,
    Transition,
)

START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
BOX = (0.2, 0.2, 0.3, 0.3)
TARGET = Target(("missing_bolt",))


def reference(sequence: int, began: float = 0.0) -> FrameReference:
    """Frame ``sequence`` of a clip at 10 frames/s that began ``began`` seconds after the start."""
    at = START + timedelta(seconds=began + sequence / 10)
    return FrameReference(topic="frames", partition=0, offset=sequence, sequence=sequence, captured_at=at)


def alert(sequence: int, began: float = 0.0, id: str = "a", state: AlertState = AlertState.RAISED) -> Alert:
    frame = reference(sequence, began)
    return Alert(
        id=id, camera="line-1", query=AlertQuery(id="q", text="missing bolt", revision=1), state=state,
        severity=Severity.HIGH, action=Action.NOTIFY, score=0.9, boxes=(BOX,), onset=frame, frame=frame,
        onset_at=frame.captured_at, raised_at=frame.captured_at, reason="score",
        timeline=(Transition(state=state, at=frame.captured_at),),
    )  # fmt: skip


def detections(sequence: int, began: float = 0.0) -> Detections:
    result = QueryResult(query_id="q", revision=1, state=State.PRESENT, score=0.9, boxes=(BOX,))
    return Detections(
        camera="line-1", frame=reference(sequence, began), model="m", query_set_revision=1, results=(result,),
        stage_ms={"ground": 20.0, "decode": 3.0},
    )  # fmt: skip


def truth() -> ClipTruth:
    hole = Sighting(1, 1, "missing_bolt", None, "ok", BOX, 1.0, True)
    return ClipTruth(10.0, tuple((hole,) if 10 <= k < 40 else () for k in range(100)))


def test_a_new_board_has_nothing() -> None:
    """Before the first message every count is zero."""
    board = Board("line-1", 10.0)
    assert (board.played_frames, board.latencies_s, board.alerts, board.unreadable) == (0, [], {}, {})


def test_messages_are_taken_by_their_topic() -> None:
    """Detections fill the camera's board, alerts the table."""
    board = Board("line-1", 10.0)
    board.take("detections", detections(14).model_dump_json().encode(), now=START.timestamp() + 1.5)
    board.take("alerts", alert(14).model_dump_json().encode(), now=START.timestamp() + 1.6)
    assert (board.cameras["line-1"].scored, list(board.alerts), board.unreadable) == (1, ["a"], {})


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"{", "value: Invalid JSON"),
        (b"", "value: Invalid JSON"),
        (alert(14).model_dump_json().replace('"score":0.9', '"score":7').encode(), "score: Input should be less than"),
    ],
    ids=["no JSON", "empty", "bad score"],
)
def test_what_cannot_be_read_is_counted_with_its_fault(value: bytes, fault: str) -> None:
    """By topic, and the first fault is kept; what comes after it is taken."""
    board = Board("line-1", 10.0)
    board.take("alerts", value, now=0.0)
    board.take("alerts", b"later", now=0.0)
    board.take("alerts", alert(14).model_dump_json().encode(), now=START.timestamp() + 1.6)
    assert (board.unreadable, list(board.alerts)) == ({"alerts": 2}, ["a"])
    assert board.faults["alerts"].startswith(fault)


def test_each_playing_of_a_looped_clip_is_scored_by_itself() -> None:
    """The same alert in two rounds finds two episodes, though both have the same frame numbers."""
    board = Board("line-1", 10.0)
    for began in (0.0, 10.0):
        for sequence in range(100):
            board.on_detections(detections(sequence, began), now=0.0)
        board.on_alert(alert(14, began, id=f"a{began}"), now=START.timestamp() + began + 1.5)
    score = board.score(truth(), "q", TARGET)
    assert (len(board.playings.all), board.played_frames, score.episodes, score.found) == (2, 200, 2, 2)


def test_an_alert_counts_once_over_its_transitions() -> None:
    """Cleared and closed are no new alerts, and latency is that of the raise."""
    board = Board("line-1", 10.0)
    for state, now in ((AlertState.RAISED, 1.6), (AlertState.CLEARED, 9.0), (AlertState.CLOSED, 9.1)):
        board.on_alert(alert(14, state=state), now=START.timestamp() + now)
    assert (len(board.alerts), len(board.latencies_s)) == (1, 1)
    assert abs(board.latencies_s[0] - 0.2) < 1e-6
    assert board.alerts["a"].alert.state is AlertState.CLOSED


def test_a_silent_camera_is_no_latency() -> None:
    """The alert of a camera that was silent since yesterday names the last frame it gave."""
    board = Board("line-1", 10.0)
    silent = alert(14)
    about = silent.query.model_copy(update={"id": CAMERA_BLIND})
    board.on_alert(silent.model_copy(update={"query": about}), now=START.timestamp() + 86_400)
    assert (board.transitions[AlertState.RAISED], board.latencies_s) == (1, [])


def test_stages_come_in_the_order_of_the_data() -> None:
    """Decode stands before ground, whatever order the worker wrote."""
    board = Board("line-1", 10.0)
    board.on_detections(detections(0), now=START.timestamp())
    assert list(board.median_stages()) == ["decode", "ground"]
