"""Redis with TLS and users: each role does its own work and is refused what is not its."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from infra.acl_cli import app
from infra.contracts import StandingQuery
from infra.errors import RegistryAccessDenied, RegistryUnavailable, SettingsError
from infra.process import free_port
from infra.queries import QueryRegistry
from infra.redis_client import connect
from infra.redis_server import LocalRedis
from infra.reports import WorkerReport
from infra.settings import RedisSettings
from tests.security.conftest import Authority

# Debian's Redis, which speaks TLS; the package `redis-tools` brings the program under the name of its other task and,
# unlike `redis-server`, starts no service. A `redis-server` on the path may be that of an environment, without TLS.
_PROGRAM = shutil.which("redis-check-rdb") or shutil.which("redis-server")
ADMIN_PASSWORD = "admin-Kj7-vale"


@dataclass(frozen=True)
class SecuredRedis:
    admin: RedisSettings
    folder: Path

    def user(self, name: str, password: str) -> RedisSettings:
        return self.admin.model_copy(update={"username": name, "password": SecretStr(password)})

    def grant(self, role: str, name: str, monkeypatch: pytest.MonkeyPatch) -> RedisSettings:
        """Makes a user with `simvg acl redis --apply`, as an administrator would."""
        password = self.folder / f"{name}.password"
        password.write_text(f"{name}-Kj7-vale\n", encoding="utf-8")
        monkeypatch.setenv("SIMVG_REDIS__URL", self.admin.url)
        monkeypatch.setenv("SIMVG_REDIS__USERNAME", "admin")
        monkeypatch.setenv("SIMVG_REDIS__PASSWORD", ADMIN_PASSWORD)
        monkeypatch.setenv("SIMVG_REDIS__SSL_CA", str(self.admin.ssl_ca))
        done = CliRunner().invoke(
            app, ["redis", "--role", role, "--user", name, "--password-file", str(password), "--apply"]
        )
        assert done.exit_code == 0, done.output or done.exception
        return self.user(name, f"{name}-Kj7-vale")


@pytest.fixture(scope="module")
def secured_redis(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[SecuredRedis]:
    assert _PROGRAM is not None, "install Debian's redis-tools (scripts/setup.sh test does)"
    folder = tmp_path_factory.mktemp("secured-redis")
    program = folder / "redis-server"
    program.symlink_to(_PROGRAM)
    server = authority.issue("redis")
    users = folder / "users.acl"
    users.write_text(f"user default off\nuser admin on >{ADMIN_PASSWORD} ~* &* +@all\n", encoding="utf-8")
    tls = free_port()
    redis = LocalRedis(
        folder,
        port=free_port(),
        program=program,
        options={
            "--tls-port": str(tls),
            "--tls-cert-file": str(server.certificate),
            "--tls-key-file": str(server.key),
            "--tls-ca-cert-file": str(server.authority),
            "--tls-auth-clients": "optional",
            "--aclfile": str(users),
        },
    )
    redis.start()
    admin = RedisSettings(
        url=f"rediss://127.0.0.1:{tls}/0",
        username="admin",
        password=SecretStr(ADMIN_PASSWORD),
        ssl_ca=authority.file,
        prefix="plant",
    )
    yield SecuredRedis(admin, folder)
    redis.stop(kill=True)


def _query(id: str) -> StandingQuery:
    now = datetime.now(UTC)
    return StandingQuery.model_validate({"id": id, "text": "missing bolt", "created": now, "changed": now})


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMVG_REDIS__PREFIX", "plant")


@pytest.mark.usefixtures("prefix")
def test_operator_writes_queries_and_worker_reads_them(
    secured_redis: SecuredRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS, each with its own user: add, change, remove; follow the set and report."""
    operator = QueryRegistry(secured_redis.grant("operator", "o1", monkeypatch))
    worker = QueryRegistry(secured_redis.grant("worker", "w1", monkeypatch))
    added = operator.add(_query("q1"))
    place = worker.snapshot_and_place()[1]
    changed = operator.update("q1", added.revision, {"text": "missing cap"})
    assert worker.wait_for_change(place, 2.0)
    assert worker.get("q1").text == "missing cap"
    worker.report_worker("w1", WorkerReport.of(changed.revision), 30.0)
    assert operator.workers() == {"w1": changed.revision}
    operator.remove("q1")
    assert worker.snapshot().queries == ()
    operator.close()
    worker.close()


@pytest.mark.usefixtures("prefix")
def test_remedy_of_a_refusal_can_be_typed(secured_redis: SecuredRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator who fills in role and file, and nothing else, has the command that grants what was refused."""
    registry = QueryRegistry(secured_redis.grant("worker", "w4", monkeypatch))
    with pytest.raises(RegistryAccessDenied) as denied:
        registry.add(_query("q4"))
    command = re.search("`simvg acl (redis .*)`", str(denied.value))
    assert command is not None
    password = str(secured_redis.folder / "w4.password")
    words = [{"ROLE": "operator", "FILE": password}.get(word, word) for word in shlex.split(command[1])]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output or done.exception
    assert registry.add(_query("q4")).id == "q4"
    registry.remove("q4")
    registry.close()


@pytest.mark.usefixtures("prefix")
def test_worker_cannot_write_queries(secured_redis: SecuredRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding is refused, with the user and the command that would allow it; so is writing to the keys by other ways."""
    settings = secured_redis.grant("worker", "w2", monkeypatch)
    worker = QueryRegistry(settings)
    with pytest.raises(RegistryAccessDenied, match=r"not allow this to user 'w2'.*`simvg acl redis --role ROLE"):
        worker.add(_query("q2"))
    worker.close()
    client = connect(settings)
    for command in (
        ("SET", "plant:queries:revision", "7"),
        ("HSET", "plant:queries", "q", "x"),
        ("GET", "plant:workers:w1"),
        ("SET", "other:workers:w1", "1"),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("FLUSHALL",),
    ):
        with pytest.raises(Exception, match=r"NOPERM|no permissions|has no permissions"):
            client.execute_command(*command)
    client.close()


@pytest.mark.usefixtures("prefix")
def test_reader_reads_queries_and_no_more(secured_redis: SecuredRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of `simvg why` and `simvg replay` lists the queries and what workers report; it changes none and is not
    taken for a worker."""
    operator = QueryRegistry(secured_redis.grant("operator", "o3", monkeypatch))
    reader = QueryRegistry(secured_redis.grant("reader", "r1", monkeypatch))
    worker = QueryRegistry(secured_redis.grant("worker", "w5", monkeypatch))
    operator.add(_query("q3"))
    assert [query.id for query in reader.list()] == ["q3"]
    worker.report_worker("w5", WorkerReport.of(1, refused={"q3": "unknown word"}), 30.0)
    assert reader.reports()["w5"].refused == {"q3": "unknown word"}
    with pytest.raises(RegistryAccessDenied, match="user 'r1'"):
        reader.add(_query("q4"))
    with pytest.raises(RegistryAccessDenied, match="user 'r1'"):
        reader.report_worker("r1", WorkerReport.of(1), 30.0)
    operator.remove("q3")
    for one in (operator, reader, worker):
        one.close()


@pytest.mark.usefixtures("prefix")
def test_console_writes_queries_and_keeps_what_is_its_own(
    secured_redis: SecuredRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It adds, changes and removes queries, sees the workers, and has keys of its own with any command on data."""
    settings = secured_redis.grant("console", "c1", monkeypatch)
    worker = QueryRegistry(secured_redis.grant("worker", "w4", monkeypatch))
    console = QueryRegistry(settings)
    added = console.add(_query("q6"))
    changed = console.update("q6", added.revision, {"text": "missing cap"})
    worker.report_worker("w4", WorkerReport.of(changed.revision), 30.0)
    assert console.workers()["w4"] == changed.revision
    console.remove("q6")
    assert console.snapshot().queries == ()
    client = connect(settings)
    client.set("plant:console:sessions:s1", "mia", ex=60)
    client.zadd("plant:console:alerts", {"a-1": 1.0})
    client.expire("plant:console:alerts", 60)
    assert client.zrange("plant:console:alerts", 0, -1) == [b"a-1"]
    assert client.delete("plant:console:alerts", "plant:console:sessions:s1") == 2
    for one in (client, console, worker):
        one.close()


@pytest.mark.usefixtures("prefix")
@pytest.mark.parametrize(
    "command",
    [
        ("SET", "plant:workers:w1", "1"),
        ("DEL", "plant:queries"),
        ("SET", "plant:consoles", "1"),
        ("GET", "other:console:sessions"),
        ("HGETALL", "other:queries"),
        ("EVAL", "return 1", "1", "plant:console:x"),
        ("PUBLISH", "plant:console:x", "1"),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("FLUSHALL",),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_console_is_refused_what_is_not_its_own(
    secured_redis: SecuredRedis, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Workers' reports, other plants, scripts, channels, and managing the server."""
    client = connect(secured_redis.grant("console", "c2", monkeypatch))
    with pytest.raises(Exception, match=r"NOPERM|no permissions|has no permissions"):
        client.execute_command(*command)
    client.close()


@pytest.mark.usefixtures("prefix")
def test_operator_cannot_manage_the_server(secured_redis: SecuredRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators write queries and nothing else."""
    client = connect(secured_redis.grant("operator", "o2", monkeypatch))
    for command in (("FLUSHALL",), ("ACL", "SETUSER", "o2", "+@all"), ("EVAL", "return 1", "0"), ("SET", "x", "1")):
        with pytest.raises(Exception, match=r"NOPERM|no permissions|has no permissions"):
            client.execute_command(*command)
    client.close()


def test_wrong_password_and_wrong_authority_are_said(secured_redis: SecuredRedis, tmp_path: Path) -> None:
    """Refused credentials name the user; a certificate of an unknown authority the setting to check."""
    registry = QueryRegistry(secured_redis.user("admin", "wr0ng-Kj7"))
    with pytest.raises(RegistryUnavailable, match="refuses the credentials of user 'admin'") as refused:
        registry.ping()
    assert "wr0ng" not in str(refused.value)
    stranger = secured_redis.admin.model_copy(update={"ssl_ca": Authority(tmp_path, "somebody else's").file})
    with pytest.raises(RegistryUnavailable, match="check SIMVG_REDIS__SSL_CA"):
        QueryRegistry(stranger).ping()


def test_user_who_may_not_grant_is_told(secured_redis: SecuredRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Managing users takes an administrator."""
    worker = secured_redis.grant("worker", "w3", monkeypatch)
    from infra import redis_acl

    with pytest.raises(RegistryAccessDenied, match="user 'w3'"):
        redis_acl.apply(worker, "w3", ["+@all"])


def test_old_redis_is_told(redis_server: LocalRedis) -> None:
    """Redis 6 knows no keys that may only be read: refused with its version, if that is what runs here."""
    from infra import redis_acl

    settings = RedisSettings(url=redis_server.url)
    version = int(str(connect(settings).info("server")["redis_version"]).partition(".")[0])
    expected = (SettingsError, "need 7 or later") if version < 7 else (Exception, "until it restarts")
    with pytest.raises(expected[0], match=expected[1]):
        redis_acl.apply(settings, "w1", redis_acl.rules("worker", "simvg", password_sha256="0" * 64))
