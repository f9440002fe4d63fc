"""What the library's errors become, and what is logged of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr

from infra import acl, topics
from infra.errors import AccessDenied, BrokerError, BrokerUnavailable, CredentialsRefused, MessageTooLarge, TopicMissing
from infra.hanging import HangingWatch
from infra.health import BrokerProbe
from infra.kafka import Publisher, committed_offsets, follow, last_offsets, subscribe
from infra.kafka_client import ClientErrors, Refusal, client_config, translate, wait_for_broker
from infra.settings import KafkaSettings
from infra.transactions import TransactionalPublisher


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._ALL_BROKERS_DOWN, BrokerUnavailable),
        (KafkaError._TRANSPORT, BrokerUnavailable),
        (KafkaError._MSG_TIMED_OUT, BrokerUnavailable),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicMissing),
        (KafkaError._UNKNOWN_TOPIC, TopicMissing),
        (KafkaError.MSG_SIZE_TOO_LARGE, MessageTooLarge),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AccessDenied),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, AccessDenied),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, AccessDenied),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, AccessDenied),
        (KafkaError.SASL_AUTHENTICATION_FAILED, CredentialsRefused),
        (KafkaError._AUTHENTICATION, CredentialsRefused),
        (KafkaError._SSL, CredentialsRefused),
        (KafkaError.POLICY_VIOLATION, BrokerError),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["error", "exception"])
def test_library_error_becomes_ours(code: int, kind: type[BrokerError], wrapped: bool) -> None:
    """Each code of the library has its place in our tree, with the address in words."""
    error = KafkaError(code)
    found = translate(
        KafkaException(error) if wrapped else error, KafkaSettings(bootstrap="kafka-1:9092"), topic="frames"
    )
    assert type(found) is kind
    assert kind is CredentialsRefused or "frames" in str(found)
    assert "kafka-1:9092" in str(found)


def test_exception_without_a_code_is_kept_in_words() -> None:
    """An exception that carries only text is not lost."""
    assert "odd" in str(translate(KafkaException("odd"), KafkaSettings()))


def test_credentials_reach_the_client_only() -> None:
    """User and password go into the client's configuration when SASL is on, and nowhere else."""
    kafka = KafkaSettings(security_protocol="SASL_SSL", sasl_username="u", sasl_password=SecretStr("hush"))
    config = client_config(kafka, client_id="test")
    assert (config["sasl.username"], config["sasl.password"]) == ("u", "hush")
    assert "hush" not in str(translate(KafkaError(KafkaError._AUTHENTICATION), kafka))
    assert "sasl.password" not in client_config(KafkaSettings(), client_id="test")


def test_refused_access_names_principal_resource_and_remedy() -> None:
    """Who is refused, what it wanted, and the command that grants it."""
    kafka = KafkaSettings(security_protocol="SASL_SSL", sasl_username="w1", sasl_password=SecretStr("hush"))
    topic = str(translate(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), kafka, topic="alerts"))
    assert "does not allow User:w1 to use topic alerts" in topic
    assert "simvg acl kafka --role ROLE --principal User:w1 --apply" in topic
    group = str(translate(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), kafka, group="workers"))
    assert "does not allow User:w1 to use consumer group workers" in group


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"security_protocol": "SASL_SSL", "sasl_username": "line 1", "sasl_password": "hush"}, "'User:line 1'"),
        ({"security_protocol": "SSL", "ssl_certificate": __file__, "ssl_key": __file__}, "'User:SUBJECT'"),
    ],
    ids=["blank", "certificate"],
)
def test_remedy_of_refused_access_can_be_typed(settings: dict[str, str], told: str) -> None:
    """A name with a blank is one word of the command; of a certificate the subject is to be filled in."""
    refused = translate(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED), KafkaSettings.model_validate(settings))
    command = re.search("`simvg (.*)`", str(refused))
    assert command is not None and f" --principal {told} --apply" in command[1]
    assert len(shlex.split(command[1])) == 7


def test_broker_away_is_logged_once_and_then_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """Attempts to reach a broker that is away do not flood the log, and are counted."""
    times = iter([0.0, 1.0, 2.0, 31.0, 31.0])  # the last report looks at the clock twice
    errors = ClientErrors("test", every_s=30.0, clock=lambda: next(times))
    for _ in range(4):
        errors(KafkaError(KafkaError._TRANSPORT))
    assert len(caplog.records) == 2
    assert "2 more such reports" in caplog.text


def test_refusal_stands_until_a_connection_tells_otherwise() -> None:
    """All brokers being down is said upon every reason; that one cannot be reached is another reason."""
    refusal = Refusal()
    told = {}
    for code in (KafkaError._TRANSPORT, KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE):
        refusal(KafkaError(code))
        told[code] = None if refusal.error is None else refusal.error.code()
    assert list(told.values()) == [None, KafkaError._AUTHENTICATION, KafkaError._AUTHENTICATION, None]


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("error:0A000086:SSL routines::certificate verify failed (after 4ms in state SSL_HANDSHAKE)", True),
        ("error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42", True),
        ("Disconnected (after 4ms in state SSL_HANDSHAKE)", False),
    ],
)
def test_refusal_that_is_reported_as_a_loss_of_transport(said: str, refused: bool) -> None:
    """librdkafka reports one and the same refusal now as an error of TLS, now as a connection that broke off."""
    refusal = Refusal()
    refusal(KafkaError(KafkaError._TRANSPORT, said))
    assert (refusal.error is not None) == refused


def test_other_errors_are_all_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What is not about reach is logged every time."""
    errors = ClientErrors("test")
    for _ in range(2):
        errors(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda kafka: wait_for_broker(kafka, 1.0),
        topics.create_topics,
        topics.describe_topics,
        topics.delete_topics,
        lambda kafka: topics.require_topics(kafka, ["frames"]),
        lambda kafka: topics.set_session_timeout(kafka, "g", 10.0),
        lambda kafka: acl.apply(kafka, [], principal="User:w1"),
        lambda kafka: Publisher(kafka, client_id="test").send("frames", key=b"c", value=b"x"),
        lambda kafka: TransactionalPublisher(
            kafka, transactional_id="t", client_id="test", given_up=lambda: False
        ).connect(),
        lambda kafka: subscribe(kafka, "g", ["frames"], client_id="test", from_beginning=True),
        lambda kafka: committed_offsets(kafka, "g", [], client_id="test", seconds=1.0),
        lambda kafka: last_offsets(kafka, "frames", client_id="test"),
        lambda kafka: follow(kafka, ["frames"], client_id="test", from_beginning=True),
        lambda kafka: HangingWatch(kafka, client_id="test", topics=["frames"]).look(0.0),
    ],
    ids=[
        "wait", "create", "describe", "delete", "require", "time-out", "rights", "publish", "transactions",
        "subscribe", "committed", "last", "follow", "hanging",
    ],
)  # fmt: skip
def test_file_that_holds_no_certificate_is_named(tmp_path: Path, use: Callable[[KafkaSettings], object]) -> None:
    """Whoever makes a client says which settings to look at, as an error of ours."""
    (tmp_path / "ca.pem").write_text("nonsense\n", encoding="utf-8")
    kafka = KafkaSettings(bootstrap="127.0.0.1:1", security_protocol="SSL", ssl_ca=tmp_path / "ca.pem")
    with pytest.raises(BrokerError, match=r"can be made: .*ssl\.ca\.location failed.*; check SIMVG_KAFKA__SSL_CA"):
        use(kafka)
    assert "check SIMVG_KAFKA__SSL_CA" in (BrokerProbe(kafka).fault() or "")
