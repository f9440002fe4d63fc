"""Why a query alerted, or why not: every cause is told apart from the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from consumers.why import explain
from consumers.why_facts import Facts, Published, Refused, Scored, scored_of
from infra.contracts import (
    CAMERA_BLIND,
    Alert,
    AlertState,
    Delay,
    Detections,
    MessageReference,
    QueryResult,
    SkippedFrames,
    StandingQuery,
    State,
    Transition,
)
from infra.schedule import Schedule
from tests.consumers.test_alerts import make_alert

AT = datetime(2026, 11, 23, 13, 37, 10, tzinfo=UTC)
LATER = AT + timedelta(seconds=20)
QUERY = StandingQuery(id="q", text="missing bolt", raise_threshold=0.8, created=AT, changed=AT - timedelta(days=1))


def scored(number: int, score: float | None, seconds: float = 0.0, state: State | None = None) -> Scored:
    state = state or (State.UNKNOWN if score is None else State.PRESENT if score >= 0.8 else State.ABSENT)
    result = QueryResult(
        query_id="q", revision=1, state=state, score=score, reason="frame is black" if score is None else None
    )
    return Scored(number, AT + timedelta(seconds=seconds), result, place(number))


def published(number: int, seconds: float = 0.0, epoch: str = "e") -> Published:
    return Published(place(number), AT + timedelta(seconds=seconds), number, epoch)


def place(offset: int) -> MessageReference:
    return MessageReference(topic="frames", partition=0, offset=offset)


def told(query: StandingQuery | None = QUERY, **facts: object) -> str:
    """The answer: the last statement."""
    given: dict[str, object] = {"camera": "line-1", "at": AT, "asked": "q", "query": query} | facts
    return explain(Facts(**given)).statements[-1]  # type: ignore[arg-type]


def changed(**changes: object) -> StandingQuery:
    return StandingQuery.model_validate(QUERY.model_dump() | changes)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (None, "there is no standing query 'q' now"),
        (changed(enabled=False), "it is paused"),
        (changed(cameras=("press-*",)), "it watches press-*, not camera line-1"),
    ],
    ids=["no query", "paused", "another camera"],
)
def test_the_query_itself_may_be_why(query: StandingQuery | None, says: str) -> None:
    """Without looking at any frame."""
    assert says in told(query)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({}, "nothing is kept of the camera around that time"),
        (
            {"scored": [scored(1, 0.9, -20)], "published": [published(1, -20)]},
            "the camera published no frame within 1 s",
        ),
        (
            {"published": [published(7)]},
            "frame 7, captured at 2026-11-23 13:37:10.000Z, was published, and no worker has told of it",
        ),
        (
            {"published": [published(7)], "skipped": [SkippedFrames(reason="behind", epoch="e", first=6, last=9)]},
            "frame 7, captured at 2026-11-23 13:37:10.000Z, was not scored: the worker was behind",
        ),
        (
            {"published": [published(7)], "skipped": [SkippedFrames(reason="behind", epoch="d", first=6, last=9)]},
            "frame 7, captured at 2026-11-23 13:37:10.000Z, was published, and no worker has told of it",
        ),
        (
            {"published": [published(7)], "rejected": [Refused(LATER, "corrupt_image (cut off)", place(7))]},
            "frame 7, captured at 2026-11-23 13:37:10.000Z, was rejected: corrupt_image (cut off)",
        ),
        (
            {"published": [published(7)], "rejected": [Refused(AT, "corrupt_image (cut off)", place(3))]},
            "frame 7, captured at 2026-11-23 13:37:10.000Z, was published, and no worker has told of it",
        ),
        (
            {"published": [Published(place(7), AT)], "rejected": [Refused(LATER, "bad_header (none)", place(7))]},
            "a message of the camera, published at 2026-11-23 13:37:10.000Z, was rejected: bad_header (none)",
        ),
        (
            {"rejected": [Refused(AT, "missing_headers (none)", place(7))]},
            "a message of the camera was rejected at 2026-11-23 13:37:10Z",
        ),
        ({"scored": [Scored(7, AT, None, place(7))]}, "the worker did not have it active"),
    ],
    ids=[
        "nothing",
        "camera away",
        "not seen yet",
        "skipped",
        "skipped of another numbering",
        "rejected later",
        "another rejected then",
        "no frame at all",
        "rejected and gone",
        "not active",
    ],
)
def test_the_frame_may_be_why(facts: dict[str, object], says: str) -> None:
    """It was never published, skipped, rejected, or not asked about."""
    assert says in told(**facts)


def test_a_nearer_frame_that_was_skipped_is_the_one_in_question() -> None:
    """A scored frame half a second away does not hide that the very frame was skipped."""
    facts = {"published": [published(6, -0.5), published(7)], "scored": [scored(6, 0.1, -0.5)]}
    skipped = [SkippedFrames(reason="rate", epoch="e", first=7, last=7)]
    assert "frame 7" in told(**facts, skipped=skipped) and "by its rate" in told(**facts, skipped=skipped)


def test_scored_frame_is_known_by_its_place() -> None:
    """A camera's clock says more digits than are written down: the frame nearest to the moment is the same one."""
    at = AT + timedelta(microseconds=456)
    kept = [published(number, 0.2 * (number - 7) + 456e-6) for number in range(5, 10)]
    frames = [scored(number, 0.1, round(0.2 * (number - 7), 3)) for number in range(5, 10)]
    for ms in (-50, 0, 50):
        asked = at + timedelta(milliseconds=ms)
        assert told(at=asked, published=kept, scored=frames) == "no alert: the condition was not there"


def test_moment_that_frames_do_not_reach_back_to_says_so() -> None:
    """Frames are kept for minutes: that there is none any more says nothing of the camera. What was skipped between
    the frames that were scored is told."""
    frames = [scored(100, 0.1, -3), scored(125, 0.1, 2), scored(150, 0.1, 7)]
    runs = [SkippedFrames(reason="rate", epoch="e", first=n, last=n + 23) for n in (76, 101, 126)]
    gone = (
        "`frames` does not reach back to that time any more, so whether the camera published a frame within 1 s of it "
        "cannot be told; the last scored before it is frame 100, captured at 2026-11-23 13:37:07.000Z, the next is "
        "frame 125, captured at 2026-11-23 13:37:12.000Z; "
    )
    skipped = f"{gone}skipped between them: frames 101 to 124 (no query was due by its rate, or the camera's)"
    assert told(scored=frames, skipped=runs) == skipped
    assert told(scored=frames, skipped=runs, published=[published(150, 7)]) == skipped
    assert told(scored=frames) == f"{gone}no frame is told as skipped between them"
    assert "published no frame" in told(scored=frames, published=[published(100, -3), published(125, 2)])
    alone = told(scored=frames[1:])
    assert "no scored frame before it is known, the next is frame 125" in alone


REFUSED = {"w0": "the model does not know 'quux'", "w1": "the model does not know 'quux'"}


def test_query_that_the_model_refuses_says_so() -> None:
    """Whether its camera's frames were scored for other queries, for none, or never came; with the remedy."""
    because = (
        "the model of workers w0, w1 cannot take it: the model does not know 'quux'; write it in other words with "
        "`simvg query edit q --text …`"
    )
    frame = "frame 7 was scored, but not for this query"
    assert told(scored=[Scored(7, AT, None, place(7))], refused=REFUSED) == f"{frame}: {because}"
    skipped = [SkippedFrames(reason="no_query", epoch="e", first=7, last=7)]
    facts = Facts(
        camera="line-1", at=AT, asked="q", query=QUERY, published=[published(7)], skipped=skipped, refused=REFUSED
    )
    assert explain(facts).statements[1:] == [
        "frame 7, captured at 2026-11-23 13:37:10.000Z, was not scored: no query that the model can take watched the "
        "camera",
        because,
    ]
    assert told(refused=REFUSED) == because


def test_query_that_was_asked_then_is_not_explained_by_a_refusal_of_today() -> None:
    """Another model may run now; and a paused query is paused, whatever a model thinks of it."""
    assert told(scored=[scored(1, 0.3)], refused=REFUSED) == "no alert: the condition was not there"
    assert "it is paused" in told(changed(enabled=False), refused=REFUSED)


def test_a_look_that_was_left_out_for_overload_says_so() -> None:
    """A frame on which nothing was asked, and one on which the query alone was left out; a critical query never is."""
    skipped = [SkippedFrames(reason="overload", epoch="e", first=7, last=7)]
    assert "the worker was overloaded" in told(published=[published(7)], skipped=skipped)
    between = [scored(6, 0.1, -0.2), Scored(7, AT, None, place(7)), scored(8, 0.1, 0.2)]
    assert "before and after it: the worker was overloaded" in told(scored=between)
    assert "did not have it active" in told(scored=between[:2])
    assert "did not have it active" in told(changed(severity="critical"), scored=between)


def test_a_query_that_was_not_due_says_so() -> None:
    """A rate, or a revision newer than the frame, is named."""
    assert "at most 2 times a second" in told(changed(rate=2.0), scored=[Scored(7, AT, None, place(7))])
    assert "newer than the frame" in told(
        changed(changed=AT + timedelta(seconds=5)), scored=[Scored(7, AT, None, place(7))]
    )


@pytest.mark.parametrize(
    ("query", "frames", "says"),
    [
        (QUERY, [scored(1, 0.3)], "no alert: the condition was not there"),
        (QUERY, [scored(1, 0.75)], "a score from 0.70 to 0.80 neither begins nor ends"),
        (QUERY, [scored(1, None)], "what cannot be judged neither raises nor clears"),
        (
            QUERY,
            [scored(1, 0.1, -0.6), scored(2, 0.9, -0.3), scored(3, 0.95)],
            "by then the condition had held in 2 scored frames over 0.3 s, and 3 frames are needed",
        ),
        (
            changed(on_delay=Delay(value=2, unit="seconds")),
            [scored(1, 0.9)],
            "in 1 scored frame over 0.0 s, and 2s are",
        ),
        (changed(mode="shadow"), [scored(1, 0.9)], "shadow mode"),
        (changed(schedule=Schedule.parse("sat 06:00-14:00")), [scored(1, 0.9)], "on duty sat 06:00-14:00"),
        (changed(expect="present"), [scored(1, 0.9)], "no alert: the condition was not there"),
        (changed(expect="present"), [scored(1, 0.1)], "by then the condition had held in 1 scored frame"),
    ],
    ids=["absent", "between", "unknown", "delay", "delay-s", "shadow", "off duty", "expected seen", "expected gone"],
)
def test_score_and_delays_may_be_why(query: StandingQuery, frames: Sequence[Scored], says: str) -> None:
    """What the score says against the thresholds, and what the delays, hours and mode make of it."""
    assert says in told(query, scored=frames)


def test_an_open_alert_is_the_answer() -> None:
    """The alert that stood at the moment, with its reason; one that was raised later is not."""
    alert = make_alert(9)
    assert alert.raised_at == AT - timedelta(seconds=1)
    frames = [scored(1, 0.97)]
    was_open = f"alert {alert.id} was open: raised since 2026-11-23 13:37:09Z, {alert.reason}"
    assert was_open in told(scored=frames, alerts=[alert])
    assert "no alert" in told(scored=frames, alerts=[make_alert(11)])


@pytest.mark.parametrize("state", ["acknowledged", "cleared"])
def test_an_open_alert_is_in_its_state_since_it_came_into_it(state: str) -> None:
    """Not since it was raised, nor since what else happened to it."""
    raised = make_alert(1)
    later = [Transition(state=AlertState(state), at=AT - timedelta(seconds=ago)) for ago in (3, 2)]
    alert = raised.model_copy(
        update={"state": AlertState(state), "timeline": (*raised.timeline, *later), "reason": "shelved by mia"}
    )
    said = f"alert {alert.id} was open: {state} since 2026-11-23 13:37:07Z, shelved by mia"
    assert said in told(scored=[scored(1, 0.97)], alerts=[raised, alert])


def test_on_delay_that_had_not_passed_is_told_with_the_alert_that_came_of_it() -> None:
    """The frames after the moment are told of apart: they do not speak against a delay of as many frames."""
    frames = [scored(1, 0.97), scored(2, 0.97, 0.5), scored(3, 0.97, 1.0), scored(4, 0.97, 1.5)]
    alert = make_alert(11).model_copy(update={"onset_at": AT})
    assert told(scored=frames, alerts=[make_alert(13), alert]) == (
        "no alert yet: by then the condition had held in 1 scored frame over 0.0 s, and in 4 scored frames over 1.5 s "
        f"in all, and 3 frames are needed; alert {alert.id} was raised at 2026-11-23 13:37:11.000Z"
    )


def statements(alert: Alert, **facts: object) -> list[str]:
    """All that is said of an alert, asked at the moment when it was raised."""
    given: dict[str, object] = {"camera": "line-1", "at": alert.raised_at, "asked": alert.query.id, "query": None}
    return explain(Facts(**(given | {"alert": alert, "alerts": [alert]} | facts))).statements  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "now"),
    [(None, "the query was removed since"), (changed(revision=4, raise_threshold=0.99), "it has revision 4 now")],
    ids=["removed", "edited"],
)
def test_alert_of_another_revision_is_not_told_by_thresholds_of_today(query: StandingQuery | None, now: str) -> None:
    """What the line does not keep it says so; the alert's own reason is the answer."""
    alert = make_alert(10)
    said = statements(alert, query=query, scored=[scored(1, 0.97)])
    assert said == [
        f"query q “missing bolt” revision 1; {now}, and the thresholds, delays and hours of revision 1 are not kept, "
        "but in the reasons of its alerts",
        "frame 1, captured at 2026-11-23 13:37:10.000Z, was scored 0.97, 0 places",
        f"alert {alert.id} was open: raised since 2026-11-23 13:37:10Z, {alert.reason}",
    ]


def test_moment_under_another_revision_is_not_told_by_thresholds_of_today() -> None:
    """Also where no alert is asked about, and none was open."""
    assert "cannot be told without the thresholds of revision 1" in told(changed(revision=2), scored=[scored(1, 0.3)])
    assert "cannot be told without the thresholds of revision 1" in told(None, scored=[scored(1, 0.3)])


def test_without_the_registry_frames_and_alerts_tell_what_they_can() -> None:
    """Redis away is no reason to say nothing, nor to say that the query was removed."""
    alert, away = make_alert(10), "Redis cannot be reached at redis://r"
    said = statements(alert, query=None, unasked=away, scored=[scored(1, 0.97)])
    assert said[0] == (
        f"query q “missing bolt” revision 1; its thresholds, delays and hours are not known, but from its alerts: "
        f"{away}"
    )
    assert said[-1] == f"alert {alert.id} was open: raised since 2026-11-23 13:37:10Z, {alert.reason}"
    assert "thresholds of revision 1" in told(None, unasked=away, scored=[scored(1, 0.3)])
    assert told(None, unasked=away) == "no alert was open; why cannot be told without the query"
    first, *_ = explain(Facts(camera="line-1", at=AT, asked="q", query=None, unasked=away)).statements
    assert first == f"what query 'q' asks is not known: {away}"


def blind_alert(reason: str) -> Alert:
    about = {"id": CAMERA_BLIND, "text": "camera blind", "revision": 1}
    return Alert.model_validate(make_alert(10).model_dump() | {"query": about, "reason": reason})


def detections(number: int, seconds: float, *results: QueryResult) -> Detections:
    frame = make_alert(1).frame.model_copy(update={"sequence": number, "captured_at": AT + timedelta(seconds=seconds)})
    return Detections(camera="line-1", frame=frame, model="m", query_set_revision=1, results=results, stage_ms={})


def test_alert_of_a_blind_camera_is_told_by_its_frames() -> None:
    """The alarm that every camera has is no query that could have been removed."""
    black, fine = scored(1, None).result, scored(1, 0.3).result
    assert black is not None and fine is not None
    frames = scored_of([detections(8, -0.5, black, fine), detections(9, 0.0, black, black)], CAMERA_BLIND)
    alert = blind_alert("camera sees nothing: frame is black")
    first, *said = statements(alert, scored=frames)
    assert first.startswith("alarm camera-blind of camera line-1: raised when for `blind_s`")
    assert said == [
        "frame 9, captured at 2026-11-23 13:37:10.000Z, could not be judged: frame is black",
        f"alert {alert.id} was open: raised since 2026-11-23 13:37:10Z, camera sees nothing: frame is black",
    ]
    assert told(None, asked=CAMERA_BLIND, scored=frames[:1]) == "no alert: the camera saw"


def test_alert_of_a_silent_camera_names_its_last_frame() -> None:
    """No frame at that time is the very reason."""
    black = scored(1, None).result
    assert black is not None
    alert = blind_alert("no frame for 10 s (limit 10 s)")
    last = detections(8, -10.0, black)
    kept = Published(place(last.frame.offset), last.frame.captured_at, 8, "e")
    said = statements(alert, scored=scored_of([last], CAMERA_BLIND), published=[kept])
    assert said[1:] == [
        "the camera published no frame within 1 s of that time; the last scored one is frame 8, captured at "
        "2026-11-23 13:37:00.000Z",
        f"alert {alert.id} was open: raised since 2026-11-23 13:37:10Z, no frame for 10 s (limit 10 s)",
    ]


def test_alert_whose_beginning_is_gone_says_so() -> None:
    """Retention may have left its last transition only, which was not there at that moment."""
    closed = make_alert(10).model_copy(update={"timeline": make_alert(20).timeline})
    assert statements(closed, query=QUERY, scored=[scored(1, 0.97)])[-1] == (
        f"alert {closed.id} was raised at 2026-11-23 13:37:10Z; how it was then is not kept any more"
    )
