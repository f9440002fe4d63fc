"""Where Kafka and Redis are, and as whom we speak to them. Files and environment are read in :mod:`infra.settings`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from infra.redaction import hide_user, redact

DEFAULT_KAFKA_PORT = 19092
DEFAULT_CONTROLLER_PORT = 19093
DEFAULT_REDIS_PORT = 16379


def _prefix(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError(
            f"{value!r} is no topic prefix: use up to 100 letters, digits, '.', '_' or '-', or leave it empty"
        )
    return value


def _bootstrap(value: str) -> str:
    for part in value.split(","):
        found = re.fullmatch(r"\s*(?:[^\s:/@]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})\s*", part)
        if found is None or not 1 <= int(found[1]) <= 65535:
            shown = redact(hide_user(part))
            raise ValueError(f"{shown!r} is no broker address: write host:port, several separated by commas")
    return value


_REDIS_OPTIONS = frozenset(
    {"db", "protocol", "client_name", "health_check_interval", "max_connections", "retry_on_timeout"}
)
_REDIS_TCP_OPTIONS = frozenset({"socket_keepalive"})
_REDIS_TLS_OPTIONS = frozenset({"ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version", "ssl_ca_path"})
# Options of the library that are settings here. In the address they would win over these unseen: files that nobody has
# checked, and a time-out that the registry, which waits for half of `timeout_s`, knows nothing of.
_REDIS_SETTINGS = {
    "username": "SIMVG_REDIS__USERNAME",
    "password": "SIMVG_REDIS__PASSWORD",
    "socket_timeout": "SIMVG_REDIS__TIMEOUT_S",
    "socket_connect_timeout": "SIMVG_REDIS__TIMEOUT_S",
    "ssl_ca_certs": "SIMVG_REDIS__SSL_CA",
    "ssl_certfile": "SIMVG_REDIS__SSL_CERTIFICATE",
    "ssl_keyfile": "SIMVG_REDIS__SSL_KEY",
    "ssl_password": "SIMVG_REDIS__SSL_KEY_PASSWORD",
}


def _redis_url(value: str) -> str:
    scheme, mark, rest = value.partition("://")
    value = f"{scheme.lower()}{mark}{rest}"  # the library knows schemes in small letters only
    fault = _redis_fault(value)
    if fault is None:
        return value
    # An address with a fault may be one whose password was not escaped, which can end up in any part of it.
    shown = "the value" if set("@?#") & set(value) else repr(redact(value))
    escaped = "; in a password write %23 for '#', %2F for '/', %3F for '?'" if "@" in value else ""
    raise ValueError(
        f"{shown} is no Redis address, {fault}: write redis://host:port/database, rediss:// or unix:///path{escaped}"
    )


def _redis_fault(value: str) -> str | None:
    """What is wrong with an address of Redis, in words that quote nothing of it."""
    if not value.startswith(("redis://", "rediss://", "unix://")):
        return "which begins otherwise"
    if re.search(r"\s", value):
        return "which has no blanks in it"
    if "#" in value:
        return "which has no '#' in it"
    try:
        address = urlsplit(value)
        port = address.port
    except ValueError:  # whose text quotes the address
        return "for its host or its port cannot be read"
    if port == 0:
        return "for there is no port 0"
    if address.scheme == "unix" and not address.path:
        return "for it names no socket"
    if address.scheme != "unix" and not re.fullmatch(r"(/\d*/?)?", address.path):
        return "for its path is no number of a database"
    known = _REDIS_OPTIONS | (_REDIS_TCP_OPTIONS if address.scheme != "unix" else frozenset())
    known |= _REDIS_TLS_OPTIONS if address.scheme == "rediss" else frozenset()
    given = set(parse_qs(address.query, keep_blank_values=True))
    if moved := sorted(given & set(_REDIS_SETTINGS)):
        first, *others = ((_REDIS_SETTINGS[option], option) for option in moved)
        return f"for {first[0]} takes the place of {first[1]}" + "".join(f", {name} of {old}" for name, old in others)
    if not given <= known:
        return f"for after '?' it may have {', '.join(sorted(known))} only"
    return None


def _token_url(value: str | None) -> str | None:
    address = urlsplit(value or "https://")
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in ("127.0.0.1", "localhost")):
        raise ValueError("the client's secret is sent to the token endpoint: write https://host/path")
    return value


def _all_of(needed: Mapping[str, object], purpose: str) -> None:
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise ValueError(f"{purpose} needs {' and '.join(missing)} too")


def _none_of(unused: Mapping[str, object], purpose: str) -> None:
    given = [name for name, value in unused.items() if value is not None]
    if given:
        raise ValueError(f"{' and '.join(given)} would not be used with {purpose}; choose another, or remove it")


def _certificate(settings: Any, tls: bool, purpose: str) -> None:
    """TLS files make sense with TLS only, a certificate only with its key; each file must be there."""
    files = {name: getattr(settings, name) for name in ("ssl_ca", "ssl_certificate", "ssl_key")}
    if not tls:
        _none_of(files | {"ssl_key_password": settings.ssl_key_password}, purpose)
    if settings.ssl_certificate is not None or settings.ssl_key is not None or settings.ssl_key_password is not None:
        _all_of({name: files[name] for name in ("ssl_certificate", "ssl_key")}, "a client's certificate")
    for name, path in files.items():
        if path is not None and not os.access(path, os.R_OK):
            raise ValueError(f"the file {path} of {name} cannot be read; check its name and its permissions")


class Settings(BaseModel):
    """Base of all settings: immutable, keyword-only, and an unknown key refuses to load."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _switch_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """YAML reads `off` and `no` as false, which would count as 0, and a port 0 is any free one."""
        if isinstance(value, bool):
            annotation = cls.model_fields[str(info.field_name)].annotation
            if bool not in (annotation, *get_args(annotation)):
                raise ValueError("yes, no, on, off, true and false are no value here; write it, a text in quotes")
        return value

    @field_validator("*")
    @classmethod
    def _home(cls, value: Any) -> Any:
        """`~` that no shell has read, as in a file or behind `=`, would become a folder of that name."""
        try:
            return value.expanduser() if isinstance(value, Path) else value
        except RuntimeError as error:
            raise ValueError(f"{value} begins with the home folder of nobody here; write the path out") from error


class KafkaSettings(Settings):
    """Where Kafka is and how to speak to it."""

    bootstrap: Annotated[str, AfterValidator(_bootstrap)] = Field(
        default=f"127.0.0.1:{DEFAULT_KAFKA_PORT}", description="broker addresses, host:port, separated by commas"
    )
    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default="", description="topic prefix; separates plants on one cluster"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="how the connection is secured"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        default="SCRAM-SHA-512", description="used with SASL_PLAINTEXT and SASL_SSL"
    )
    sasl_username: str | None = Field(default=None, description="user name for PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(default=None, description="password for PLAIN and SCRAM")
    oauth_token_url: Annotated[str | None, AfterValidator(_token_url)] = Field(
        default=None, description="OAUTHBEARER: address of the identity provider's token endpoint"
    )
    oauth_client_id: str | None = Field(default=None, description="OAUTHBEARER: name of this client")
    oauth_client_secret: SecretStr | None = Field(default=None, description="OAUTHBEARER: secret of this client")
    oauth_scope: str | None = Field(
        default=None, description="OAUTHBEARER: scope to ask for, if the provider wants one"
    )
    oauth_ca: Path | None = Field(
        default=None, description="OAUTHBEARER: file with the certificate authority of the token endpoint"
    )
    ssl_ca: Path | None = Field(
        default=None, description="file with the certificate authority of the brokers; default the system's"
    )
    ssl_certificate: Path | None = Field(
        default=None, description="file with this client's certificate, for mutual TLS"
    )
    ssl_key: Path | None = Field(default=None, description="file with the key of that certificate")
    ssl_key_password: SecretStr | None = Field(default=None, description="password of that key")
    group_protocol: Literal["consumer", "classic"] = Field(
        default="consumer", description="'consumer' (KIP-848, Kafka 4) or 'classic' for older clusters"
    )
    partitions: int | None = Field(
        default=None, ge=1, le=1000, description="partitions of new topics; default per topic"
    )
    replication: int = Field(default=1, ge=1, le=9, description="copies of each partition of new topics")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Half a set of credentials, or one that nothing would use, is a mistake: refused before anything connects."""
        sasl, tls = self.security_protocol.startswith("SASL"), self.security_protocol.endswith("SSL")
        oauth = sasl and self.sasl_mechanism == "OAUTHBEARER"
        password: dict[str, object] = {"sasl_username": self.sasl_username, "sasl_password": self.sasl_password}
        client: dict[str, object] = {
            "oauth_token_url": self.oauth_token_url,
            "oauth_client_id": self.oauth_client_id,
            "oauth_client_secret": self.oauth_client_secret,
        }
        _all_of(client if oauth else password if sasl else {}, f"sasl_mechanism {self.sasl_mechanism}")
        _none_of(
            ({} if sasl and not oauth else password)
            | ({} if oauth else client | {"oauth_scope": self.oauth_scope, "oauth_ca": self.oauth_ca}),
            f"security_protocol {self.security_protocol}" + (f" with {self.sasl_mechanism}" if sasl else ""),
        )
        _certificate(self, tls, f"security_protocol {self.security_protocol}")
        return self

    @property
    def principal(self) -> str:
        """Who the broker takes this client for, as access control lists name it."""
        if self.security_protocol.startswith("SASL"):
            return f"User:{self.oauth_client_id if self.sasl_mechanism == 'OAUTHBEARER' else self.sasl_username}"
        if self.ssl_certificate is not None:
            return f"the subject of certificate {self.ssl_certificate}"
        return "User:ANONYMOUS"


class RedisSettings(Settings):
    """Where the registry of standing queries is."""

    url: Annotated[str, AfterValidator(_redis_url)] = Field(
        default=f"redis://127.0.0.1:{DEFAULT_REDIS_PORT}/0",
        repr=False,
        description="address of Redis; may hold user and password",
        json_schema_extra={"secret": True},
    )
    username: str | None = Field(default=None, description="user of Redis (ACL), if the address names none")
    password: SecretStr | None = Field(default=None, description="password of Redis, if the address holds none")
    ssl_ca: Path | None = Field(
        default=None, description="file with the certificate authority of Redis; default the system's"
    )
    ssl_certificate: Path | None = Field(
        default=None, description="file with this client's certificate, for mutual TLS"
    )
    ssl_key: Path | None = Field(default=None, description="file with the key of that certificate")
    ssl_key_password: SecretStr | None = Field(default=None, description="password of that key")
    prefix: str = Field(
        default="simvg",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="prefix of all keys; separates plants",
    )
    timeout_s: float = Field(default=5.0, gt=0, le=60, description="seconds to wait for one answer")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        address = urlsplit(self.url)
        if self.username is not None:
            _all_of({"username": self.username, "password": self.password}, "a user of Redis")
        if self.password is not None and address.password:
            raise ValueError("a password stands in the address and as 'password'; keep one of them")
        _certificate(self, address.scheme == "rediss", f"an address of {address.scheme}://")
        return self

    @property
    def user(self) -> str:
        """Who Redis takes this client for, as its access control list names it."""
        return self.username or unquote(urlsplit(self.url).username or "") or "default"

    @property
    def shown_url(self) -> str:
        """The address without its credentials, fit for people."""
        return redact(hide_user(self.url))

    @field_serializer("url")
    def _never_dump_credentials(self, value: str) -> str:
        return redact(hide_user(value))

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "url", self.shown_url
        yield from super().__repr_args__()
