"""`simvg acl …`: the least rights of each role, shown as commands or granted at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.markup import escape

from infra import acl, redis_acl
from infra.errors import SettingsError
from infra.options import ConfigFile, Kafka, Prefix, RedisUrl
from infra.settings import RoleSettings, load

app = typer.Typer(no_args_is_help=True, help="Rights of each role on Kafka and Redis: show them, or grant them.")
console = Console()

DEFAULT_GROUPS = {"worker": "simvg-workers", "console": "simvg-console", "line-control": "simvg-line-control"}

Apply = Annotated[bool, typer.Option("--apply", help="Grant them now, as the user of the settings.")]


@app.command("kafka")
def kafka(
    role: Annotated[str, typer.Option("--role", help="; ".join(f"{k}: {v}" for k, v in acl.PURPOSES.items()) + ".")],
    principal: Annotated[str, typer.Option("--principal", help="Who gets them, e.g. User:w1.")],
    group: Annotated[
        str | None, typer.Option("--group", help="Consumer group of the role; default simvg-workers and the like.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address that the principal must come from.")] = "*",
    apply: Apply = False,
    bootstrap: Kafka = None,
    prefix: Prefix = None,
    config: ConfigFile = None,
) -> None:
    """Shows the rights of a role as calls of kafka-acls.sh; --apply grants them, as an administrator of the cluster.

    Example: simvg acl kafka --role worker --principal User:w1 --apply
    """
    settings = load(RoleSettings, flags={"kafka.bootstrap": bootstrap, "kafka.prefix": prefix}, file=config).kafka
    known = _role(role, acl.ROLES)
    if not principal.startswith("User:") or principal == "User:":
        raise SettingsError(f"--principal {principal!r} is no principal of Kafka; write User:NAME")
    found = acl.grants(cast(acl.Role, known), settings, group=group or DEFAULT_GROUPS.get(known, f"simvg-{known}"))
    if apply:
        count = acl.apply(settings, found, principal=principal, host=host)
        console.print(f"{escape(principal)} has the {count} rights of {known} on {settings.bootstrap}", highlight=False)
        return
    for line in acl.commands(found, principal=principal, bootstrap=settings.bootstrap, host=host):
        typer.echo(line)


@app.command("redis")
def redis(
    role: Annotated[str, typer.Option("--role", help=f"{', '.join(redis_acl.ROLES)}.")],
    user: Annotated[str, typer.Option("--user", help="Name of the user of Redis.")],
    password_file: Annotated[
        Path, typer.Option("--password-file", help="File with the user's password; only its SHA-256 is shown or sent.")
    ],
    apply: Apply = False,
    address: RedisUrl = None,
    config: ConfigFile = None,
) -> None:
    """Shows the rights of a role as a line for Redis' ACL file; --apply sets them. Needs Redis 7 or later.

    Example: simvg acl redis --role worker --user w1 --password-file /run/secrets/redis-w1 --apply
    """
    settings = load(RoleSettings, flags={"redis.url": address}, file=config).redis
    known = cast(redis_acl.Role, _role(role, redis_acl.ROLES))
    rules = redis_acl.rules(known, settings.prefix, password_sha256=_fingerprint(password_file))
    if apply:
        redis_acl.apply(settings, user, rules)
        console.print(f"{escape(user)} has the rights of {known} on {settings.shown_url}", highlight=False)
        return
    typer.echo(" ".join(["user", user, *rules]))


def _role(role: str, known: tuple[str, ...]) -> str:
    if role not in known:
        raise SettingsError(f"--role {role!r} is none of {', '.join(known)}")
    return role


def _fingerprint(path: Path) -> str:
    try:
        password = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise SettingsError(f"password file {path} cannot be read: {error.strerror}") from error
    if len(password) < 8:
        raise SettingsError(f"the password in {path} has {len(password)} characters; take 8 or more")
    return hashlib.sha256(password).hexdigest()
