"""From the findings of a frame to alarms, and from alarms to what leaves the worker.

The alarms are stepped here, once and in order; what comes of a frame is one :class:`Work`, which the outbox commits in
one transaction with the frame's offset. Where an alert's picture lies is known only then: until the alert is over, the
outbox fills it into every message that names the alert.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

from consumers.grounding.actions import ActionBook
from consumers.grounding.alarm import AlarmState, Place, Sighting, Step, close, pass_time, step, with_alerts
from consumers.grounding.alarm_state import moved_on, outlasts
from consumers.grounding.blind import SilenceWatch, blind_query, judged, silent
from consumers.grounding.book import AlarmBook
from consumers.grounding.cameras import CameraLimits
from consumers.grounding.evidence import pictures_of
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Picture
from consumers.grounding.messages import alert_message, gone_message, state_key, state_message, with_evidence
from consumers.grounding.plan import Look, Plan
from consumers.grounding.resting import Resting
from consumers.grounding.results import result_of
from consumers.grounding.standing import Standing
from consumers.grounding.telling import tell
from consumers.grounding.unknown import count
from consumers.grounding.work import ComposeState, Outgoing, Work
from infra.contracts import (
    CAMERA_BLIND,
    Alert,
    AlertState,
    Detections,
    MessageReference,
    OperatorAction,
    QueryResult,
    SkippedFrames,
    State,
    utc_from_ns,
)

logger = logging.getLogger(__name__)

LATE_SECONDS = 5.0
"""An alert decided longer than this after its frame was captured says so in its reason."""

QUIET_NS = 1_000_000_000
"""A camera that was heard less than this ago is none that a timer has to look after."""

SILENT_S = 60.0
"""Without a frame for so long a camera counts as silent where its limits do not say when (`blind_s: null`)."""

NEVER_BLIND = f"the camera's limits ask for no {CAMERA_BLIND} alarm (blind_s: null)"

MAX_FAILURES = 5
"""Frames in a row that cannot be judged before the fault is taken to be the program's, not the frames'."""

DEFAULT_LIMITS = CameraLimits()


class Sink(Protocol):
    """Where works go: the outbox, or a replay's collection."""

    def put(self, work: Work) -> None: ...


class Judge:
    """Runs the alarms of one worker. Used by one thread."""

    def __init__(
        self,
        book: AlarmBook,
        outbox: Sink,
        *,
        model: str,
        quality: int,
        actions: ActionBook | None = None,
        limits: Callable[[str], CameraLimits] = lambda camera: DEFAULT_LIMITS,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._book = book
        self._actions = actions if actions is not None else ActionBook()
        self._limits = limits
        self._silence = SilenceWatch()
        self._outbox = outbox
        self._model = model
        self._quality = quality
        self._clock_ns = clock_ns
        self._plan = Plan(0, {})
        self._standing = Standing()
        self._resting: dict[str, Resting] = {}  # by camera, of its last frame
        self._failures = 0

    def frame(
        self,
        picture: Picture,
        looks: tuple[Look, ...],
        findings: Mapping[str, Finding],
        *,
        revision: int,
        stage_ms: dict[str, float],
        skipped: tuple[SkippedFrames, ...] = (),
    ) -> Exception | None:
        """Takes in one scored frame; ``skipped``: frames of its camera that were not, and are told of with it.

        Returns what it could not be judged for, if so: nothing has changed then and nothing is written. Raises that
        when so many frames in a row could not be.
        """
        try:
            taken, results, resting = self._decide(picture, looks, findings)
            alerts = [told for done in taken for told in done.by_mode]
            live = [alert for alert, mode in alerts if mode == "live"]
            pictures = [one for alert in live for one in pictures_of(alert, picture, self._quality)]
        except Exception as error:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                raise
            logger.exception("a frame could not be judged", extra={"camera": picture.frame.camera})
            return error
        self._failures = 0
        header, place = picture.frame.header, picture.frame.place
        self._book.keep(*(done.state for done in taken))
        self._book.move_on(header.camera, resting.queries, Place(place, header.captured_ns))
        self._resting[header.camera] = resting
        count(header.camera, results)
        detections = Detections(
            camera=header.camera,
            frame=place,
            model=self._model,
            query_set_revision=revision,
            results=tuple(results),
            stage_ms={stage: round(ms, 3) for stage, ms in stage_ms.items()},
            skipped=skipped,
        )
        message = Outgoing.json(
            "detections",
            key=header.camera,
            value=detections.model_dump_json(),
            id=header.id,
            source=f"/cameras/{header.camera}",
        )
        changed = [done.state for done in taken if done.changed]
        self._put(place.partition, picture.frame.lease, place.offset, alerts, changed, pictures, message)
        return None

    def _decide(
        self, picture: Picture, looks: tuple[Look, ...], findings: Mapping[str, Finding]
    ) -> tuple[list[Step], list[QueryResult], Resting]:
        """What the frame does to alarms, what was found, and the queries whose alarms only move on; changes nothing."""
        header, place = picture.frame.header, picture.frame.place
        results, steps = [], []
        resting = Resting(self._resting.get(header.camera), place, header.epoch, header.captured_ns)
        noted = self._book.noted(header.camera, [look.query.id for look in looks])
        for look, (state, last) in zip(looks, noted, strict=True):
            query, found = look.query, findings[look.query.id]
            calm = not self._actions.knows(query.id)  # an alarm at rest has no alert that could be acted on
            if calm and (same := resting.still(query, state, last, found)) is not None:
                results.append(same)
                continue
            results.append(result := result_of(query, found))
            seen = Sighting(
                place, header.epoch, header.captured_ns, found.state, result.score, found.boxes, found.box_scores
            )
            if calm and resting.holds(query, state, last, seen, found, result):
                continue
            before = None if state is None else moved_on(state, last)
            actions = self._about(query.id, header.camera, before)
            steps.append(step(query, before, seen, camera=header.camera, actions=actions))
        steps += self._camera_step(picture, [findings[look.query.id] for look in looks])
        return [self._told(one, picture) if one.alerts else one for one in steps], results, resting

    def _told(self, taken: Step, picture: Picture) -> Step:
        alerts = tuple(self._late(alert, picture) for alert in taken.alerts)
        return taken._replace(state=with_alerts(taken.state, alerts), alerts=alerts)

    def heard(self, camera: str) -> None:
        """A frame of this camera came and was not scored, by intent. Any thread."""
        self._silence.heard(camera)

    def tick(
        self,
        lease_of: Callable[[int], int],
        *,
        waiting: Collection[str] = (),
        listened_ns: Mapping[int, int] | None = None,
    ) -> None:
        """Time passes: raises the alarms of cameras that have said nothing for too long, and lets operators' actions
        and the clock reach the alarms of cameras that are silent. ``waiting``: cameras whose frames wait to be scored.
        ``listened_ns``: for how long each partition has been read in all, which is what silence counts by; without it,
        the clock.
        """
        self._forget(lease_of)
        now_ns, cameras = self._clock_ns(), self._book.partitions()
        clocks_ns = dict.fromkeys(cameras.values(), now_ns) if listened_ns is None else listened_ns
        self._silence.tick({camera: clocks_ns.get(partition, 0) for camera, partition in cameras.items()}, waiting)
        self._resting = {camera: one for camera, one in self._resting.items() if camera in cameras}
        for state in self._book.of_query(CAMERA_BLIND):
            self._watch(state, now_ns, lease_of)
        for state in self._book.of_cameras([camera for camera in cameras if self._is_silent(camera)]):
            found = self._plan.queries.get(state.query_id)
            # Alarms that the plan has no place for are ended by it; those without an alert have nothing to wait for.
            if found is None or not state.alerts or self._plan.why_over(state) is not None:
                continue
            actions = self._about(state.query_id, state.camera, state)
            self._keep(pass_time(found, state, actions, at=utc_from_ns(now_ns)), lease_of)
        self._standing.show(self._book)

    def _watch(self, state: AlarmState, now_ns: int, lease_of: Callable[[int], int]) -> None:
        """One camera's own alarm, at a moment without a frame."""
        query = blind_query(self._limits(state.camera))
        silent_ns = self._silence.silent_ns(state.camera)
        if query is None:
            if state.episodes:
                self._end(state, NEVER_BLIND, lease_of)
        elif silent_ns >= QUIET_NS and not (self._plan.known and self._plan.why_over(state)):
            actions = self._about(CAMERA_BLIND, state.camera, state)
            self._keep(silent(query, state, silent_ns=silent_ns, now_ns=now_ns, actions=actions), lease_of)

    def _is_silent(self, camera: str) -> bool:
        """Whether no frame is awaited any more: until then, actions take effect at the frame at which any worker would
        have them take effect."""
        limit_s = self._limits(camera).blind_s or SILENT_S
        return self._silence.silent_ns(camera) >= limit_s * 1e9

    def _keep(self, taken: Step, lease_of: Callable[[int], int]) -> None:
        """What came of time alone, without a frame."""
        self._book.keep(taken.state)
        if taken.changed:
            partition = taken.state.frame.partition
            self._put(partition, lease_of(partition), None, taken.by_mode, [taken.state], [], None)

    def _camera_step(self, picture: Picture, found: list[Finding]) -> list[Step]:
        """What the frame says of its camera: blind when nothing at all could be judged on it."""
        header = picture.frame.header
        self._silence.heard(header.camera)
        query = blind_query(self._limits(header.camera))
        if query is None or not found:
            return []
        before = self._book.state(header.camera, CAMERA_BLIND)
        blind = all(one.state is State.UNKNOWN for one in found)
        problem = (found[0].reason or "nothing could be judged") if blind else None
        taken = judged(
            query,
            before,
            camera=header.camera,
            frame=picture.frame.place,
            epoch=header.epoch,
            captured_ns=header.captured_ns,
            problem=problem,
            actions=self._about(CAMERA_BLIND, header.camera, before),
        )
        return [taken]

    def _about(self, query_id: str, camera: str, state: AlarmState | None) -> tuple[OperatorAction, ...]:
        return self._actions.about(query_id, camera, [] if state is None else [alert.id for alert in state.alerts])

    def end(self, plan: Plan, lease_of: Callable[[int], int]) -> int:
        """Ends the alarms that a new plan, in use from now on, has no place for and closes their open alerts."""
        self._plan = plan
        over = self._book.over(plan) if plan.known else []
        for state, reason in over:
            self._end(state, reason, lease_of, for_good=plan.removed(state.query_id))
        return len(over)

    def _forget(self, lease_of: Callable[[int], int]) -> None:
        """Ends the alarms of cameras that were taken out of the plant. One that sends frames later is a new one."""
        gone = self._actions.forgotten()
        for state in self._book.of_cameras(gone) if gone else ():
            action = gone[state.camera]
            if state.frame.captured_at <= action.at:
                said = f": {action.comment}" if action.comment else ""
                reason = f"{action.by} took the camera out of the plant{said}"
                self._end(state, reason, lease_of, for_good=True)

    def _end(self, state: AlarmState, reason: str, lease_of: Callable[[int], int], *, for_good: bool = False) -> None:
        """Closes the open alerts. Unless query or camera is gone ``for_good``, the camera's own alarm is kept, and what
        operators did to any: their actions are read again by every worker, and must not take effect again when it goes
        on."""
        ended = close(state, at=utc_from_ns(self._clock_ns()), reason=reason)
        partition = state.frame.partition
        if outlasts(state) and not for_good:
            self._book.keep(ended.state)
            self._put(partition, lease_of(partition), None, ended.by_mode, [ended.state], [], None)
        else:
            self._book.forget(state)
            self._put(partition, lease_of(partition), None, ended.by_mode, [], [], None, gone=state)

    def _put(
        self,
        partition: int,
        lease: int,
        offset: int | None,
        alerts: Sequence[tuple[Alert, str]],
        changed: list[AlarmState],
        evidence: list[Outgoing],
        detections: Outgoing | None,
        *,
        gone: AlarmState | None = None,
    ) -> None:
        live = [alert for alert, mode in alerts if mode == "live"]

        def messages(places: Mapping[str, MessageReference]) -> list[Outgoing]:
            found = [alert_message(with_evidence(alert, places)) for alert in live]
            return found if detections is None else [*found, detections]

        states: dict[str, ComposeState] = {state_key(state): partial(state_message, state) for state in changed}
        if gone is not None:
            states[state_key(gone)] = lambda _: gone_message(gone)
        decided_ns = self._clock_ns()
        work = Work(
            partition=partition,
            lease=lease,
            offset=offset,
            messages=messages,
            states=states,
            evidence=tuple(evidence),
            urgent=bool(live),
            ended=tuple(alert.id for alert in live if alert.state is AlertState.CLOSED),
            size=sum(len(one.value or b"") for one in evidence),
            committed=lambda: tell(alerts, decided_ns=decided_ns, now_ns=self._clock_ns(), on_frame=offset is not None),
        )
        self._outbox.put(work)

    def _late(self, alert: Alert, picture: Picture) -> Alert:
        """Says in the reason of a raised alert how late it was decided, if it was."""
        late = (self._clock_ns() - picture.frame.header.captured_ns) / 1e9
        raised_here = alert.state is AlertState.RAISED and alert.frame == picture.frame.place
        if not raised_here or late <= LATE_SECONDS:
            return alert
        return alert.model_copy(update={"reason": f"{alert.reason}; decided {late:.0f} s after capture"})
