"""Real connections to a broker that asks for credentials, and what is said when they are wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.errors import CredentialsRefused, SimVGLineError
from infra.health import BrokerProbe
from infra.kafka_client import wait_for_broker
from infra.settings import KafkaSettings
from tests.security import tokens
from tests.security.conftest import PLAIN_PASSWORD, PLAIN_USER, Authority, SecuredBroker
from tests.security.tokens import TokenServer


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
def test_user_with_password_connects(secured: SecuredBroker, mechanism: str) -> None:
    """Each mechanism of SASL, over TLS with the plant's own authority."""
    name, password = (PLAIN_USER, PLAIN_PASSWORD) if mechanism == "PLAIN" else (f"u-{mechanism[-3:]}", None)
    wait_for_broker(secured.user(name, mechanism=mechanism, password=password), 20.0)


def _oauth(secured: SecuredBroker, server: TokenServer, secret: str) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap": f"127.0.0.1:{secured.tls_port}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "oauth_token_url": server.token_url,
            "oauth_client_id": tokens.CLIENT,
            "oauth_client_secret": SecretStr(secret),
            "oauth_scope": tokens.SCOPE,
            "ssl_ca": secured.authority,
        }
    )


def test_client_of_an_identity_provider_connects(secured: SecuredBroker, token_server: TokenServer) -> None:
    """With a token that the library fetches by client id, secret and scope."""
    wait_for_broker(_oauth(secured, token_server, tokens.SECRET), 30.0)
    assert tokens.SCOPE in token_server.given


def test_certificate_instead_of_a_password(secured: SecuredBroker, authority: Authority) -> None:
    """Mutual TLS: who has a certificate of the plant's authority connects."""
    client = authority.issue("camera-1")
    kafka = KafkaSettings(
        bootstrap=f"127.0.0.1:{secured.mutual_port}",
        security_protocol="SSL",
        ssl_ca=client.authority,
        ssl_certificate=client.certificate,
        ssl_key=client.key,
    )
    wait_for_broker(kafka, 20.0)


@pytest.mark.parametrize("fault", ["password", "authority", "no-certificate", "secret"])
def test_credentials_that_are_refused_are_said_so(
    secured: SecuredBroker,
    token_server: TokenServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    until: Callable[..., None],
) -> None:
    """At once and not as a broker that is away, with the address, who we are and what to check; without the secret."""
    caplog.set_level(logging.DEBUG)
    good = secured.user("u-faults")
    wrong = {
        "password": good.model_copy(update={"sasl_password": SecretStr("wr0ng-Kj7")}),
        "authority": good.model_copy(update={"ssl_ca": Authority(tmp_path, "somebody else's").file}),
        "no-certificate": KafkaSettings(
            bootstrap=f"127.0.0.1:{secured.mutual_port}", security_protocol="SSL", ssl_ca=secured.authority
        ),
        "secret": _oauth(secured, token_server, "wr0ng-Kj7"),
    }[fault]
    with pytest.raises(SimVGLineError) as refused:
        wait_for_broker(wrong, 60.0)
    assert type(refused.value) is CredentialsRefused
    assert wrong.bootstrap in str(refused.value)
    assert wrong.principal in str(refused.value)
    assert "wr0ng" not in str(refused.value) + caplog.text
    probe = BrokerProbe(wrong, every_s=0)
    until(lambda: "do not trust each other" in (probe.fault() or ""), 60)
    said = [probe.fault() or "" for _ in range(3)]
    assert all("no Kafka broker answers" not in one for one in said), "also when librdkafka says no more why"
    assert "wr0ng" not in said[0] + caplog.text
