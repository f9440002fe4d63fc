"""Operators' actions on Kafka: read as typed values, and published."""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Iterator
from datetime import datetime

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from consumers.reading import read_to_end
from infra.cloudevents import event_headers, headers_of
from infra.contracts import EVENT_TYPES, ActionKind, OperatorAction
from infra.errors import BadOperatorAction, BrokerError, BrokerUnavailable, ContractError
from infra.kafka import Publisher
from infra.settings import KafkaSettings
from infra.topics import require_topics, topic_name

MAX_ACTION_BYTES = 64_000
"""A message of more bytes is no action of ours and is not even parsed."""

_OPTIONS = {"by": "--by", "comment": "--comment", "query_id": "--query", "camera": "--camera", "verdict": "VERDICT"}
"""Of the commands, by the field that they fill."""


def new_action(kind: ActionKind, *, by: str | None, comment: str | None, **facts: object) -> OperatorAction:
    """What an operator does now; ``by``: None for who is logged in.

    Raises BadOperatorAction naming the option, what it was given and what is right.
    """
    words = comment.strip() if comment is not None else ""
    given = facts | {"kind": kind, "by": (by or "").strip() or _login_name(), "comment": words or None}
    try:
        return OperatorAction.model_validate({"id": str(uuid.uuid4())} | given)
    except ValidationError as error:
        raise BadOperatorAction("; ".join(map(_in_words, error.errors(include_url=False)))) from error


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # as in a container under a number that no user of it has
        raise BadOperatorAction(
            f"who does it is not known, the system has no name for its user {os.getuid()}; write --by NAME"
        ) from error


def _in_words(fault: ErrorDetails) -> str:
    option = _OPTIONS.get(str(fault["loc"][0])) if fault["loc"] else None
    if option is None or fault["type"] == "value_error":  # said in our own words, with the value
        return fault["msg"].removeprefix("Value error, ")
    return f"{option} {str(fault['input'])[:40]!r}: {fault['msg']}"


def parse_action(value: bytes | None, headers: object = None) -> OperatorAction:
    """The value of one message → action. Raises BadOperatorAction naming the field, its value and what is right."""
    found = dict(headers) if isinstance(headers, list) else {}
    kind, expected = found.get("ce_type"), EVENT_TYPES["operator-actions"]
    if kind is not None and kind != expected.encode():
        raise BadOperatorAction(f"message of type {kind!r} on the operator-actions topic; expected {expected!r}")
    if not value:
        raise BadOperatorAction("message has no value")
    _require_readable(value)
    try:
        return OperatorAction.model_validate_json(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "value"
        raise BadOperatorAction(f"{where}: {fault['msg']} (got {str(fault.get('input'))[:80]!r})") from error


def _require_readable(value: bytes) -> None:
    if len(value) > MAX_ACTION_BYTES:
        raise BadOperatorAction(f"message has {len(value)} bytes; an action has at most {MAX_ACTION_BYTES}")


def read_actions(kafka: KafkaSettings, alert_id: str, *, client_id: str) -> list[OperatorAction]:
    """What operators did to one alert, by time, each action once; also to one that was closed by then, whose timeline
    does not tell of it. What is no action is skipped.

    Raises TopicMissing, BrokerUnavailable, AccessDenied.
    """
    found: dict[str, OperatorAction] = {}
    for action in _actions(kafka, client_id, key=alert_id.encode()):
        if action.alert_id == alert_id:
            found.setdefault(action.id, action)
    return sorted(found.values(), key=_when)


def read_verdicts(kafka: KafkaSettings, *, client_id: str) -> dict[str, OperatorAction]:
    """The last verdict on each alert, by its id. What is no action is skipped. Raises as :func:`read_actions`."""
    found: dict[str, OperatorAction] = {}
    for action in _actions(kafka, client_id):
        if action.kind is ActionKind.VERDICT and action.alert_id is not None:
            known = found.setdefault(action.alert_id, action)
            if _when(action) > _when(known):
                found[action.alert_id] = action
    return found


def _actions(kafka: KafkaSettings, client_id: str, key: bytes | None = None) -> Iterator[OperatorAction]:
    """All that are kept, or those under a key, as they lie there."""
    for message in read_to_end(kafka, topic_name(kafka.prefix, "operator-actions"), client_id=client_id):
        if key in (None, message.key()):
            try:
                yield parse_action(message.value(), headers_of(message))
            except ContractError:
                continue


def _when(action: OperatorAction) -> tuple[datetime, str]:
    return action.at, action.id


def publish_action(kafka: KafkaSettings, action: OperatorAction, *, seconds: float = 10.0) -> None:
    """Sends an action and waits until the broker has it.

    Raises BadOperatorAction: no reader would take so large a one; TopicMissing, BrokerUnavailable, BrokerError.
    """
    value = action.model_dump_json().encode()
    _require_readable(value)
    require_topics(kafka, ["operator-actions"])
    failed: list[BrokerError] = []
    with Publisher(kafka, client_id="simvg-operator") as publisher:
        publisher.send(
            topic_name(kafka.prefix, "operator-actions"),
            key=action.target.encode(),
            value=value,
            headers=event_headers("operator-actions", id=action.id, source=f"/operators/{action.target}"),
            on_delivery=lambda error, place: failed.append(error) if error is not None else None,
        )
        if publisher.flush(seconds):
            raise BrokerUnavailable(
                f"the action was not taken by Kafka at {kafka.bootstrap} within {seconds:g} s; try again"
            )
    if failed:
        raise failed[0]
