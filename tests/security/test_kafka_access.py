"""Each role does its work with the rights of `simvg acl kafka`, and is refused what is not its."""

from __future__ import annotations

import re
import threading
import time

import pytest
from confluent_kafka import TopicPartition

from infra.acl import ROLES, commands, grants
from infra.errors import AccessDenied, BrokerError
from infra.kafka import Publisher, follow, subscribe
from infra.settings import KafkaSettings
from infra.topics import (
    TOPIC_NAMES,
    TopicName,
    create_topics,
    describe_topics,
    require_topics,
    set_session_timeout,
    topic_name,
)
from infra.transactions import TransactionalPublisher
from tests.security.conftest import Grant, SecuredBroker

GROUPS = {"worker": "simvg-workers", "console": "simvg-console", "line-control": "simvg-line-control"}
READS: dict[str, set[TopicName]] = {
    "camera": set(),
    "worker": {"frames", "alarm-state", "operator-actions"},
    "console": set(TOPIC_NAMES),
    "line-control": {"alerts"},
    "viewer": {"detections", "alerts", "evidence", "frames-rejected"},
    "rejected": {"frames-rejected"},
    "replay": {"frames", "alerts"},
    "why": {"frames", "detections", "alerts", "operator-actions", "frames-rejected"},
    "collect": {"alerts", "evidence", "operator-actions"},
    "topics": set(),
}
WRITES: dict[str, set[TopicName]] = {
    "camera": {"frames"},
    "worker": {"detections", "alerts", "evidence", "alarm-state", "frames-rejected"},
    "console": {"operator-actions"},
    "line-control": set(),
    "viewer": set(),
    "rejected": {"frames"},
    "replay": {"alerts-replay"},
    "why": set(),
    "collect": set(),
    "topics": set(),
}


def _write(kafka: KafkaSettings, name: TopicName) -> BrokerError | None:
    """One message; what the broker said against it."""
    said: list[BrokerError | None] = []
    publisher = Publisher(kafka, client_id="test", delivery_timeout_s=30.0)
    publisher.send(
        topic_name(kafka.prefix, name), key=b"k", value=b"v", on_delivery=lambda error, place: said.append(error)
    )
    try:
        publisher.flush(30.0)
        publisher.close()
    except BrokerError as error:
        return error
    assert len(said) == 1, "a message is confirmed or refused"
    return said[0]


def _read(kafka: KafkaSettings, name: TopicName, seconds: float) -> BrokerError | None:
    """Follows the topic from its beginning until a message comes; what the broker said against it by then."""
    deadline = time.monotonic() + seconds
    try:
        with follow(kafka, [topic_name(kafka.prefix, name)], client_id="test", from_beginning=True) as consumer:
            while time.monotonic() < deadline and consumer.poll(0.1) is None:
                pass
    except BrokerError as error:
        return error
    return None


@pytest.mark.parametrize("role", [role for role in ROLES if role != "topics"])
def test_role_reads_and_writes_its_topics_and_no_others(granted: Grant, role: str) -> None:
    """Every topic is tried both ways; a refusal names user, topic and the command that grants."""
    kafka = granted(role)
    for name in TOPIC_NAMES:
        for kind, allowed, said in (
            ("Write", WRITES[role], _write(kafka, name)),
            ("Read", READS[role], _read(kafka, name, 1.0 if name in READS[role] else 60.0)),
        ):
            if name in allowed:
                assert said is None, f"{role} and {name}: {said}"
                continue
            assert type(said) is AccessDenied, f"{role} and {name}: {said!r}"
            # Who may read nothing, or write nothing, may be stopped before it comes to ask for the topic.
            before = {"Read": "consumer group simvg-follower-", "Write": "the cluster"}[kind]
            resource = f"topic {topic_name(kafka.prefix, name)}"
            found = re.search(rf"allow User:{role}-1 to use (.*?):", str(said))
            assert found is not None, str(said)
            assert found.group(1) == resource or (not allowed and found.group(1) == before)
            assert f"--principal User:{role}-1 --apply" in str(said)


@pytest.mark.parametrize("role", ["worker", "console", "line-control"])
def test_role_reads_in_its_own_group_only(granted: Grant, role: str) -> None:
    """It joins its group and commits there; another group is refused by name."""
    kafka = granted(role)
    topic = topic_name(kafka.prefix, sorted(READS[role])[0])
    assigned = threading.Event()
    with subscribe(
        kafka,
        GROUPS[role],
        [topic],
        client_id="test",
        from_beginning=True,
        on_assign=lambda consumer, partitions: assigned.set(),
    ) as consumer:
        for _ in range(300):
            consumer.poll(0.1)
            if assigned.is_set():
                break
        assert assigned.is_set()
        consumer.commit([TopicPartition(topic, 0, 0)])
    with subscribe(kafka, "somebody-elses", [topic], client_id="test", from_beginning=True) as stranger:
        refusal = rf"User:{role}-1 to use consumer group somebody-elses"
        with pytest.raises(AccessDenied, match=refusal):
            stranger.consume(1, 30.0)


def test_worker_writes_in_transactions_of_its_group(granted: Grant) -> None:
    """Transactional ids of its plant and group are the worker's; others and those of other roles are refused."""
    kafka = granted("worker")

    def open_transaction(kafka: KafkaSettings, transactional_id: str) -> None:
        publisher = TransactionalPublisher(
            kafka, transactional_id=transactional_id, client_id="test", given_up=lambda: False
        )
        publisher.begin()

    own = f"simvg/{kafka.prefix}/simvg-workers/w1"
    open_transaction(kafka, own)
    set_session_timeout(kafka, "simvg-workers", 9.0)
    with pytest.raises(AccessDenied, match="User:worker-1 to use transactional id"):
        open_transaction(kafka, f"simvg/{kafka.prefix}/somebody-elses/w1")
    with pytest.raises(AccessDenied, match="User:camera-1 to use transactional id"):
        open_transaction(granted("camera"), own)


def test_topics_role_creates_topics_of_its_plant(secured: SecuredBroker, granted: Grant) -> None:
    """It creates and describes them; topics of another plant it cannot create."""
    kafka = granted("topics")
    assert all(state.exists for state in describe_topics(kafka))
    with pytest.raises(AccessDenied, match=r"User:topics-1 to use topic other\.frames"):
        create_topics(kafka.model_copy(update={"prefix": "other"}))


def test_missing_right_is_not_taken_for_a_missing_topic(granted: Grant) -> None:
    """A camera that may not see a topic is told so, not to create it."""
    with pytest.raises(AccessDenied, match="User:camera-1 to use topic"):
        require_topics(granted("camera"), ["alerts"])


def test_only_an_administrator_grants(granted: Grant) -> None:
    """A worker cannot give itself more."""
    from infra import acl

    kafka = granted("worker")
    with pytest.raises(AccessDenied, match="User:worker-1 to use the cluster"):
        acl.apply(kafka, grants("console", kafka, group="simvg-console"), principal=kafka.principal)


def test_rights_as_commands() -> None:
    """What is shown are calls of Kafka's own tool, quoted for a shell."""
    kafka = KafkaSettings(bootstrap="k:9092", prefix="plant-a")
    found = list(commands(grants("camera", kafka, group="x"), principal="User:CN=cam 1", bootstrap="k:9092"))
    start = "kafka-acls.sh --bootstrap-server k:9092 --add --allow-principal 'User:CN=cam 1'"
    assert found == [
        f"{start} --operation Write --topic plant-a.frames",
        f"{start} --operation IdempotentWrite --cluster",
    ]
