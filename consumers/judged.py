"""What operators' verdicts say of the pictures of alerts. Pure.

A verdict is about an alert; what a model learns from is a picture, a text, and every place on the picture that the text
means. So all alerts of the query that were open on the picture count together: those that are true give their boxes,
those that are not give none, and unless each of them is judged and its place on this very picture is known, nothing is
learned from it. Boxes that an operator gives with a verdict are all the places there are, and stand for themselves.

An alert without a box is one of a query that expects to see what it names: true means that the picture does not show
it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from consumers.evidence import as_pictured
from infra.contracts import (
    CAMERA_BLIND,
    UNSHELVED,
    Alert,
    AlertQuery,
    AlertState,
    Box,
    MessageReference,
    OperatorAction,
)
from infra.regions import WHOLE


class LeftOut(StrEnum):
    """Why nothing is learned from a judged alert, in words; `with --box` is an option of `simvg alerts verdict`."""

    UNSURE = "the verdict is unsure"
    ALERT_GONE = "the alert is no longer kept, only its verdict"
    OWN_ALARM = "an alarm of the camera's own asks the model nothing"
    NO_PICTURE = "raised without a picture"
    MOVED = "its boxes are not those of its picture: give a verdict with --box"
    DRAWN = "it has several pictures, and it is not known which of them its --box is about"
    NO_PLACE = "nobody says where the thing is: give a verdict with --box"
    CONTRADICTS = "--box and the verdict contradict each other"
    NOT_JUDGED = "another alert of its query was open, without a verdict true or false: judge that one as well"
    ELSEWHERE = "another thing of its query was in view, nobody says where: give a verdict with --box for each"
    GONE = "its picture is no longer kept"
    FOREIGN = "another picture lies in the place of its own"
    UNREADABLE = "its picture cannot be decoded"
    QUERY_GONE = "its query is not registered any more, so its region is not known: see --whole-frames"
    OUTSIDE = "its boxes lie outside of what its query looks at"
    CUT = "the borders of the query's tiles cut it in all of them"
    NEAR = "captured within 30 s of another set's span of time"
    OLDER = "the same words on the same picture were judged again later"


TAKEN_BACK = frozenset(
    {
        LeftOut.UNSURE,
        LeftOut.NO_PLACE,
        LeftOut.CONTRADICTS,
        LeftOut.NOT_JUDGED,
        LeftOut.ELSEWHERE,
    }
)
"""What only verdicts bring about: they take back what an earlier one has said."""


@dataclass(frozen=True, slots=True)
class History:
    """What is kept of an alert: the transition whose picture is shown, and the last one."""

    pictured: Alert
    last: Alert

    def open_at(self, at: datetime) -> bool:
        """Whether what it is about may have been in view then."""
        end = self.last.cleared_at
        if end is None and self.last.state is AlertState.CLOSED:
            end = self.last.timeline[-1].at
        return self.last.onset_at <= at and (end is None or at <= end)


@dataclass(frozen=True, slots=True)
class PictureOf:
    """The picture of an alert: number of the transition that it was taken for, capture time, and whether the alert's
    boxes are what was found on it."""

    number: int
    at: datetime
    has_boxes: bool


@dataclass(frozen=True, slots=True)
class Lesson:
    """One query on one picture. Boxes are xyxy, normalised to the full frame.

    ``boxes``: all that the text means on it; none: it shows nothing of the kind. ``shown``: what was alerted.
    ``said``: what operators have said, the same for the same verdicts; ``judged_at``: when the last one did.
    ``pictures``: where the frame lies, of each alert that has it, with the number of the transition.
    """

    camera: str
    query: AlertQuery
    at: datetime
    boxes: tuple[Box, ...]
    shown: tuple[Box, ...]
    said: str
    judged_at: datetime
    pictures: tuple[tuple[str, MessageReference, int], ...]

    @property
    def alerts(self) -> tuple[str, ...]:
        return tuple(alert for alert, _, _ in self.pictures)


Dropped = tuple[str, LeftOut]
"""Id of an alert, and why nothing is learned from it."""


def histories(alerts: Iterable[Alert]) -> dict[str, History]:
    """By id, of transitions in their order."""
    found: dict[str, History] = {}
    for one in alerts:
        known = found.get(one.id)
        found[one.id] = History(as_pictured(None if known is None else known.pictured, one), one)
    return found


def picture_of(alert: Alert) -> PictureOf:
    """Which of an alert's pictures the reference of this transition is about, as its timeline tells."""
    count, found = 0, PictureOf(1, alert.raised_at, True)
    for place, entry in enumerate(alert.timeline):
        count += entry.count
        by_frame = place == 0 or (entry.by is None and entry.note not in (None, UNSHELVED))
        if by_frame and entry.state is AlertState.RAISED:
            found = PictureOf(count, entry.at, True)
        elif by_frame:  # more was seen after it was acknowledged: boxes without a picture
            found = PictureOf(found.number, found.at, False)
    return found


def lessons_of(
    alerts: Mapping[str, History], verdicts: Mapping[str, OperatorAction], wanted: Callable[[Alert], bool]
) -> tuple[list[Lesson], list[Dropped]]:
    """What is learned from the judged alerts that are wanted, by capture time, and from which of them nothing is."""
    dropped = [(id, LeftOut.ALERT_GONE) for id in verdicts if id not in alerts]
    groups: dict[tuple[str, str, datetime], list[History]] = {}
    of_query: dict[tuple[str, str], list[History]] = {}
    for one in alerts.values():
        of_query.setdefault((one.last.camera, one.last.query.id), []).append(one)
    for one in alerts.values():
        alert = one.pictured
        if alert.id not in verdicts or not wanted(alert):
            continue
        reason = _at_once(alert, verdicts[alert.id])
        if reason is not None:
            dropped.append((alert.id, reason))
            continue
        groups.setdefault((alert.camera, alert.query.id, picture_of(alert).at), []).append(one)
    lessons = []
    for (camera, query, at), group in sorted(groups.items(), key=lambda item: item[0][::-1]):
        own = {one.last.id for one in group}
        others = [one for one in of_query[camera, query] if one.last.id not in own and one.open_at(at)]
        said = _said(group, others, at, verdicts)
        if isinstance(said, LeftOut):
            dropped += [(one.last.id, said) for one in group]
        else:
            lessons.append(_lesson(group, at, said, verdicts))
    return lessons, dropped


def _at_once(alert: Alert, verdict: OperatorAction) -> LeftOut | None:
    """Why an alert teaches nothing, whatever else was in view."""
    picture = picture_of(alert)
    if alert.query.id == CAMERA_BLIND:
        return LeftOut.OWN_ALARM
    if verdict.verdict == "unsure":
        return LeftOut.UNSURE
    if alert.evidence is None:
        return LeftOut.NO_PICTURE
    if verdict.boxes is not None:
        # What was alerted as not seen is there if the verdict is false. What was seen may be elsewhere, or nowhere.
        is_there = (verdict.verdict == "true") is bool(alert.boxes)
        if bool(verdict.boxes) is not is_there and not (alert.boxes and verdict.verdict == "false"):
            return LeftOut.CONTRADICTS
        return LeftOut.DRAWN if picture.number != 1 else None
    return None if picture.has_boxes else LeftOut.MOVED


def _said(
    group: Sequence[History], others: Sequence[History], at: datetime, verdicts: Mapping[str, OperatorAction]
) -> tuple[Box, ...] | LeftOut:
    """All places on the group's picture that the query means; ``others``: alerts of it that were open then, of other
    pictures or without a verdict."""
    given = {one.last.id: verdicts[one.last.id] for one in group}
    drawn = [(verdict.at, verdict.id, verdict.boxes) for verdict in given.values() if verdict.boxes is not None]
    if drawn:
        return max(drawn, key=lambda one: one[:2])[2]
    boxes: tuple[Box, ...] = ()
    for one in group:
        found = one.pictured.boxes
        is_there = (given[one.last.id].verdict == "true") is bool(found)
        if is_there and (not found or WHOLE in found):  # the model does not say where
            return LeftOut.NO_PLACE
        if is_there:
            boxes += found
    for said in (verdicts[one.last.id].verdict if one.last.id in verdicts else None for one in others):
        if said not in ("true", "false"):
            return LeftOut.NOT_JUDGED
        if said == "true":
            return LeftOut.ELSEWHERE
    return boxes


def _lesson(
    group: Sequence[History], at: datetime, boxes: tuple[Box, ...], verdicts: Mapping[str, OperatorAction]
) -> Lesson:
    alerts = sorted((one.pictured for one in group), key=lambda one: one.id)
    given = [verdicts[one.id] for one in alerts]
    return Lesson(
        camera=alerts[0].camera,
        query=alerts[0].query,
        at=at,
        boxes=tuple(dict.fromkeys(boxes)),
        shown=tuple(box for alert in alerts for box in alert.boxes),
        said=json.dumps([[one.alert_id, one.verdict, one.boxes] for one in given]),
        judged_at=max(one.at for one in given),
        pictures=tuple(_places(alerts)),
    )


def _places(alerts: Iterable[Alert]) -> Iterator[tuple[str, MessageReference, int]]:
    for alert in alerts:
        assert alert.evidence is not None  # those without were dropped
        yield alert.id, alert.evidence, picture_of(alert).number
