"""`simvg why`: why it alerted, or why not."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consumers.actions import read_actions
from consumers.alerts import read_alerts, whole_id
from consumers.alerts_cli import alert_line
from consumers.moments import parse_moment, shown
from consumers.reading import read_span
from consumers.rejected import read_rejected
from consumers.why import Answer, explain
from consumers.why_facts import Facts, Published, Refused, Scored, scored_of
from infra.cloudevents import headers_of, read_frame
from infra.contracts import (
    CAMERA_BLIND,
    Alert,
    Detections,
    MessageReference,
    OperatorAction,
    StandingQuery,
    utc_from_ns,
)
from infra.errors import AccessDenied, BadFrameMessage, RegistryAccessDenied, RegistryUnavailable, SettingsError
from infra.options import ConfigFile, Kafka, Prefix, RedisUrl
from infra.queries import QueryRegistry
from infra.reports import Reports
from infra.settings import KafkaSettings, RoleSettings, load
from infra.topics import topic_name
from infra.uptake import uptake

logger = logging.getLogger(__name__)

WINDOW = timedelta(seconds=30)
CLIENT = "simvg-why"


def why(
    alert_id: Annotated[
        str | None, typer.Argument(help="Id of an alert, or how it begins; or give --camera, --at and --query.")
    ] = None,
    camera: Annotated[str | None, typer.Option("--camera", help="Camera in question.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="Moment: 2026-11-27T02:15:00Z, or how long ago (90s).")] = None,
    query: Annotated[str | None, typer.Option("--query", help="Standing query, by id or in its words.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Statements and frames as one JSON object.")] = False,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    redis: RedisUrl = None,
    config: ConfigFile = None,
) -> None:
    """Says why an alert was raised and what operators did to it; or of a camera, a moment and a query, why there was an
    alert or none.

    Was the frame seen, skipped or scored; score, threshold, delays, schedule, result. It reads what the line wrote down
    (detections are kept for days, frames for minutes).

    Examples: simvg why a-1f0c9d2e4b5a6c7d8e9f · simvg why --camera line-1 --at 90s --query "missing bolt"
    """
    flags = {"kafka.bootstrap": kafka, "kafka.prefix": topic_prefix, "redis.url": redis}
    settings = load(RoleSettings, flags=flags, file=config)
    history: list[Alert] = []
    actions: list[OperatorAction] = []
    if alert_id is not None:
        if camera is not None or at is not None or query is not None:
            raise SettingsError("give an alert's id, or --camera, --at and --query, not both")
        kept = _alerts(settings.kafka)
        alert_id = whole_id(alert_id, {one.id for one in kept})
        history = [one for one in kept if one.id == alert_id]
        actions = _actions(settings.kafka, alert_id)
        camera, query, moment = history[0].camera, history[0].query.id, history[0].raised_at
    elif camera is None or at is None or query is None:
        raise SettingsError("give an alert's id, or all of --camera, --at and --query")
    else:
        moment = parse_moment(at, now=datetime.now(UTC))
    facts = gather(settings, camera, query, moment, alert=history[0] if history else None)
    answer = explain(facts)
    if as_json:
        frames = [_frame_facts(frame) for frame in answer.frames]
        told = {"statements": answer.statements, "frames": frames, "alerts": sorted({one.id for one in history})}
        told["actions"] = [one.model_dump(mode="json", exclude_none=True) for one in actions]
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    _show(Console(), answer, history, actions)


def gather(settings: RoleSettings, camera: str, asked: str, moment: datetime, *, alert: Alert | None = None) -> Facts:
    """Reads everything that the line keeps about a camera around a moment, and the query; ``alert``: the one in
    question."""
    kafka = settings.kafka
    alerts = [one for one in _alerts(kafka) if one.camera == camera]
    try:
        query, refused = _query(settings, camera, asked)
        unasked = None
    except RegistryUnavailable as error:  # what became of frames and alerts is told all the same
        query, refused, unasked = None, {}, str(error)
    id = query.id if query is not None else asked
    if unasked is not None:  # a query is asked for in its words, too
        id = next((one.query.id for one in alerts if one.query.text.casefold() == asked.casefold()), asked)
    if query is None and asked.casefold() == CAMERA_BLIND.replace("-", " "):
        id = CAMERA_BLIND
    messages, after = _detections(kafka, camera, moment)
    return Facts(
        camera=camera,
        at=moment,
        asked=id,
        query=query,
        alert=alert,
        scored=scored_of(messages, id),
        skipped=[run for one in [*messages, *after] for run in one.skipped],
        rejected=[
            Refused(one.rejected, f"{one.reason} ({one.error})", one.original)
            for one in read_rejected(kafka)
            if one.camera == camera
        ],
        published=list(_published(kafka, camera, moment)),
        alerts=[one for one in alerts if one.query.id == id],
        refused=refused,
        unasked=unasked,
    )


def _query(settings: RoleSettings, camera: str, asked: str) -> tuple[StandingQuery | None, Mapping[str, str]]:
    """The query as it is now, and, by worker of the camera, why its model cannot take it."""
    registry = QueryRegistry(settings.redis)
    try:
        known = registry.list()
        found = next((one for one in known if one.id == asked), None) or next(
            (one for one in known if one.text.casefold() == asked.casefold()), None
        )
        try:
            return found, {} if found is None else uptake(found, _of_camera(registry.reports(), camera)).refused
        except RegistryAccessDenied as error:  # a reader whose rights are those of an earlier version
            logger.warning("whether the workers take the query is not known: %s", error)
            return found, {}
    finally:
        registry.close()


def _of_camera(reports: Reports, camera: str) -> Reports:
    """Reports of the workers that get the camera's frames, as far as they tell; of all when none gets any."""
    getting = {name: one for name, one in reports.items() if one.load is None or camera in one.load.cameras}
    return getting or reports


def _alerts(kafka: KafkaSettings) -> list[Alert]:
    return [one for one in read_alerts(kafka, from_beginning=True, to_end=True) if isinstance(one, Alert)]


def _actions(kafka: KafkaSettings, alert_id: str) -> list[OperatorAction]:
    try:
        return read_actions(kafka, alert_id, client_id=CLIENT)
    except AccessDenied as error:  # a reader whose rights are those of an earlier version
        logger.warning("what operators did to the alert is not known: %s", error)
        return []


def _since_ms(moment: datetime) -> int:
    return max(0, int((moment - WINDOW).timestamp() * 1000))


def _detections(kafka: KafkaSettings, camera: str, moment: datetime) -> tuple[list[Detections], list[Detections]]:
    """The camera's messages around the moment, and the first one after them, if there is any: what was skipped is told
    with the next frame that is scored, however long that takes."""
    near: list[Detections] = []
    after: Detections | None = None
    for message in read_span(
        kafka, topic_name(kafka.prefix, "detections"), since_ms=_since_ms(moment), client_id=CLIENT
    ):
        if message.key() != camera.encode():
            continue
        try:
            found = Detections.model_validate_json(message.value() or b"")
        except ValidationError:
            continue  # not ours: the answer is about what can be read
        at = found.frame.captured_at
        if abs(at - moment) <= WINDOW:
            near.append(found)
        elif at > moment and (after is None or at < after.frame.captured_at):
            after = found
    return near, [] if after is None else [after]


def _published(kafka: KafkaSettings, camera: str, moment: datetime) -> Iterable[Published]:
    for message in read_span(kafka, topic_name(kafka.prefix, "frames"), since_ms=_since_ms(moment), client_id=CLIENT):
        if message.key() != camera.encode():
            continue
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None and partition is not None and offset is not None, "a consumed message has a place"
        place = MessageReference(topic=topic, partition=partition, offset=offset)
        try:
            header = read_frame(headers_of(message), camera.encode())
            found = Published(place, utc_from_ns(header.captured_ns), header.sequence, header.epoch)
        except BadFrameMessage:  # it is among the rejected ones
            found = Published(place, utc_from_ns(message.timestamp()[1] * 1_000_000))
        if abs(found.at - moment) <= WINDOW:
            yield found


def _show(console: Console, answer: Answer, history: list[Alert], actions: list[OperatorAction]) -> None:
    for alert in history:
        console.print(alert_line(alert), highlight=False, soft_wrap=True)
    for action in actions:
        console.print(_action_line(action), highlight=False, soft_wrap=True)
    for number, statement in enumerate(answer.statements):
        mark = "[bold]→[/]" if number == len(answer.statements) - 1 else "·"
        console.print(f"{mark} {escape(statement)}", highlight=False, soft_wrap=True)
    if not answer.frames:
        return
    table = Table("frame", "captured", "state", "score", "places", box=None, pad_edge=False)
    for one in answer.frames:
        when = shown(one.captured_at, ms=True)
        if one.result is None:
            table.add_row(str(one.sequence), when, "not asked", "–", "–")
        else:
            score = "–" if one.result.score is None else f"{one.result.score:.2f}"
            table.add_row(str(one.sequence), when, one.result.state, score, str(len(one.result.boxes)))
    console.print(table)


def _action_line(action: OperatorAction) -> str:
    """What an operator did, on one line; also what came after the alert was closed."""
    said = f" {action.verdict}" if action.verdict is not None else ""
    said += "".join(f" ({', '.join(f'{side:g}' for side in box)})" for box in action.boxes or ())
    said += f" until {shown(action.until)}" if action.until is not None else ""
    words = f": {escape(action.comment)}" if action.comment else ""
    return f"{shown(action.at)} [bold]{action.kind}[/]{said} by {escape(action.by)}{words}"


def _frame_facts(frame: Scored) -> dict[str, object]:
    result = None if frame.result is None else frame.result.model_dump(mode="json")
    return {"sequence": frame.sequence, "captured_at": frame.captured_at.isoformat(), "result": result}
