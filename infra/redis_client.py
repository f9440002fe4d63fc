"""How every client of ours connects to Redis, and what its errors mean to us."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.errors import RegistryAccessDenied, RegistryError, RegistryUnavailable, SettingsError
from infra.redaction import redact
from infra.settings import RedisSettings


def connect(settings: RedisSettings) -> redis.Redis:
    """A client, thread-safe, that connects at its first call: TLS by ``rediss://``, as the user of the settings.

    Raises SettingsError for an option of the address whose value the library does not take.
    """
    options: dict[str, Any] = {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "retry": Retry(NoBackoff(), 1),  # once more, for a connection that died while idle
    }
    if settings.username is not None:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    if settings.url.startswith("rediss://"):
        files = {
            "ssl_ca_certs": settings.ssl_ca,
            "ssl_certfile": settings.ssl_certificate,
            "ssl_keyfile": settings.ssl_key,
        }
        options |= {name: str(path) for name, path in files.items() if path is not None}
        if settings.ssl_key_password is not None:
            options["ssl_password"] = settings.ssl_key_password.get_secret_value()
    with suppress(ValueError, TypeError):
        return redis.Redis.from_url(settings.url, **options)
    # Outside of the library's error: that may quote the address, password included.
    raise SettingsError(
        "an option of the address of Redis has a value that it cannot have; check what follows '?' in SIMVG_REDIS__URL"
    )


@contextmanager
def translated(settings: RedisSettings) -> Iterator[None]:
    """The library's errors as ours, with address, user and remedy in words. A lost race (WatchError) passes through."""
    address = settings.shown_url
    try:
        yield
    except redis.WatchError:
        raise
    except redis.AuthenticationError as error:
        raise RegistryUnavailable(
            f"Redis at {address} refuses the credentials of user {settings.user!r}; check SIMVG_REDIS__URL, "
            "SIMVG_REDIS__USERNAME and SIMVG_REDIS__PASSWORD"
        ) from error
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        said = redact(str(error))
        tls = "; check SIMVG_REDIS__SSL_CA and whether the address is rediss://" if "ssl" in said.lower() else ""
        raise RegistryUnavailable(
            f"Redis cannot be reached at {address}: {said}{tls}; start it with `simvg up`, or set SIMVG_REDIS__URL"
        ) from error
    except redis.exceptions.NoPermissionError as error:
        raise RegistryAccessDenied(
            f"Redis at {address} does not allow this to user {settings.user!r}: {redact(str(error))}; an administrator "
            f"grants a role's rights with `simvg acl redis --role ROLE --user {shlex.quote(settings.user)} "
            "--password-file FILE --apply`"
        ) from error
    except redis.RedisError as error:
        raise RegistryError(f"Redis at {address}: {redact(str(error))}") from error
