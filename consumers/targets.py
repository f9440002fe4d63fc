"""What operators' actions may be about: the queries and cameras that there are, and what a query is shelved for."""

from __future__ import annotations

from datetime import datetime

from infra.contracts import CAMERA_BLIND, Alert
from infra.errors import BadOperatorAction, RegistryAccessDenied, RegistryError
from infra.near import did_you_mean
from infra.queries import QueryRegistry
from infra.reports import cameras_seen
from infra.settings import KafkaSettings, RoleSettings


def require_known(settings: RoleSettings, query: str, camera: str | None) -> None:
    """Passes a query that stands in the registry or has an alarm, at a camera (None: at all) that has sent frames.

    Raises BadOperatorAction naming the nearest one that is known, and whether the registry could be asked;
    BrokerUnavailable, TopicMissing, AccessDenied.
    """
    queries, cameras, silent = _of_registry(settings)
    queries.add(CAMERA_BLIND)
    if query not in queries or (camera is not None and camera not in cameras):
        from consumers.cameras import read_alarms  # not at the top: a camera's image has no library for alarms

        alarms = read_alarms(settings.kafka)
        queries |= {alarm.query_id for alarm in alarms}
        cameras |= {alarm.camera for alarm in alarms}
    for kind, word, known, remedy in (
        ("query", query, queries, "`simvg query list`"),
        ("camera", camera, cameras, "`simvg cameras list`"),
    ):
        if word is not None and word not in known:
            raise BadOperatorAction(
                f"no {kind} {word!r} is known{did_you_mean(word, known)}; {remedy} shows those that are, and --force "
                f"sends the action all the same{silent}"
            )


def _of_registry(settings: RoleSettings) -> tuple[set[str], set[str], str]:
    """Ids of the standing queries, cameras that running workers have seen, and in words why the registry is silent."""
    registry = QueryRegistry(settings.redis)
    try:
        snapshot = registry.snapshot()
        try:
            reports = registry.reports()
        except RegistryAccessDenied:  # a reader whose rights are those of an earlier version
            reports = {}
    except RegistryError as error:
        return set(), set(), f"; the registry was not asked: {error}"
    finally:
        registry.close()
    known = {query.id for query in snapshot.queries} | {broken.id for broken in snapshot.broken}
    return known, cameras_seen(reports), ""


def query_shelved(kafka: KafkaSettings, alert: Alert, *, at: datetime) -> tuple[datetime, str] | None:
    """Until when the whole query of an alert is shelved at its camera, and by whom; None: it is not.

    Raises BrokerUnavailable, TopicMissing, AccessDenied.
    """
    from consumers.cameras import read_alarms  # as above

    for alarm in read_alarms(kafka):
        if (alarm.camera, alarm.query_id) == (alert.camera, alert.query.id) and alarm.shelf is not None:
            return (alarm.shelf.until, alarm.shelf.by) if alarm.shelf.until > at else None
    return None
