"""Who may do what on the cluster: the least that each role needs, as Kafka's access control lists.

A camera cannot read alerts, a worker cannot write frames, the line's control cannot write at all. Read and write imply
describe; nothing else is implied. The rights of Redis are in :mod:`infra.redis_acl`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # imported there, not marked as re-exported
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from infra.consumer import FOLLOWER_GROUPS
from infra.kafka_client import client_config, new_client, translate
from infra.settings import KafkaSettings
from infra.topics import TOPIC_NAMES, TopicName, topic_name

Role = Literal[
    "camera", "worker", "console", "line-control", "viewer", "rejected", "replay", "why", "collect", "topics"
]  # fmt: skip
ROLES: tuple[Role, ...] = get_args(Role)

Operation = Literal["Read", "Write", "Describe", "Create", "AlterConfigs", "DescribeConfigs", "IdempotentWrite"]
Resource = Literal["topic", "group", "transactional-id", "cluster"]

_ADMIN_TIMEOUT_S = 15.0
_CLUSTER = "kafka-cluster"  # the one name that Kafka gives it

PURPOSES: dict[Role, str] = {
    "camera": "publishes frames",
    "worker": "reads frames and operators' actions, writes what was found",
    "console": "shows everything, writes operators' actions",
    "line-control": "reads alerts",
    "viewer": "reads what was found, as `simvg alerts` does",
    "rejected": "reads what was rejected and publishes it again, as `simvg rejected` does",
    "replay": "scores kept frames anew and compares the alerts, as `simvg replay` does",
    "why": "reads what became of a camera's frames and alerts, as `simvg why` does",
    "collect": "reads alerts, their pictures and verdicts, as `simvg alerts collect` does",
    "topics": "creates topics, as `simvg topics create` does",
}

_READS: dict[Role, tuple[TopicName, ...]] = {
    "worker": ("frames", "alarm-state", "operator-actions"),
    "console": TOPIC_NAMES,
    "line-control": ("alerts",),
    "viewer": ("detections", "alerts", "evidence", "frames-rejected"),
    "rejected": ("frames-rejected",),
    "replay": ("frames", "alerts"),
    "why": ("frames", "detections", "alerts", "operator-actions", "frames-rejected"),
    "collect": ("alerts", "evidence", "operator-actions"),
}
_WRITES: dict[Role, tuple[TopicName, ...]] = {
    "camera": ("frames",),
    "worker": ("detections", "alerts", "evidence", "alarm-state", "frames-rejected"),
    "console": ("operator-actions",),
    "rejected": ("frames",),
    "replay": ("alerts-replay",),
}


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a role may do with one resource; ``prefixed``: with all whose name begins so."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


def transactional_ids(prefix: str, group: str) -> str:
    """How the transactional ids of a group's workers begin; see :class:`consumers.grounding.worker.Worker`."""
    return f"simvg/{prefix}/{group}/"


def grants(role: Role, kafka: KafkaSettings, *, group: str) -> list[Grant]:
    """Everything that the role needs under this topic prefix, and nothing else.

    ``group``: the consumer group of the role.
    """
    found = []
    if role == "topics":
        create: tuple[Operation, ...] = ("Create", "Describe", "DescribeConfigs")
        return [Grant(resource="topic", name=topic_name(kafka.prefix, n), operations=create) for n in TOPIC_NAMES]
    reads, writes = _READS.get(role, ()), _WRITES.get(role, ())
    for name in TOPIC_NAMES:
        operations: list[Operation] = []
        if name in reads:
            operations.append("Read")
        if name in writes:
            operations.append("Write")
        if operations:
            found.append(Grant(resource="topic", name=topic_name(kafka.prefix, name), operations=tuple(operations)))
    if reads:
        # Readers outside of any group; nothing is ever committed for them.
        found.append(Grant(resource="group", name=FOLLOWER_GROUPS, prefixed=True, operations=("Describe",)))
    if role == "worker":
        # It also says after how long a silent member of its group has lost its partitions.
        found.append(Grant(resource="group", name=group, operations=("Read", "AlterConfigs")))
        names = transactional_ids(kafka.prefix, group)
        found.append(Grant(resource="transactional-id", name=names, prefixed=True, operations=("Write",)))
    elif role in ("console", "line-control"):
        found.append(Grant(resource="group", name=group, operations=("Read",)))
    if writes:
        # Since Kafka 2.8 this follows from being allowed to write to any topic; older clusters want it said.
        found.append(Grant(resource="cluster", name=_CLUSTER, operations=("IdempotentWrite",)))
    return found


def commands(found: Iterable[Grant], *, principal: str, bootstrap: str, host: str = "*") -> Iterator[str]:
    """The same rights as calls of Kafka's own `kafka-acls.sh`, one per resource."""
    for grant in found:
        target = ["--cluster"] if grant.resource == "cluster" else [f"--{grant.resource}", grant.name]
        pattern = ["--resource-pattern-type", "prefixed"] if grant.prefixed else []
        operations = [part for one in grant.operations for part in ("--operation", one)]
        hosts = ["--allow-host", host] if host != "*" else []
        words = ["--bootstrap-server", bootstrap, "--add", "--allow-principal", principal, *hosts]
        yield shlex.join(["kafka-acls.sh", *words, *operations, *target, *pattern])


_OPERATIONS: dict[Operation, AclOperation] = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "Create": AclOperation.CREATE,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "IdempotentWrite": AclOperation.IDEMPOTENT_WRITE,
}
_RESOURCES: dict[Resource, ResourceType] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,  # as the library calls the cluster
}


def apply(kafka: KafkaSettings, found: Iterable[Grant], *, principal: str, host: str = "*") -> int:
    """Grants the rights on the cluster; those that stand already stay. Returns how many.

    Raises:
        AccessDenied: we are not allowed to grant (it takes Alter on the cluster).
        BrokerError: no authorizer is configured, or the cluster refuses.
        BrokerUnavailable, CredentialsRefused: as every call.
    """
    bindings = [
        AclBinding(
            _RESOURCES[grant.resource],
            grant.name,
            ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
            principal,
            host,
            _OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for grant in found
        for operation in grant.operations
    ]
    admin = new_client(AdminClient, kafka, client_config(kafka, client_id="simvg-acl"))
    try:
        for future in admin.create_acls(bindings, request_timeout=_ADMIN_TIMEOUT_S).values():
            future.result()
    except KafkaException as error:
        raise translate(error, kafka) from error
    return len(bindings)
