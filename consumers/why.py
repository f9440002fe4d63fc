"""Why a query alerted, or why not, at one camera and moment: from what the line has written down. Pure.

Statements are in the order in which a person would rule causes out; the last one is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile

from consumers.moments import shown
from consumers.why_facts import Facts, Published, Scored
from infra.contracts import (
    CAMERA_BLIND,
    Alert,
    AlertQuery,
    AlertState,
    QueryResult,
    Severity,
    SkippedFrames,
    StandingQuery,
    State,
)
from infra.uptake import reasons

NEAR = timedelta(seconds=1)
"""A frame captured this far from a moment is still taken to show it."""

SKIPPED = {
    "behind": "the worker was behind and took a newer frame of the camera (freshness latest)",
    "expired": "it was past its expiry when a worker came to it",
    "rate": "no query was due by its rate, or the camera's",
    "overload": "the worker was overloaded and looked less often for queries of lower severity than critical",
    "no_query": "no query that the model can take watched the camera",
    "handed_over": "its partition moved to another worker, which was to score it",
    "stopped": "the worker was stopped; the next one was to score it",
}


@dataclass(slots=True)
class Answer:
    """Statements in order, the last one being the answer, and the frames that they are about."""

    statements: list[str] = field(default_factory=list)
    frames: list[Scored] = field(default_factory=list)

    def say(self, text: str) -> Answer:
        self.statements.append(text)
        return self


def explain(facts: Facts) -> Answer:
    """Why the query did or did not alert at the moment."""
    answer = Answer()
    seen = _nearest(facts)
    if facts.asked == CAMERA_BLIND:
        return _explain_blind(answer, facts, seen)
    query, past = facts.query, _past(facts, seen)
    if past is not None:
        return _explain_past(answer, facts, past, seen)
    if facts.unasked is not None:
        answer.say(f"what query {facts.asked!r} asks is not known: {facts.unasked}")
        return _without_thresholds(answer, facts, seen, "the query")
    if query is None:
        return answer.say(f"there is no standing query {facts.asked!r} now; it may have been removed since")
    answer.say(_asks(query))
    if not query.enabled:
        return answer.say("it is paused, so no frame is asked about it")
    if not query.model_copy(update={"enabled": True}).watches(facts.camera):
        return answer.say(f"it watches {', '.join(query.cameras)}, not camera {facts.camera}")
    if seen is None:
        answer.say(_why_not_scored(facts))
        return answer.say(_refusal(facts)) if facts.refused else answer
    answer.frames = _around(facts, seen)
    if seen.result is None:
        return answer.say(_why_not_asked(facts, query, seen))
    answer.say(_finding(query, seen, seen.result))
    if _say_open(answer, facts):
        return answer
    return answer.say(_why_no_alert(facts, query, seen, seen.result))


def _past(facts: Facts, seen: Scored | None) -> AlertQuery | None:
    """The query as it was at the moment, where that is not what it is now."""
    if facts.alert is not None:
        then = facts.alert.query
    elif seen is not None and seen.result is not None:
        asked = facts.query.text if facts.query is not None else facts.asked
        words = {alert.query.revision: alert.query.text for alert in facts.alerts}
        revision = seen.result.revision
        then = AlertQuery(id=seen.result.query_id, text=words.get(revision, asked), revision=revision)
    else:
        return None
    return None if facts.query is not None and facts.query.revision == then.revision else then


def _explain_past(answer: Answer, facts: Facts, past: AlertQuery, seen: Scored | None) -> Answer:
    """Without thresholds: what they were under a revision that is over is written nowhere but in alerts' reasons."""
    told = f"query {past.id} “{past.text}” revision {past.revision}"
    if facts.unasked is not None:
        answer.say(f"{told}; its thresholds, delays and hours are not known, but from its alerts: {facts.unasked}")
    else:
        now = "the query was removed since" if facts.query is None else f"it has revision {facts.query.revision} now"
        answer.say(
            f"{told}; {now}, and the thresholds, delays and hours of revision {past.revision} are not kept, but in the "
            "reasons of its alerts"
        )
    return _without_thresholds(answer, facts, seen, f"the thresholds of revision {past.revision}")


def _without_thresholds(answer: Answer, facts: Facts, seen: Scored | None, missing: str) -> Answer:
    """What the frames and the alerts tell by themselves; ``missing``: what would be needed to tell more."""
    if seen is None:
        answer.say(_why_not_scored(facts))
    else:
        answer.frames = _around(facts, seen)
        if seen.result is None:
            answer.say(f"frame {seen.sequence} was scored, but not for this query")
        else:
            answer.say(_finding(None, seen, seen.result))
    if _say_open(answer, facts):
        return answer
    return answer.say(f"no alert was open; why cannot be told without {missing}")


def _explain_blind(answer: Answer, facts: Facts, seen: Scored | None) -> Answer:
    """Of the alarm that every camera has: what could be judged on its frames, or that there was none."""
    answer.say(
        f"alarm {CAMERA_BLIND} of camera {facts.camera}: raised when for `blind_s` of the worker's `camera_limits` "
        "(10 s unless set) nothing can be judged on its frames, or none comes"
    )
    if seen is None:
        last = max((one for one in facts.scored if one.captured_at <= facts.at), key=_captured, default=None)
        before = "no scored frame before it is known" if last is None else f"the last scored one is {_frame(last)}"
        answer.say(f"{_why_not_scored(facts)}; {before}")
        answer.frames = [] if last is None else _around(facts, last)
    else:
        answer.frames = _around(facts, seen)
        unknown = seen.result is None or seen.result.state is State.UNKNOWN
        why = "no reason is kept" if seen.result is None else seen.result.reason or "no reason is kept"
        answer.say(f"{_frame(seen)}, could {'not be judged: ' + why if unknown else 'be judged'}")
    if _say_open(answer, facts):
        return answer
    if seen is None or seen.result is None or seen.result.state is State.UNKNOWN:
        return answer.say(
            "no alert was open: it had not lasted for the limit, or the camera has none (`blind_s: null`)"
        )
    return answer.say("no alert: the camera saw")


def _say_open(answer: Answer, facts: Facts) -> bool:
    """Names the alerts that were open at the moment; whether there is any."""
    found = _open_at(facts)
    for alert in found:
        answer.say(f"alert {alert.id} was open: {alert.state} since {shown(_since(alert))}, {alert.reason}")
        if alert.suppressed is not None:
            answer.say(f"it was {alert.suppressed}, so nothing was to act on it")
    if facts.alert is not None and all(alert.id != facts.alert.id for alert in found):
        raised = f"alert {facts.alert.id} was raised at {shown(facts.alert.raised_at)}"
        answer.say(f"{raised}; how it was then is not kept any more")
        return True
    return bool(found)


def _since(alert: Alert) -> datetime:
    """When the alert came into the state that it is in: not with what happened in it, as a comment or a shelving."""
    same = takewhile(lambda entry: entry.state is alert.state, reversed(alert.timeline))
    return min(entry.at for entry in same)


def _asks(query: StandingQuery) -> str:
    hours = "" if query.schedule is None else f", on duty {query.schedule}"
    shadow = ", in shadow mode" if query.mode == "shadow" else ""
    return (
        f"query {query.id} “{query.text}” revision {query.revision}: expects {query.expect}, raises at "
        f"{query.raise_threshold:.2f} after {query.on_delay}, clears below {query.clears_below:.2f} after "
        f"{query.off_delay}{hours}{shadow}"
    )


def _captured(frame: Scored) -> datetime:
    return frame.captured_at


def _frame(frame: Scored) -> str:
    return f"frame {frame.sequence}, captured at {shown(frame.captured_at, ms=True)}"


def _nearest(facts: Facts) -> Scored | None:
    near = [one for one in facts.scored if abs(one.captured_at - facts.at) <= NEAR]
    closest = min(near, key=lambda one: abs(one.captured_at - facts.at), default=None)
    # A frame of the camera that is nearer and was not scored is the one that the question is about.
    other = min(facts.published, key=lambda one: abs(one.at - facts.at), default=None)
    if closest is None or other is None or abs(other.at - facts.at) >= abs(closest.captured_at - facts.at):
        return closest
    return closest if any(one.place == other.place for one in facts.scored) else None


def _around(facts: Facts, seen: Scored, each_side: int = 3) -> list[Scored]:
    place = list(facts.scored).index(seen)
    return list(facts.scored[max(0, place - each_side) : place + each_side + 1])


def _why_not_scored(facts: Facts) -> str:
    there = min(facts.published, key=lambda one: abs(one.at - facts.at), default=None)
    if there is not None and abs(there.at - facts.at) <= NEAR:
        run = next((run for run in facts.skipped if _in_run(there, run)), None)
        if run is not None:
            return f"{there}, was not scored: {SKIPPED.get(run.reason, run.reason)}"
        refused = next((one for one in facts.rejected if one.place == there.place), None)
        if refused is not None:
            return f"{there}, was rejected: {refused.why}"
        return f"{there}, was published, and no worker has told of it yet: is one running, and how far is it behind?"
    # Of messages that `frames` does not keep any more only the time of their rejection is known.
    kept = {one.place for one in facts.published}
    for gone in facts.rejected:
        if gone.at is not None and abs(gone.at - facts.at) <= NEAR and gone.place not in kept:
            return f"a message of the camera was rejected at {shown(gone.at)}: {gone.why}"
    if _is_out_of_reach(facts):
        return _known_by_neighbours(facts)
    if facts.scored or facts.published:
        return f"the camera published no frame within {NEAR.total_seconds():g} s of that time"
    return "nothing is kept of the camera around that time: it published nothing, or retention has removed it"


def _is_out_of_reach(facts: Facts) -> bool:
    """Whether `frames` keeps nothing of the camera from before the moment, though something of it lay there."""
    kept = {one.place for one in facts.published}
    return any(one.place not in kept for one in facts.scored) and all(one.at > facts.at for one in facts.published)


def _known_by_neighbours(facts: Facts) -> str:
    """What is told of a moment whose frames are gone: the frames scored before and after it, and what was skipped
    between them."""
    before = max((one for one in facts.scored if one.captured_at <= facts.at), key=_captured, default=None)
    after = min((one for one in facts.scored if one.captured_at > facts.at), key=_captured, default=None)
    first = "no scored frame before it is known" if before is None else f"the last scored before it is {_frame(before)}"
    then = "none after it is known" if after is None else f"the next is {_frame(after)}"
    runs = [
        f"{run.first} to {run.last} ({SKIPPED.get(run.reason, run.reason)})"
        for run in dict.fromkeys(facts.skipped)
        if (before is None or run.first > before.sequence) and (after is None or run.last < after.sequence)
    ]
    told = f"skipped between them: frames {'; '.join(runs)}" if runs else "no frame is told as skipped between them"
    return (
        f"`frames` does not reach back to that time any more, so whether the camera published a frame within "
        f"{NEAR.total_seconds():g} s of it cannot be told; {first}, {then}; {told}"
    )


def _in_run(frame: Published, run: SkippedFrames) -> bool:
    return frame.sequence is not None and run.epoch == frame.epoch and run.first <= frame.sequence <= run.last


def _why_not_asked(facts: Facts, query: StandingQuery, seen: Scored) -> str:
    frame = f"frame {seen.sequence} was scored, but not for this query"
    if query.changed > seen.captured_at:
        return f"{frame}: its revision {query.revision} is newer than the frame (changed {shown(query.changed)})"
    if facts.refused:
        return f"{frame}: {_refusal(facts)}"
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


def _refusal(facts: Facts) -> str:
    return (
        f"{'; '.join(reasons(facts.refused))}; write it in other words with `simvg query edit {facts.asked} --text …`"
    )


def _finding(query: StandingQuery | None, seen: Scored, result: QueryResult) -> str:
    """``query``: None where its thresholds at the time are not known."""
    if result.state is State.UNKNOWN or result.score is None:
        return f"{_frame(seen)}, could not be judged: {result.reason or 'no reason is kept'}"
    found = f"{len(result.boxes)} place{'s' if len(result.boxes) != 1 else ''}"
    if query is None:
        return f"{_frame(seen)}, was scored {result.score:.2f}, {found}"
    side = "at or above" if result.score >= query.raise_threshold else "below"
    bound = f"{side} the raise threshold {query.raise_threshold:.2f}"
    return f"{_frame(seen)}, was scored {result.score:.2f}, {bound}, {found}"


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
    by_then = [one for one in run if one.captured_at <= seen.captured_at]
    lasted = "" if by_then == run else f", and in {_lasted(run)} in all"
    later = _raised_after(facts, seen)
    raised = "" if later is None else f"; alert {later.id} was raised at {shown(later.raised_at, ms=True)}"
    return (
        f"no alert yet: by then the condition had held in {_lasted(by_then)}{lasted}, and {query.on_delay} are "
        f"needed{raised}"
    )


def _lasted(run: list[Scored]) -> str:
    span = (run[-1].captured_at - run[0].captured_at).total_seconds()
    return f"{len(run)} scored frame{'s' if len(run) != 1 else ''} over {span:.1f} s"


def _raised_after(facts: Facts, seen: Scored) -> Alert | None:
    """The first alert that was raised after a frame for what had begun by then."""
    began = [one for one in facts.alerts if one.onset_at <= seen.captured_at < one.raised_at]
    return min(began, key=lambda one: one.raised_at, default=None)


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
