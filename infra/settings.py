"""Settings that every role shares, and the one place where flags, environment and files are read.

Settings are frozen and keyword-only. A role declares its own beside its code as a :class:`RoleSettings` and the program
calls :func:`load` once, at its edge; constructing a settings class directly reads nothing from outside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from json import JSONDecodeError
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import unquote

import yaml
from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    create_model,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as EnvironmentError_

from infra.connections import (
    DEFAULT_CONTROLLER_PORT,
    DEFAULT_KAFKA_PORT,
    DEFAULT_REDIS_PORT,
    KafkaSettings,
    RedisSettings,
    Settings,
)
from infra.errors import SettingsError
from infra.near import nearest
from infra.redaction import HIDDEN, hide_user, redact, remember
from infra.secrecy import FILE_ENDING, read_secret_files, refuse_credentials, refuse_written_secrets

__all__ = [
    "DEFAULT_CONTROLLER_PORT",
    "DEFAULT_KAFKA_PORT",
    "DEFAULT_REDIS_PORT",
    "KafkaSettings",
    "RedisSettings",
    "RoleSettings",
    "Settings",
    "StackSettings",
    "TelemetrySettings",
    "all_secret_names",
    "dotted_names",
    "environment_name",
    "load",
    "secret_names",
]

ENV_PREFIX = "SIMVG_"
ENV_NESTING = "__"

_ADDRESS_NAMES = re.compile(r"url|source")
_SCHEME = re.compile(r"^\s*([a-z][a-z0-9+.\-]*:?//|(rtsp|http|redis)s?:/?)", re.IGNORECASE)
_SECRET_NAMES = re.compile(r"password|secret|token|url|source", re.IGNORECASE)


class TelemetrySettings(Settings):
    """What a process tells about itself."""

    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="port of /metrics and /healthz; 0 takes a free one, unset serves none"
    )
    # An empty one would be all addresses of the machine.
    metrics_host: str = Field(default="127.0.0.1", min_length=1, description="address that /metrics listens on")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="least severe level shown"
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="for people, or one JSON object per line"
    )


class RoleSettings(Settings):
    """Base of a role's settings: what it shares with all others."""

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    telemetry: TelemetrySettings = TelemetrySettings()


class StackSettings(RoleSettings):
    """The local stack of `simvg up`: one broker and one Redis on this machine."""

    state_dir: Path = Field(default=Path(".state"), description="where the stack keeps data, logs and process ids")
    library_cache: Path = Field(
        default=Path(".cache"), description="where the Kafka libraries fetched by Maven are kept"
    )
    kafka_port: int = Field(default=DEFAULT_KAFKA_PORT, ge=1, le=65535, description="port of the local broker")
    controller_port: int = Field(
        default=DEFAULT_CONTROLLER_PORT, ge=1, le=65535, description="port of the local broker's controller"
    )
    redis_port: int = Field(default=DEFAULT_REDIS_PORT, ge=1, le=65535, description="port of the local Redis")


class _Environment(BaseSettings):
    """How the environment is read; the settings themselves never look at it."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_NESTING, extra="ignore", frozen=True
    )


SettingsT = TypeVar("SettingsT", bound=BaseModel)


def load(
    cls: type[SettingsT],
    *,
    flags: Mapping[str, object] | None = None,
    file: Path | None = None,
) -> SettingsT:
    """Settings from flags, over the environment (``SIMVG_…``), over a YAML file, over the defaults.

    ``flags``: values by name; nested ones as dictionaries or dotted (``"kafka.bootstrap"``); None means "not given".
    ``SIMVG_`` names of other roles may stand in the same environment: those of every imported :class:`RoleSettings`.

    Raises:
        SettingsError: an unknown key (named with the nearest known one), a value out of range, an unreadable file, a
            secret among the flags or in the file.
    """
    secret = {name: environment_name(name) for name in secret_names(cls)}
    refuse_credentials(flags or {}, secret)
    given = _nested({k: v for k, v in (flags or {}).items() if v is not None})
    outside = _merge(_read_environment(cls), _nested(read_secret_files(secret)))
    written = _read_file(file) if file else {}
    if file:
        addresses = {name for name in secret if _ADDRESS_NAMES.search(name)}
        refuse_written_secrets(file, {name: _value(written, name) for name in secret}, secret, addresses)
    merged = _merge(_merge(written, outside), given)
    for name in secret:
        _remember(merged, name)
    try:
        return cls.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_explain(cls, error)) from error


def dotted_names(cls: type[BaseModel], above: str = "") -> list[str]:
    """Every key of the settings class, nested ones dotted: ``kafka.bootstrap``."""
    names: list[str] = []
    for name, field in cls.model_fields.items():
        nested = _model_of(field.annotation)
        names += dotted_names(nested, f"{above}{name}.") if nested else [f"{above}{name}"]
    return names


def secret_names(cls: type[BaseModel], above: str = "", *, only: bool = False) -> list[str]:
    """Keys, dotted, whose value is a secret or may hold one. ``only``: those that are nothing but a secret."""
    names: list[str] = []
    for name, field in cls.model_fields.items():
        nested = _model_of(field.annotation)
        if nested:
            names += secret_names(nested, f"{above}{name}.", only=only)
        elif isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("secret"):
            names += [] if only else [f"{above}{name}"]
        elif SecretStr in (field.annotation, *get_args(field.annotation)):
            names.append(f"{above}{name}")
    return names


def all_secret_names() -> set[str]:
    """Keys of every imported role that are nothing but a secret; addresses that may be given as flags are not."""
    roles: tuple[type[RoleSettings], ...] = (RoleSettings, *_roles())
    found = {name for role in roles for name in secret_names(role, only=True)}
    return {name for name in found if not _ADDRESS_NAMES.search(name)}


def _remember(values: Mapping[str, Any], dotted: str) -> None:
    """Hides the secret from now on in whatever is logged; of an address, its password alone."""
    value = _value(values, dotted)
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return
    if not _ADDRESS_NAMES.search(dotted):
        remember(text)
        return
    if hide_user(text) == text:
        return
    # Not by the rules of URLs alone: in a mistyped address too, what lies between user and host is the password.
    password = _SCHEME.sub("", text, count=1).rpartition("@")[0].partition(":")[2]
    remember(password)
    remember(unquote(password))


def _value(values: Mapping[str, Any], dotted: str) -> Any:
    """The value of a dotted name; None where there is none."""
    value: Any = values
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def environment_name(dotted: str) -> str:
    """``kafka.bootstrap`` → ``SIMVG_KAFKA__BOOTSTRAP``."""
    return ENV_PREFIX + dotted.replace(".", ENV_NESTING).upper()


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The settings class that a key stands for, also an optional one; a list of such is a value, not nested keys."""
    optional = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    for candidate in (annotation, *optional):
        if isinstance(candidate, type) and issubclass(candidate, Settings):
            return candidate
    return None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_twice(yaml.compose(text, Loader=yaml.SafeLoader), set())
        content = yaml.safe_load(text)
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from error
    # The words of these errors quote the file, which may hold a password: only places are told.
    except UnicodeDecodeError as error:
        fault = f"is no UTF-8 text, from byte {error.start + 1} on; save it as UTF-8"
        raise SettingsError(f"settings file {path} {fault}") from None
    except yaml.reader.ReaderError as error:
        fault = f"holds a control character, character {error.position + 1} of the file; remove it"
        raise SettingsError(f"settings file {path} {fault}") from None
    except _TwiceError as error:
        fault = f"has a key twice{_place(error)}; the first would be forgotten: keep one of them, with all that belongs"
        raise SettingsError(f"settings file {path} {fault} below it") from None
    except yaml.YAMLError as error:
        remedy = "quote values that begin with a special character, hold ': ' or end with ':'"
        raise SettingsError(f"settings file {path} is no YAML{_place(error)}; {remedy}") from None
    except ValueError:
        fault = "holds a date or a number that does not exist; correct it, or quote it if it is a text"
        raise SettingsError(f"settings file {path} {fault}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {path} holds {type(content).__name__}; write 'key: value' lines")
    try:
        return _nested(content)
    except RecursionError:
        raise SettingsError(f"settings file {path} holds itself by an alias ('*'); write the value out") from None


class _TwiceError(yaml.MarkedYAMLError):
    """A mapping with the same key twice."""


def _refuse_twice(node: yaml.Node | None, seen: set[int]) -> None:
    """Raises _TwiceError for a key that stands twice, of which YAML takes the last without a word."""
    if node is None or id(node) in seen:  # an alias
        return
    seen.add(id(node))
    keys: set[str] = set()
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        key, value = part if isinstance(part, tuple) else (None, part)
        if isinstance(key, yaml.ScalarNode):
            if key.value in keys:
                raise _TwiceError(problem_mark=key.start_mark)
            keys.add(key.value)
        _refuse_twice(value, seen)


def _place(error: yaml.YAMLError) -> str:
    """Where YAML ends being such; nothing where the error does not tell."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ""
    place, begin = error.problem_mark, error.context_mark
    begun = f" (begun at line {begin.line + 1}, column {begin.column + 1})" if begin and begin.line < place.line else ""
    return f" at line {place.line + 1}, column {place.column + 1}{begun}"


_OF_KUBERNETES = re.compile(r"_SERVICE_(?:HOST|PORT(?:_\w+)?)=|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?=|_PORT=\w+://")
"""What a pod finds set for each Service of its namespace, by the Service's name: SIMVG_WORKER_SERVICE_HOST."""


def _roles(above: type[RoleSettings] = RoleSettings) -> Iterator[type[RoleSettings]]:
    for role in above.__subclasses__():
        yield role
        yield from _roles(role)


def _read_environment(cls: type[BaseModel]) -> dict[str, Any]:
    known = [environment_name(name) for name in dotted_names(cls)]
    tolerated = {environment_name(name) for role in _roles() for name in dotted_names(role)}
    roles: tuple[type[BaseModel], ...] = (cls, *_roles())
    files = {f"{environment_name(name)}{FILE_ENDING}" for role in roles for name in secret_names(role)}
    tolerated |= files
    for name in sorted(os.environ):
        upper = name.upper()
        if upper.startswith(ENV_PREFIX) and upper not in known and upper not in tolerated:
            if _OF_KUBERNETES.search(f"{upper}={os.environ[name]}"):
                remedy = (
                    "Kubernetes sets it for a Service; write `enableServiceLinks: false` in the pod's specification"
                )
                raise SettingsError(f"environment variable {name} is no known setting; {remedy}")
            hint = _nearest(upper, [*known, *tolerated])
            raise SettingsError(f"environment variable {name} is no known setting{hint}; correct it or unset it")

    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in cls.model_fields.items()}
    edge = create_model("Environment", __base__=_Environment, **fields)
    source = EnvSettingsSource(edge)
    source.env_vars = {name: value for name, value in source.env_vars.items() if name.upper() not in files}
    try:
        values = source()
    except EnvironmentError_ as error:
        raise SettingsError(_no_json(error)) from error
    return dict(values)


def _no_json(error: EnvironmentError_) -> str:
    """The fault of a variable that stands for several values, which its library tells by the field alone."""
    field, cause = re.search(r'field "(\w+)"', str(error)), error.__cause__
    if field is None or not isinstance(cause, JSONDecodeError):
        return f"the environment cannot be read as settings: {redact(f'{error}: {cause}')}"
    value = HIDDEN if _SECRET_NAMES.search(field[1]) else redact(repr(cause.doc))
    return (
        f"environment variable {environment_name(field[1])} = {value} is no JSON ({cause}); several values are written "
        'so there: ["a", "b"], or [{"name": "value"}] where each has names'
    )


def _nested(flat: Mapping[Any, object]) -> dict[str, Any]:
    """Dotted keys → nested dictionaries."""
    result: dict[str, Any] = {}
    for key, value in flat.items():
        head, _, rest = str(key).partition(".")
        part = {rest: value} if rest else value
        if isinstance(part, Mapping):
            existing = result.get(head)
            part = _merge(existing if isinstance(existing, dict) else {}, _nested(part))
        result[head] = part
    return result


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def _nearest(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return "" if near is None else f"; did you mean {near}?"


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    """One sentence per fault: the key, the bad value unless it may be secret, and what to do."""
    known = dotted_names(cls)
    sentences = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            sentences.append(f"unknown setting {key!r}{_nearest(key, known)}")
        elif fault["type"] == "missing":
            sentences.append(
                f"setting {key!r} is missing; give it as a flag, in the file, or as {environment_name(key)}"
            )
        else:
            given = fault.get("input")
            if fault["type"] == "model_type":
                remedy = "write some below it, indented, or leave the name out"
                sentences.append(f"setting {key!r} stands for several settings and has none of them below it; {remedy}")
                continue
            message = redact(fault["msg"].removeprefix("Value error, "))
            if isinstance(given, Mapping):  # settings that do not go together: the message names them
                sentences.append(f"settings of {key!r}: {message}" if key else message)
                continue
            value = HIDDEN if _SECRET_NAMES.search(key) else redact(repr(given))
            sentences.append(f"setting {key!r} = {value}: {message}")
    return "; ".join(sentences)
