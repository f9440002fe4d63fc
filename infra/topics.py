"""The topics of the line: names, partitions, retention; creating, describing and requiring them.

Retention follows what a topic is for: frames are many and soon worthless, alerts are few and kept for weeks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # imported there, not marked as re-exported
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from infra.errors import BrokerError, TopicMissing
from infra.kafka_client import client_config, new_client, translate
from infra.settings import KafkaSettings

TopicName = Literal[
    "frames", "detections", "alerts", "evidence", "operator-actions", "alarm-state", "frames-rejected", "alerts-replay"
]
TOPIC_NAMES: tuple[TopicName, ...] = get_args(TopicName)

MAX_MESSAGE_BYTES = 4_000_000
"""Largest message the broker takes on topics that carry images; a 4K JPEG of high quality stays under it."""

MAX_REJECTED_BYTES = 4_194_304
"""The same of `frames-rejected`: the largest frame there is, with what was wrong with it and the headers it came with
(see :func:`infra.cloudevents.rejected_headers`) around it. Also the broker's own limit, in infra/kafka and
docker-compose.yml."""

_MINUTE, _DAY = 60_000, 86_400_000
_ADMIN_TIMEOUT_S = 15.0
_SPREAD_S = 1.0  # a topic that was created this long ago is known to every broker


@dataclass(frozen=True, kw_only=True)
class TopicSpec:
    """How one topic is laid out. ``config`` is Kafka's own topic configuration."""

    name: TopicName
    purpose: str
    partitions: int
    config: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TopicState:
    """One topic as the broker has it."""

    name: TopicName
    topic: str
    exists: bool
    created: bool = False
    partitions: int = 0
    replication: int = 0
    config: dict[str, str] | None = None


def _delete(
    *, ms: int, bytes_per_partition: int, segment_bytes: int = 64_000_000, message_bytes: int | None = None
) -> dict[str, str]:
    config = {
        "cleanup.policy": "delete",
        "retention.ms": str(ms),
        "retention.bytes": str(bytes_per_partition),
        "segment.bytes": str(segment_bytes),
    }
    return config if message_bytes is None else config | {"max.message.bytes": str(message_bytes)}


def _compact(*, and_delete_after_ms: int | None) -> dict[str, str]:
    # Short segments: a compacted topic is only cleaned in closed segments.
    config = {"cleanup.policy": "compact", "segment.ms": str(60 * _MINUTE), "min.cleanable.dirty.ratio": "0.2"}
    if and_delete_after_ms is not None:
        config |= {"cleanup.policy": "compact,delete", "retention.ms": str(and_delete_after_ms)}
    return config


def _spec(name: TopicName, purpose: str, config: dict[str, str], partitions: int = 4) -> tuple[TopicName, TopicSpec]:
    return name, TopicSpec(name=name, purpose=purpose, partitions=partitions, config=config)


TOPICS: dict[TopicName, TopicSpec] = dict(
    [
        _spec(
            "frames",
            "encoded images, keyed by camera",
            # Closed segments are what retention deletes: roll them every minute so that "10 minutes" is meant.
            _delete(ms=10 * _MINUTE, bytes_per_partition=1_000_000_000, message_bytes=MAX_MESSAGE_BYTES)
            | {"segment.ms": str(_MINUTE)},
        ),
        _spec("detections", "what was found on each frame", _delete(ms=3 * _DAY, bytes_per_partition=1_000_000_000)),
        _spec("alerts", "transitions of alerts, keyed by alert id", _compact(and_delete_after_ms=28 * _DAY)),
        _spec(
            "evidence",
            "the frame and the crop of each alert",
            _delete(ms=28 * _DAY, bytes_per_partition=2_000_000_000, message_bytes=MAX_MESSAGE_BYTES),
        ),
        _spec(
            "operator-actions",
            "what operators said of alerts",
            # Keyed by alert, so compaction would let a comment replace the verdict before it: not within the retention.
            _compact(and_delete_after_ms=365 * _DAY) | {"min.compaction.lag.ms": str(365 * _DAY)},
        ),
        _spec("alarm-state", "changelog of the alarm state machine", _compact(and_delete_after_ms=None)),
        _spec(
            "frames-rejected",
            "messages that could not be read as frames, as they were",
            _delete(ms=7 * _DAY, bytes_per_partition=200_000_000, message_bytes=MAX_REJECTED_BYTES),
        ),
        _spec(
            "alerts-replay",
            "alerts of replays, which nobody acts on",
            _delete(ms=7 * _DAY, bytes_per_partition=100_000_000),
        ),
    ]
)
"""Every topic of the line. Those keyed by camera have as many partitions as can be worked on side by side."""


def topic_name(prefix: str, name: TopicName) -> str:
    """``("", "frames")`` → ``frames``; ``("plant-a", "frames")`` → ``plant-a.frames``."""
    return f"{prefix}.{name}" if prefix else name


def _admin(kafka: KafkaSettings) -> AdminClient:
    return new_client(AdminClient, kafka, client_config(kafka, client_id="simvg-topics"))


def create_topics(kafka: KafkaSettings, names: Iterable[TopicName] = TOPIC_NAMES) -> list[TopicState]:
    """Create what is missing; what exists stays as it is. Returns the state of each, ``created`` where it was new.

    Raises:
        BrokerUnavailable: no broker answers.
        BrokerError: the broker refused, for example more replicas than brokers.
    """
    wanted = list(names)
    admin = _admin(kafka)
    states = describe_topics(kafka, wanted)
    new = {
        state.topic: NewTopic(
            state.topic,
            num_partitions=kafka.partitions or TOPICS[state.name].partitions,
            replication_factor=kafka.replication,
            config=dict(TOPICS[state.name].config),
        )
        for state in states
        if not state.exists
    }
    created: set[str] = set()
    if new:
        futures = admin.create_topics(
            list(new.values()), operation_timeout=_ADMIN_TIMEOUT_S, request_timeout=_ADMIN_TIMEOUT_S
        )
        for topic, future in futures.items():
            try:
                future.result()
                created.add(topic)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster: fine
                    raise translate(error, kafka, topic=topic) from error
        _await(admin, kafka, list(new))
    return [
        TopicState(
            name=state.name,
            topic=state.topic,
            exists=True,
            created=state.topic in created,
            partitions=state.partitions or kafka.partitions or TOPICS[state.name].partitions,
            replication=state.replication or kafka.replication,
            config=state.config or dict(TOPICS[state.name].config),
        )
        for state in states
    ]


def describe_topics(kafka: KafkaSettings, names: Iterable[TopicName] = TOPIC_NAMES) -> list[TopicState]:
    """Each topic as the broker has it, with the configuration that differs from the broker's defaults.

    Raises BrokerUnavailable when no broker answers.
    """
    wanted: dict[str, TopicName] = {topic_name(kafka.prefix, name): name for name in names}
    admin = _admin(kafka)
    try:
        metadata = admin.list_topics(timeout=_ADMIN_TIMEOUT_S)
        present = [topic for topic in wanted if topic in metadata.topics]
        configs = _configs(admin, present)
    except KafkaException as error:
        raise translate(error, kafka) from error
    states = []
    for topic, name in wanted.items():
        if topic not in present:
            states.append(TopicState(name=name, topic=topic, exists=False))
            continue
        partitions = metadata.topics[topic].partitions
        replicas = max((len(p.replicas) for p in partitions.values()), default=0)
        states.append(
            TopicState(
                name=name,
                topic=topic,
                exists=True,
                partitions=len(partitions),
                replication=replicas,
                config=configs.get(topic, {}),
            )
        )
    return states


def _configs(admin: AdminClient, topics: list[str]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    futures = admin.describe_configs(resources, request_timeout=_ADMIN_TIMEOUT_S)
    return {
        resource.name: {
            name: entry.value for name, entry in future.result().items() if not entry.is_default and entry.value
        }
        for resource, future in futures.items()
    }


def require_topics(kafka: KafkaSettings, names: Iterable[TopicName]) -> None:
    """Looks at each by its name, which needs no more than the right to read or write it.

    Raises TopicMissing, naming every missing topic and the remedy; AccessDenied, naming the first that is hidden from
    us; BrokerUnavailable when no broker answers.
    """
    admin = _admin(kafka)
    missing = _await(admin, kafka, [topic_name(kafka.prefix, name) for name in names], _SPREAD_S)
    if missing:
        raise TopicMissing(
            f"topic {', '.join(missing)} does not exist on {kafka.bootstrap}; create it with `simvg topics create`"
            + (f" (topic prefix {kafka.prefix!r})" if kafka.prefix else "")
        )


def set_session_timeout(kafka: KafkaSettings, group: str, seconds: float) -> None:
    """After how long a silent member of the group has lost its partitions; for the group protocol "consumer".

    Raises BrokerError when the broker does not take it, with its reason; BrokerUnavailable.
    """
    admin = _admin(kafka)
    entry = ConfigEntry(
        "consumer.session.timeout.ms", str(round(seconds * 1000)), incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource], request_timeout=_ADMIN_TIMEOUT_S).values():
        try:
            future.result()
        except KafkaException as error:
            raise translate(error, kafka) from error


def _await(admin: AdminClient, kafka: KafkaSettings, topics: list[str], seconds: float = _ADMIN_TIMEOUT_S) -> list[str]:
    """Waits until the broker shows the topics: it hears of a new one a moment after the controller has made it.

    Returns those that it does not know after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        topics = [topic for topic in topics if not _exists(admin, kafka, topic)]
        if not topics or time.monotonic() > deadline:
            return topics
        time.sleep(0.1)


def _exists(admin: AdminClient, kafka: KafkaSettings, topic: str) -> bool:
    try:
        error = admin.list_topics(topic, timeout=_ADMIN_TIMEOUT_S).topics[topic].error
    except KafkaException as failed:
        raise translate(failed, kafka, topic=topic) from failed
    if error is None or error.code() == KafkaError.LEADER_NOT_AVAILABLE:  # it exists, and was made just now
        return True
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return False
    raise translate(error, kafka, topic=topic)


def delete_topics(kafka: KafkaSettings, names: Iterable[TopicName] = TOPIC_NAMES) -> None:
    """Delete topics with all that is in them; missing ones are fine. For tests and benchmarks."""
    admin = _admin(kafka)
    futures = admin.delete_topics([topic_name(kafka.prefix, n) for n in names], request_timeout=_ADMIN_TIMEOUT_S)
    for topic, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise translate(error, kafka, topic=topic) from error


__all__ = [
    "MAX_MESSAGE_BYTES",
    "MAX_REJECTED_BYTES",
    "TOPICS",
    "TOPIC_NAMES",
    "BrokerError",
    "TopicName",
    "TopicSpec",
    "TopicState",
    "create_topics",
    "delete_topics",
    "describe_topics",
    "require_topics",
    "set_session_timeout",
    "topic_name",
]
