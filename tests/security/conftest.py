"""A broker that asks who is there and what they may do, with certificates and users made for the run."""

from __future__ import annotations

import datetime
import ipaddress
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # imported there, not marked as re-exported
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import SecretStr
from typer.testing import CliRunner

from infra.acl_cli import app
from infra.broker import LocalBroker
from infra.kafka_client import client_config
from infra.process import free_port
from infra.settings import KafkaSettings
from infra.topics import create_topics
from tests.security.tokens import TokenServer

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key as PEM files, and the authority that signed it."""

    authority: Path
    certificate: Path
    key: Path


class Authority:
    """A certificate authority of the tests' own."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / "ca.pem"
        certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> Certificate:
        """A certificate for a server on this machine, or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            _builder(subject, self._name, key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        made = Certificate(self.file, self._folder / f"{name}.pem", self._folder / f"{name}.key")
        made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "the plant's authority")


@pytest.fixture(scope="session")
def token_server() -> Iterator[TokenServer]:
    server = TokenServer()
    server.start()
    yield server
    server.stop()


@dataclass(frozen=True)
class SecuredBroker:
    """A broker with an authorizer: ``admin`` may do everything, users nothing until it is granted."""

    admin: KafkaSettings
    tls_port: int
    mutual_port: int
    authority: Path

    def user(self, name: str, *, mechanism: str = "SCRAM-SHA-512", password: str | None = None) -> KafkaSettings:
        """Settings of a user over SASL and TLS. SCRAM users are made here."""
        password = password or f"{name}-Kj7-vale"
        if mechanism.startswith("SCRAM"):
            self._make(name, mechanism, password)
        return KafkaSettings.model_validate(
            {
                "bootstrap": f"127.0.0.1:{self.tls_port}",
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": mechanism,
                "sasl_username": name,
                "sasl_password": SecretStr(password),
                "ssl_ca": self.authority,
                "partitions": 2,
            }
        )

    def _make(self, name: str, mechanism: str, password: str) -> None:
        kind = ScramMechanism.SCRAM_SHA_512 if mechanism.endswith("512") else ScramMechanism.SCRAM_SHA_256
        admin = AdminClient(client_config(self.admin, client_id="test-users"))
        change = UserScramCredentialUpsertion(name, ScramCredentialInfo(kind, 4096), password.encode())
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(timeout=30)


PLAIN_USER, PLAIN_PASSWORD = "plain-user", "plain-Kj7-vale"


@pytest.fixture(scope="session")
def secured(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, token_server: TokenServer
) -> Iterator[SecuredBroker]:
    """One for the run: SASL over TLS (SCRAM, PLAIN, OAUTHBEARER) on one port, mutual TLS on another."""
    folder = tmp_path_factory.mktemp("secured-broker")
    port, controller, tls, mutual = free_port(), free_port(), free_port(), free_port()
    server = authority.issue("broker")
    store = folder / "broker.pem"  # key and certificate in one file
    store.write_bytes(server.key.read_bytes() + server.certificate.read_bytes())
    jaas = "org.apache.kafka.common.security"
    properties = {
        "listeners": (
            f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},"
            f"SECURE://127.0.0.1:{tls},MUTUAL://127.0.0.1:{mutual}"
        ),
        "advertised.listeners": (f"PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{tls},MUTUAL://127.0.0.1:{mutual}"),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # of the listener without credentials: the tests' administrator
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.secure.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER",
        "listener.name.secure.scram-sha-256.sasl.jaas.config": f"{jaas}.scram.ScramLoginModule required;",
        "listener.name.secure.scram-sha-512.sasl.jaas.config": f"{jaas}.scram.ScramLoginModule required;",
        "listener.name.secure.plain.sasl.jaas.config": (
            f'{jaas}.plain.PlainLoginModule required user_{PLAIN_USER}="{PLAIN_PASSWORD}";'
        ),
        "listener.name.secure.oauthbearer.sasl.jaas.config": (f"{jaas}.oauthbearer.OAuthBearerLoginModule required;"),
        "listener.name.secure.oauthbearer.sasl.server.callback.handler.class": (
            f"{jaas}.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        "listener.name.secure.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": token_server.keys_url,
        "listener.name.secure.oauthbearer.sasl.oauthbearer.expected.audience": token_server.audience,
    }
    broker = LocalBroker(
        folder,
        port=port,
        controller_port=controller,
        cache_dir=REPOSITORY / ".cache",
        properties=properties,
        java_options=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={token_server.keys_url}"],
    )
    broker.start()
    admin = broker.settings.model_copy(update={"partitions": 2})
    yield SecuredBroker(admin=admin, tls_port=tls, mutual_port=mutual, authority=authority.file)
    broker.stop(kill=True)


Grant = Callable[[str], KafkaSettings]


@pytest.fixture(scope="module")
def granted(secured: SecuredBroker) -> Grant:
    """``granted(role)``: a user with the role's rights under a prefix of these tests' own, by the command."""
    prefix = f"p{uuid.uuid4().hex[:8]}"
    create_topics(secured.admin.model_copy(update={"prefix": prefix}))
    made: dict[str, KafkaSettings] = {}

    def grant(role: str) -> KafkaSettings:
        if role not in made:
            user = secured.user(f"{role}-1").model_copy(update={"prefix": prefix})
            arguments = ["--role", role, "--principal", user.principal, "--topic-prefix", prefix, "--apply"]
            done = CliRunner().invoke(app, ["kafka", *arguments, "--kafka", secured.admin.bootstrap])
            assert done.exit_code == 0, done.output or done.exception
            made[role] = user
        return made[role]

    return grant
