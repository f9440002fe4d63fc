"""Who may do what in Redis: the least that each role needs, as users of Redis 7.

A reader (`simvg replay`, `simvg why`) reads the standing queries and what workers report; a worker reports itself; only
the console and operators write queries. Cameras and the line's control have no business in Redis, so there is no user
for them.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import redis

from infra.errors import RegistryAccessDenied, RegistryError, SettingsError
from infra.redaction import redact
from infra.redis_client import connect, translated
from infra.settings import RedisSettings

Role = Literal["reader", "worker", "operator", "console"]
ROLES: tuple[Role, ...] = get_args(Role)

# What the library itself says when it connects; of CLIENT all that does not touch other clients, for its sub-commands
# differ between versions of Redis.
_CONNECTION = (
    "+hello +auth +ping +select "
    "+client -client|kill -client|list -client|pause -client|unpause -client|unblock -client|no-evict"
)
_READ = "+hget +hkeys +hgetall +get +mget +xread +xrevrange +multi +exec +discard +watch +unwatch"
_WRITE = "+hset +hdel +set +xadd"


def rules(role: Role, prefix: str, *, password_sha256: str) -> list[str]:
    """Rules of the user as `ACL SETUSER` takes them, from nothing up; ``prefix``: that of all keys of the plant.

    ``%R~`` is a key that may be read only, ``%W~`` one that may be written only; the part in brackets is a set of
    commands and keys of its own.
    """
    queries = [f"{prefix}:queries", f"{prefix}:queries:revision", f"{prefix}:queries:changes"]
    start = ["reset", "on", f"#{password_sha256}", "resetchannels", *_CONNECTION.split(), *_READ.split()]
    read = [f"%R~{key}" for key in queries]
    workers = f"(+scan +mget %R~{prefix}:workers:*)"
    if role == "reader":
        return [*start, *read, workers]
    if role == "worker":
        return [*start, *read, f"(+set %W~{prefix}:workers:*)"]
    write = [*_WRITE.split(), *(f"~{key}" for key in queries)]
    if role == "operator":
        return [*start, *write, workers]
    # The console also keeps its own view of the alerts, and its sessions.
    return [*start, *write, workers, f"(+@all -@admin -@dangerous -@scripting ~{prefix}:console:*)"]


def apply(settings: RedisSettings, user: str, found: list[str]) -> None:
    """Makes or changes the user, and saves it where the server has an ACL file.

    Raises:
        SettingsError: a Redis older than 7, which knows no keys that may only be read.
        RegistryAccessDenied: we may not manage users.
        RegistryUnavailable: Redis does not answer or refuses our credentials.
    """
    client: Any = connect(settings)
    try:
        with translated(settings):
            version = str(client.info("server")["redis_version"])
            if int(version.partition(".")[0]) < 7:
                raise SettingsError(f"Redis at {settings.shown_url} is version {version}; these rights need 7 or later")
            client.execute_command("ACL", "SETUSER", user, *found)
            try:
                client.execute_command("ACL", "SAVE")
            except redis.exceptions.NoPermissionError:
                raise
            except redis.ResponseError as error:
                if "not configured to use an ACL file" not in str(error):
                    raise RegistryError(
                        f"Redis at {settings.shown_url} cannot save its users: {redact(str(error))}"
                    ) from error
                raise RegistryError(
                    f"user {user} is set in Redis at {settings.shown_url} until it restarts: it has no ACL file; start "
                    "it with `aclfile`, or write the user into its configuration"
                ) from error
    finally:
        client.close()


__all__ = ["ROLES", "RegistryAccessDenied", "Role", "apply", "rules"]
