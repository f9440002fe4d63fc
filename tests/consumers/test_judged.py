"""What verdicts say of pictures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumers.judged import Dropped, History, LeftOut, Lesson, histories, lessons_of, picture_of
from infra.contracts import Alert, AlertState, Box, FrameReference, MessageReference, OperatorAction, Transition

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
LEFT: Box = (0.1, 0.1, 0.2, 0.2)
RIGHT: Box = (0.7, 0.1, 0.8, 0.2)


def entry(state: str, seconds: float, **facts: object) -> Transition:
    return Transition.model_validate({"state": state, "at": AT + timedelta(seconds=seconds)} | facts)


def alert(id: str, seconds: float = 0.0, *boxes: Box, timeline: tuple[Transition, ...] = (), **facts: object) -> Alert:
    """Raised after so many seconds, two after its onset, with a picture; as its last entry says."""
    raised = AT + timedelta(seconds=seconds)
    frame = FrameReference(topic="frames", partition=0, offset=1, sequence=1, captured_at=raised)
    timeline = timeline or (entry("raised", seconds),)
    base: dict[str, object] = {
        "id": id, "camera": "line-1", "query": {"id": "q", "text": "missing bolt", "revision": 1},
        "state": timeline[-1].state, "severity": "high", "action": "notify", "score": 0.9, "boxes": boxes,
        "onset": frame, "frame": frame, "onset_at": raised - timedelta(seconds=2), "raised_at": raised,
        "evidence": MessageReference(topic="evidence", partition=0, offset=0), "reason": "", "timeline": timeline,
    }  # fmt: skip
    return Alert.model_validate(base | facts)


def verdict(about: str, said: str, *, at: float = 100.0, boxes: tuple[Box, ...] | None = None) -> OperatorAction:
    return OperatorAction.model_validate(
        {
            "id": f"{about}-{said}", "kind": "verdict", "at": AT + timedelta(seconds=at), "by": "mia",
            "alert_id": about, "verdict": said, "boxes": boxes,
        }
    )  # fmt: skip


def judged(alerts: list[Alert], *verdicts: OperatorAction) -> tuple[list[Lesson], list[Dropped]]:
    by_alert = {str(one.alert_id): one for one in verdicts}
    return lessons_of(histories(alerts), by_alert, lambda one: True)


def test_nothing_judged_teaches_nothing() -> None:
    """Neither nothing at all, nor alerts without a verdict."""
    assert judged([]) == ([], [])
    assert judged([alert("a", 0, LEFT)]) == ([], [])


@pytest.mark.parametrize(
    ("shown", "said", "drawn", "means"),
    [
        ((LEFT,), "true", None, (LEFT,)),
        ((LEFT,), "true", (RIGHT,), (RIGHT,)),
        ((LEFT,), "false", None, ()),
        ((LEFT,), "false", (RIGHT,), (RIGHT,)),
        ((LEFT,), "false", (), ()),
        ((), "true", None, ()),
        ((), "false", (LEFT,), (LEFT,)),
        ((LEFT,), "unsure", None, LeftOut.UNSURE),
        ((LEFT,), "true", (), LeftOut.CONTRADICTS),
        ((), "true", (LEFT,), LeftOut.CONTRADICTS),
        ((), "false", (), LeftOut.CONTRADICTS),
        ((), "false", None, LeftOut.NO_PLACE),
        (((0.0, 0.0, 1.0, 1.0),), "true", None, LeftOut.NO_PLACE),
        (((0.0, 0.0, 1.0, 1.0),), "false", None, ()),
    ],
    ids=[
        "true", "true-corrected", "false", "false-but-there", "false-nowhere", "rightly-missed", "wrongly-missed",
        "unsure", "true-nowhere", "missed-but-there", "there-nowhere", "wrongly-missed-no-place", "no-place",
        "false-no-place",
    ],
)  # fmt: skip
def test_verdict_says_what_the_picture_shows(
    shown: tuple[Box, ...], said: str, drawn: tuple[Box, ...] | None, means: tuple[Box, ...] | LeftOut
) -> None:
    """An alert without boxes is one of a query that expects to see what it names."""
    lessons, dropped = judged([alert("a", 0, *shown)], verdict("a", said, boxes=drawn))
    if isinstance(means, LeftOut):
        assert (lessons, dropped) == ([], [("a", means)])
    else:
        (lesson,) = lessons
        assert (lesson.boxes, lesson.shown, lesson.query.text, dropped) == (means, shown, "missing bolt", [])


def test_all_alerts_of_a_query_on_one_picture_are_one_lesson() -> None:
    """Each gives its boxes if it is true; the text means them all, once."""
    both = [alert("a", 0, LEFT), alert("b", 0, RIGHT)]
    (lesson,), _ = judged(both, verdict("a", "true"), verdict("b", "true", at=200))
    assert (lesson.boxes, lesson.alerts, lesson.judged_at) == ((LEFT, RIGHT), ("a", "b"), AT + timedelta(seconds=200))
    (lesson,), _ = judged(both, verdict("a", "false"), verdict("b", "true"))
    assert lesson.boxes == (RIGHT,)
    (lesson,), _ = judged(both, verdict("a", "false"), verdict("b", "true", boxes=(LEFT, RIGHT)))
    assert lesson.boxes == (LEFT, RIGHT)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (None, LeftOut.NOT_JUDGED),
        ("unsure", LeftOut.NOT_JUDGED),
        ("true", LeftOut.ELSEWHERE),
        ("false", (LEFT,)),
    ],
)
def test_what_else_may_be_in_view_is_known_or_nothing_is_learned(
    said: str | None, means: tuple[Box, ...] | LeftOut
) -> None:
    """An alert of the query that was raised on another frame and is open: its thing may be on this picture too."""
    alerts = [alert("a", 0, LEFT), alert("other", -5, RIGHT)]
    verdicts = [] if said is None else [verdict("other", said)]
    lessons, dropped = judged(alerts, verdict("a", "true"), *verdicts)
    of_a = [lesson.boxes for lesson in lessons if "a" in lesson.alerts] + [why for id, why in dropped if id == "a"]
    assert of_a == [means]
    (drawn,) = [
        one for one in judged(alerts, verdict("a", "true", boxes=(LEFT, RIGHT)), *verdicts)[0] if "a" in one.alerts
    ]
    assert drawn.boxes == (LEFT, RIGHT), "who draws boxes says all of them"


@pytest.mark.parametrize(
    "other",
    [
        alert(
            "other",
            -9,
            RIGHT,
            timeline=(entry("raised", -9), entry("cleared", -1)),
            cleared_at=AT - timedelta(seconds=1),
        ),
        alert("other", -9, RIGHT, timeline=(entry("raised", -9), entry("closed", -1))),
        alert("other", 9, RIGHT),
        alert("other", -9, RIGHT, camera="line-2"),
        alert("other", -9, RIGHT, query={"id": "p", "text": "missing bolt", "revision": 1}),
    ],
    ids=["cleared", "closed", "later", "another-camera", "another-query"],
)
def test_alerts_of_other_times_and_queries_say_nothing_of_a_picture(other: Alert) -> None:
    """What has cleared, begins later, or is asked by others."""
    (lesson,), _ = judged([alert("a", 0, LEFT), other], verdict("a", "true"))
    assert lesson.boxes == (LEFT,)


GROWN = "2 objects instead of 1"
OVER = (entry("cleared", 2), entry("closed", 2))
SHELVED = entry("raised", 1, by="mia", note="shelved until noon")


@pytest.mark.parametrize(
    ("timeline", "number", "has_boxes"),
    [
        ((entry("raised", 0),), 1, True),
        ((entry("raised", 0), entry("raised", 1, by="mia", note="comment: x"), *OVER), 1, True),
        ((entry("raised", 0), entry("raised", 9, note="raised again", count=3)), 4, True),
        ((entry("raised", 0), entry("raised", 9, note=GROWN), entry("acknowledged", 10, by="mia")), 2, True),
        ((entry("raised", 0), entry("acknowledged", 1, by="mia"), entry("acknowledged", 2, note=GROWN)), 1, False),
        ((entry("raised", 0), SHELVED, entry("raised", 2, note="unshelved")), 1, True),
    ],
    ids=["raised", "over", "raised-again", "grown", "grown-acknowledged", "unshelved"],
)  # fmt: skip
def test_timeline_tells_which_picture_and_whose_boxes(
    timeline: tuple[Transition, ...], number: int, has_boxes: bool
) -> None:
    """Also where compaction has left the last transition alone."""
    found = picture_of(alert("a", 0, LEFT, timeline=timeline))
    assert (found.number, found.has_boxes) == (number, has_boxes)


def test_boxes_of_another_frame_than_the_picture_are_not_taken() -> None:
    """Unless the first transition is still kept; boxes drawn on one of several pictures neither."""
    first = alert("a", 0, LEFT)
    grown = (entry("raised", 0), entry("acknowledged", 1, by="mia"), entry("acknowledged", 2, note=GROWN))
    last = alert("a", 0, LEFT, RIGHT, timeline=grown)
    assert judged([last], verdict("a", "true"))[1] == [("a", LeftOut.MOVED)]
    assert judged([last], verdict("a", "true", boxes=(LEFT,)))[0][0].boxes == (LEFT,)
    assert judged([first, last], verdict("a", "true"))[0][0].boxes == (LEFT,)
    again = alert("a", 0, LEFT, timeline=(entry("raised", 0), entry("raised", 9, note="raised again")))
    assert judged([again], verdict("a", "true", boxes=(LEFT,)))[1] == [("a", LeftOut.DRAWN)]
    (lesson,), _ = judged([again], verdict("a", "true"))
    assert (lesson.at, lesson.pictures[0][2]) == (AT + timedelta(seconds=9), 2)


def test_what_has_no_picture_or_no_query_is_told() -> None:
    """A camera's own alarm, an alert without evidence, an alert that is gone."""
    blind = alert("blind", 0, query={"id": "camera-blind", "text": "camera blind", "revision": 1})
    alerts = [blind, alert("bare", 0, LEFT, evidence=None)]
    lessons, dropped = judged(alerts, *(verdict(id, "true") for id in ("blind", "bare", "gone")))
    assert lessons == []
    assert dict(dropped) == {"blind": LeftOut.OWN_ALARM, "bare": LeftOut.NO_PICTURE, "gone": LeftOut.ALERT_GONE}


def test_history_keeps_the_raising_and_the_last() -> None:
    """In the order of the topic."""
    first, last = alert("a", 0, LEFT), alert("a", 0, timeline=(entry("raised", 0), entry("closed", 5)))
    assert histories([first, last]) == {"a": History(first, last)}
    assert last.state is AlertState.CLOSED and not History(first, last).open_at(AT + timedelta(seconds=6))
