"""What every Kafka client of ours has in common: how it connects, and what its errors mean to us."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from infra.errors import (
    AccessDenied,
    BrokerError,
    BrokerUnavailable,
    CredentialsRefused,
    MessageTooLarge,
    TopicMissing,
)
from infra.redaction import redact
from infra.settings import KafkaSettings

logger = logging.getLogger(__name__)

# What librdkafka logs by itself is either routine (a coordinator that loads) or comes to `ClientErrors` as well.
_library_logger = logging.getLogger(f"{__name__}.librdkafka")
_library_logger.setLevel(logging.CRITICAL)

ClientConfig = dict[str, Any]
ClientT = TypeVar("ClientT")

# Codes by which librdkafka says that it could not speak to a broker (for now): every one of them is worth another try.
AWAY = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._WAIT_COORD,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)
_NO_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
# Codes by which one side of a connection does not believe the other: trying again cures nothing.
REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "consumer group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "transactional id",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the cluster",
}


def client_config(kafka: KafkaSettings, *, client_id: str) -> ClientConfig:
    """Configuration shared by producers, consumers and admin clients. Holds the password: never log it."""
    config: ClientConfig = {
        "bootstrap.servers": kafka.bootstrap,
        "client.id": client_id,
        "security.protocol": kafka.security_protocol,
        # Come back within a second or so after an outage; the default waits up to ten.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1000,
        "socket.keepalive.enable": True,
        "logger": _library_logger,
        "error_cb": ClientErrors(client_id),
    }
    return config | _credentials(kafka) | _tls(kafka)


def new_client(kind: Callable[[ClientConfig], ClientT], kafka: KafkaSettings, config: ClientConfig) -> ClientT:
    """A client of the library, which connects to nothing yet: ``kind`` is its class, ``config`` as of `client_config`.

    Raises BrokerError for what the library does not take, such as a file that holds no certificate, or another's key.
    """
    try:
        return kind(config)
    except KafkaException as error:
        files = [f"SIMVG_KAFKA__{name.upper()}" for name in _TLS_FILES if getattr(kafka, name) is not None]
        remedy = f"; check {', '.join(files)} and, of an encrypted key, its password" if files else ""
        raise BrokerError(
            f"no client for Kafka at {kafka.bootstrap} can be made: {redact(error.args[0].str())}{remedy}"
        ) from error


def _credentials(kafka: KafkaSettings) -> ClientConfig:
    if not kafka.security_protocol.startswith("SASL"):
        return {}
    if kafka.sasl_mechanism != "OAUTHBEARER":
        return {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username,
            "sasl.password": _secret(kafka.sasl_password),
        }
    config = {
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",  # the library fetches tokens, and new ones before they expire
        "sasl.oauthbearer.token.endpoint.url": kafka.oauth_token_url,
        "sasl.oauthbearer.client.id": kafka.oauth_client_id,
        "sasl.oauthbearer.client.secret": _secret(kafka.oauth_client_secret),
        "sasl.oauthbearer.scope": kafka.oauth_scope,
    }
    return {name: value for name, value in config.items() if value is not None}


_TLS_FILES = {
    "ssl_ca": "ssl.ca.location",
    "ssl_certificate": "ssl.certificate.location",
    "ssl_key": "ssl.key.location",
    "oauth_ca": "https.ca.location",
}


def _tls(kafka: KafkaSettings) -> ClientConfig:
    files = {option: getattr(kafka, name) for name, option in _TLS_FILES.items()}
    config: ClientConfig = {option: str(path) for option, path in files.items() if path is not None}
    return config | ({"ssl.key.password": _secret(kafka.ssl_key_password)} if kafka.ssl_key_password else {})


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


class ClientErrors:
    """Logs what a client reports; it goes on by itself after all but fatal errors, which also come back from calls.

    A broker that is away is reported at every attempt to reach it: that is said once, then every 30 s.
    """

    def __init__(self, client_id: str, *, every_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._client_id = client_id
        self._every_s = every_s
        self._clock = clock
        self._said_at: float | None = None
        self._unsaid = 0

    def __call__(self, error: KafkaError) -> None:
        if error.fatal():
            logger.error("kafka client %s: %s (%s)", self._client_id, error.str(), error.name())
        elif error.code() not in AWAY | REFUSED:
            logger.warning("kafka client %s: %s (%s)", self._client_id, error.str(), error.name())
        elif self._said_at is None or self._clock() - self._said_at >= self._every_s:
            more = f", {self._unsaid} more such reports since the last" if self._unsaid else ""
            logger.warning("kafka client %s: %s (%s)%s", self._client_id, error.str(), error.name(), more)
            self._said_at, self._unsaid = self._clock(), 0
        else:
            self._unsaid += 1


class Refusal:
    """What the connections of a client came to last, if that was a refusal: to be its ``error_cb``.

    Its calls tell of a broker that is away, whatever the reason; and librdkafka tells the reason once, then for half a
    minute no more.
    """

    def __init__(self) -> None:
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if is_refusal(error):
            self.error = error
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:  # which follows upon every reason
            self.error = None


# What OpenSSL says in what librdkafka reports as a mere loss of transport: a broker misses our certificate, or we do
# not know its authority (which comes as an error of TLS at one attempt and as this at the next).
_REFUSED_IN_WORDS = ("tls alert", "certificate verify failed")


def is_refusal(error: KafkaError) -> bool:
    """Whether one side does not believe the other."""
    return error.code() in REFUSED or (error.code() in AWAY and any(word in error.str() for word in _REFUSED_IN_WORDS))


def translate(
    error: KafkaException | KafkaError, kafka: KafkaSettings, *, topic: str | None = None, group: str | None = None
) -> BrokerError:
    """A library error as one of our own tree, with address, topic or group, and remedy in words."""
    inner = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(inner, KafkaError):
        return BrokerError(f"Kafka client: {inner}")
    on_topic = f" (topic {topic})" if topic else ""
    code = inner.code()
    if is_refusal(inner):
        return CredentialsRefused(
            f"Kafka at {kafka.bootstrap} and this client ({kafka.principal}) do not trust each other: "
            f"{redact(inner.str())}; check SIMVG_KAFKA__SECURITY_PROTOCOL ({kafka.security_protocol}), the credentials "
            "and SIMVG_KAFKA__SSL_CA; those that were changed count for a process that is started afterwards"
        )
    if code in AWAY:
        return BrokerUnavailable(
            f"no Kafka broker answers at {kafka.bootstrap}{on_topic}: {inner.str()}; start one with `simvg up`, or set "
            "SIMVG_KAFKA__BOOTSTRAP (and SIMVG_KAFKA__SECURITY_PROTOCOL, if it wants TLS or a login)"
        )
    if code in DENIED:
        name = {"topic": topic, "consumer group": group}.get(DENIED[code])
        resource = f"{DENIED[code]} {name}" if name else f"{DENIED[code]}{on_topic}"
        return AccessDenied(
            f"Kafka at {kafka.bootstrap} does not allow {kafka.principal} to use {resource}: {inner.str()}; an "
            f"administrator grants a role's rights with `simvg acl kafka --role ROLE --principal {_grantee(kafka)} "
            "--apply`"
        )
    if code in _NO_TOPIC:
        return TopicMissing(
            f"topic {topic or inner.str()} does not exist on {kafka.bootstrap}; create it with `simvg topics create`"
        )
    if code == KafkaError.MSG_SIZE_TOO_LARGE:
        return MessageTooLarge(
            f"message is larger than Kafka at {kafka.bootstrap} accepts{on_topic}: {inner.str()}; lower the JPEG "
            "quality or the frame size, or raise max.message.bytes of the topic"
        )
    return BrokerError(f"Kafka at {kafka.bootstrap}{on_topic}: {inner.str()} ({inner.name()})")


def _grantee(kafka: KafkaSettings) -> str:
    """Our principal as a word of a command; of a certificate the broker's rules decide how its subject is written."""
    return shlex.quote(kafka.principal) if kafka.principal.startswith("User:") else "'User:SUBJECT'"


def wait_for_broker(kafka: KafkaSettings, seconds: float) -> None:
    """Return as soon as a broker answers.

    Raises BrokerUnavailable after ``seconds``; CredentialsRefused at once when a broker refuses us, or we its
    certificate; BrokerError when no client can be made.
    """
    refused: list[KafkaError] = []

    def note(error: KafkaError) -> None:
        # Knocking often is the point here, so librdkafka's complaints about each knock are not worth a line.
        if is_refusal(error):
            refused.append(error)

    config = client_config(kafka, client_id="simvg-wait") | {"error_cb": note, "log_level": 0}
    admin = new_client(AdminClient, kafka, config)
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            admin.list_topics(timeout=max(min(left, 1.0), 0.05))
            return
        except KafkaException as error:
            admin.poll(0)  # hands over what `note` is told
            if refused:
                raise translate(refused[0], kafka) from error
            if time.monotonic() >= deadline or error.args[0].code() not in AWAY:
                raise translate(error, kafka) from error
            time.sleep(0.1)
