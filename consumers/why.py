"""Why a query alerted, or why not, at one camera and moment: from what the line has written down. Pure.

Statements are in the order in which a person would rule causes out; the last one is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from infra.contracts import Alert, AlertState, Detections, QueryResult, Severity, SkippedFrames, StandingQuery, State

NEAR = timedelta(seconds=1)
"""A frame captured this far from a moment is still taken to show it."""

SKIPPED = {
    "behind": "the worker was behind and took a newer frame of the camera (freshness latest)",
    "expired": "it was past its expiry when a worker came to it",
    "rate": "no query was due by its rate, or the camera's",
    "overload": "the worker was overloaded and looked less often for queries of lower severity than critical",
    "no_query": "no query watched the camera",
    "handed_over": "its partition moved to another worker, which was to score it",
    "stopped": "the worker was stopped; the next one was to score it",
}


@dataclass(frozen=True, slots=True)
class Scored:
    """A frame and what was found on it for the query; no result: the query was not asked of it."""

    sequence: int
    captured_at: datetime
    result: QueryResult | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a camera around a moment. ``published``: captured times of frames still on `frames`."""

    camera: str
    at: datetime
    asked: str
    query: StandingQuery | None
    scored: Sequence[Scored] = ()
    skipped: Sequence[SkippedFrames] = ()
    rejected: Sequence[tuple[datetime, str]] = ()
    published: Sequence[tuple[int, datetime]] = ()
    alerts: Sequence[Alert] = ()


@dataclass(slots=True)
class Answer:
    """Statements in order, the last one being the answer, and the frames that they are about."""

    statements: list[str] = field(default_factory=list)
    frames: list[Scored] = field(default_factory=list)

    def say(self, text: str) -> Answer:
        self.statements.append(text)
        return self


def scored_of(messages: Sequence[Detections], query_id: str | None) -> list[Scored]:
    """The frames of some detections, by capture time, with their result for one query."""
    found = [
        Scored(
            one.frame.sequence,
            one.frame.captured_at,
            next((result for result in one.results if result.query_id == query_id), None),
        )
        for one in messages
    ]
    return sorted(found, key=lambda one: one.captured_at)


def explain(facts: Facts) -> Answer:
    """Why the query did or did not alert at the moment."""
    answer = Answer()
    query = facts.query
    if query is None:
        return answer.say(f"there is no standing query {facts.asked!r} now; it may have been removed since")
    answer.say(_asks(query))
    if not query.enabled:
        return answer.say("it is paused, so no frame is asked about it")
    if not query.model_copy(update={"enabled": True}).watches(facts.camera):
        return answer.say(f"it watches {', '.join(query.cameras)}, not camera {facts.camera}")
    seen = _nearest(facts)
    if seen is None:
        return answer.say(_why_not_scored(facts))
    answer.frames = _around(facts, seen)
    if seen.result is None:
        return answer.say(_why_not_asked(facts, query, seen))
    answer.say(_finding(query, seen, seen.result))
    for alert in _open_at(facts):
        answer.say(f"alert {alert.id} was open: {alert.state} since {alert.raised_at:%H:%M:%S}, {alert.reason}")
        if alert.suppressed is not None:
            answer.say(f"it was {alert.suppressed}, so nothing was to act on it")
    if _open_at(facts):
        return answer
    return answer.say(_why_no_alert(facts, query, seen, seen.result))


def _asks(query: StandingQuery) -> str:
    hours = "" if query.schedule is None else f", on duty {query.schedule}"
    shadow = ", in shadow mode" if query.mode == "shadow" else ""
    return (
        f"query {query.id} “{query.text}” revision {query.revision}: expects {query.expect}, raises at "
        f"{query.raise_threshold:.2f} after {query.on_delay}, clears below {query.clears_below:.2f} after "
        f"{query.off_delay}{hours}{shadow}"
    )


def _nearest(facts: Facts) -> Scored | None:
    near = [one for one in facts.scored if abs(one.captured_at - facts.at) <= NEAR]
    closest = min(near, key=lambda one: abs(one.captured_at - facts.at), default=None)
    # A frame of the camera that is nearer and was not scored is the one that the question is about.
    other = min((abs(captured - facts.at) for _, captured in facts.published), default=None)
    if closest is not None and other is not None and other < abs(closest.captured_at - facts.at):
        number = next(sequence for sequence, captured in facts.published if abs(captured - facts.at) == other)
        if all(one.sequence != number for one in facts.scored):
            return None
    return closest


def _around(facts: Facts, seen: Scored, each_side: int = 3) -> list[Scored]:
    place = list(facts.scored).index(seen)
    return list(facts.scored[max(0, place - each_side) : place + each_side + 1])


def _why_not_scored(facts: Facts) -> str:
    rejected = [(at, why) for at, why in facts.rejected if abs(at - facts.at) <= NEAR]
    published = min(facts.published, key=lambda one: abs(one[1] - facts.at), default=None)
    if published is not None and abs(published[1] - facts.at) <= NEAR:
        number, captured = published
        frame = f"frame {number}, captured at {captured:%H:%M:%S.%f}"[:-3]
        run = next((run for run in facts.skipped if run.first <= number <= run.last), None)
        if run is not None:
            return f"{frame}, was not scored: {SKIPPED.get(run.reason, run.reason)}"
        if rejected:
            return f"{frame}, was rejected: {rejected[0][1]}"
        return f"{frame}, was published, and no worker has told of it yet: is one running, and how far is it behind?"
    if rejected:
        return f"a message of the camera was rejected at {rejected[0][0]:%H:%M:%S}: {rejected[0][1]}"
    if facts.scored or facts.published:
        return f"the camera published no frame within {NEAR.total_seconds():g} s of that time"
    return "nothing is kept of the camera around that time: it published nothing, or retention has removed it"


def _why_not_asked(facts: Facts, query: StandingQuery, seen: Scored) -> str:
    frame = f"frame {seen.sequence} was scored, but not for this query"
    if query.changed > seen.captured_at:
        return f"{frame}: its revision {query.revision} is newer than the frame (changed {query.changed:%H:%M:%S})"
    if query.rate is not None:
        return f"{frame}: it is asked at most {query.rate:g} times a second and was not due"
    before = any(one.result is not None and one.captured_at < seen.captured_at for one in facts.scored)
    after = any(one.result is not None and one.captured_at > seen.captured_at for one in facts.scored)
    if before and after and query.severity is not Severity.CRITICAL:
        return f"{frame}, as it was for frames before and after it: {SKIPPED['overload']}"
    return (
        f"{frame}: the worker did not have it active, or was overloaded and left out severity {query.severity} "
        "(`simvg query list` shows both)"
    )


def _finding(query: StandingQuery, seen: Scored, result: QueryResult) -> str:
    frame = f"frame {seen.sequence}, captured at {seen.captured_at:%H:%M:%S.%f}"[:-3]
    if result.state is State.UNKNOWN or result.score is None:
        return f"{frame}, could not be judged: {result.reason or 'no reason is kept'}"
    place = "at or above" if result.score >= query.raise_threshold else "below"
    found = f"{len(result.boxes)} place{'s' if len(result.boxes) != 1 else ''}"
    return f"{frame}, was scored {result.score:.2f}, {place} the raise threshold {query.raise_threshold:.2f}, {found}"


def _open_at(facts: Facts) -> list[Alert]:
    """Alerts that were raised by then and not closed, as they stood at the moment."""
    last: dict[str, Alert] = {}
    for alert in facts.alerts:
        if alert.timeline[-1].at <= facts.at:
            last[alert.id] = alert
    return [alert for alert in last.values() if alert.state is not AlertState.CLOSED]


def _holds(query: StandingQuery, result: QueryResult | None) -> bool | None:
    """Whether a frame speaks for the alarm; None when it speaks neither for nor against it."""
    if result is None or result.score is None or result.state is State.UNKNOWN:
        return None
    seen, gone = result.score >= query.raise_threshold, result.score < query.clears_below
    if query.expect == "present":
        seen, gone = gone, seen
    return True if seen else False if gone else None


def _why_no_alert(facts: Facts, query: StandingQuery, seen: Scored, result: QueryResult) -> str:
    if query.schedule is not None and not query.schedule.covers(seen.captured_at):
        return f"no alert: the query is on duty {query.schedule} only"
    if query.mode == "shadow":
        return "no alert: the query is in shadow mode, its alarms are judged and counted, not published"
    holds = _holds(query, result)
    if result.state is State.UNKNOWN:
        return "no alert: what cannot be judged neither raises nor clears"
    if holds is None:
        return (
            f"no alert: a score from {query.clears_below:.2f} to {query.raise_threshold:.2f} neither begins nor ends "
            "the condition"
        )
    if not holds:
        return "no alert: the condition was not there"
    run = _run(facts, query, seen)
    span = (run[-1].captured_at - run[0].captured_at).total_seconds()
    return (
        f"no alert yet: the condition held in {len(run)} scored frame{'s' if len(run) != 1 else ''} over {span:.1f} s "
        f"around it, and {query.on_delay} are needed"
    )


def _run(facts: Facts, query: StandingQuery, seen: Scored) -> list[Scored]:
    """The scored frames around one that no frame against the alarm interrupts."""
    frames = [one for one in facts.scored if one.result is not None]
    place = frames.index(seen)
    low = high = place
    while low > 0 and _holds(query, frames[low - 1].result) is not False:
        low -= 1
    while high < len(frames) - 1 and _holds(query, frames[high + 1].result) is not False:
        high += 1
    return [one for one in frames[low : high + 1] if _holds(query, one.result)]
