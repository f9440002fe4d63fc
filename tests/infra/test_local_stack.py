"""The local stack: up, down, again, and what is said when it cannot."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.errors import StackError
from infra.kafka_client import wait_for_broker
from infra.kafka_libs import find_java, kafka_libraries, libraries_dir
from infra.local_stack import LocalStack
from infra.process import ServerProcess, free_port, port_answers, require_free_port
from infra.redis_server import find_redis
from infra.settings import StackSettings
from infra.topics import create_topics, describe_topics

CACHE = Path(__file__).resolve().parents[2] / ".cache"


def _stack(tmp_path: Path, **changes: int) -> LocalStack:
    ports = {"kafka_port": free_port(), "controller_port": free_port(), "redis_port": free_port()} | changes
    return LocalStack.from_settings(StackSettings(state_dir=tmp_path / "state", library_cache=CACHE, **ports))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    found = _stack(tmp_path)
    yield found
    found.down()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that something else listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_stack_goes_up_and_down_and_keeps_its_data(stack: LocalStack) -> None:
    """Both servers answer, a second `up` finds them, `down` leaves no process, and topics survive."""
    steps: list[str] = []
    assert stack.up(steps.append)
    assert any("Kafka" in step for step in steps)
    assert any("Redis" in step for step in steps)
    wait_for_broker(stack.kafka_settings, 10.0)
    create_topics(stack.kafka_settings, ["frames"])
    pids = [service.pid for service in stack.status() if service.running]
    assert len(pids) == 2

    assert not stack.up(), "the second time there is nothing to start"
    assert [service.pid for service in stack.status()] == pids

    assert stack.down()
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None)
    assert not any(service.running for service in stack.status())
    assert not port_answers(stack.broker.port)
    assert not stack.down(), "the second time there is nothing to stop"

    stack.up()
    assert describe_topics(stack.kafka_settings, ["frames"])[0].exists


def test_other_port_than_the_running_stack_is_refused(stack: LocalStack, tmp_path: Path) -> None:
    """A stack that runs on one port is not silently taken for one on another."""
    stack.redis.start()
    other = _stack(tmp_path)
    with pytest.raises(StackError, match=rf"runs on port {stack.redis.port}, not {other.redis.port}.*simvg down"):
        other.redis.start()


@pytest.mark.parametrize(
    ("port", "what", "setting"),
    [
        ("kafka_port", "Kafka", "SIMVG_KAFKA_PORT"),
        ("controller_port", "Kafka's controller", "SIMVG_CONTROLLER_PORT"),
        ("redis_port", "Redis", "SIMVG_REDIS_PORT"),
    ],
)
def test_port_in_use_is_named_with_the_remedy(
    tmp_path: Path, taken_port: int, port: str, what: str, setting: str
) -> None:
    """A taken port stops the start before anything runs, naming port, holder and setting."""
    stack = _stack(tmp_path, **{port: taken_port})
    with pytest.raises(StackError, match=rf"port {taken_port} for {what} is in use by this process.*{setting}"):
        stack.up()
    assert not any(service.running for service in stack.status())


def test_java_missing_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java nothing starts, and the exact command is said."""
    empty = tmp_path / "bin"
    empty.mkdir()
    (empty / "redis-server").symlink_to(find_redis())
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    stack = _stack(tmp_path)
    with pytest.raises(
        StackError, match=r"Java is missing.*`apt-get install -y openjdk-17-jre-headless`.*default-jre-headless"
    ):
        stack.up()
    assert not any(service.running for service in stack.status())


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('openjdk version "11.0.2" 2019-01-15', "is version 11; Kafka needs 17 or later"),
        ('java version "1.8.0_281"', "is version 8; Kafka needs 17 or later"),
        ("what?", "is version 0"),
    ],
)
def test_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, message: str) -> None:
    """A Java that is too old is named with its version and the remedy."""
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StackError, match=message):
        find_java()


def test_maven_missing_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka that was never fetched needs Maven, and the exact command is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"Maven is missing.*`apt-get install -y maven`"):
        kafka_libraries(tmp_path / "cache")


def test_maven_failing_shows_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed resolution shows Maven's words and leaves no half-filled folder behind."""
    program = tmp_path / "mvn"
    program.write_text("#!/bin/sh\necho 'no route to the repository'\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(StackError, match="no route to the repository"):
        kafka_libraries(tmp_path / "cache")
    assert not libraries_dir(tmp_path / "cache").exists()


def test_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    """A server that cannot start is reported with the end of its log."""
    server = ServerProcess("example", tmp_path)
    server.start(["/bin/sh", "-c", "echo disk full; exit 3"], port=1, cwd=tmp_path)
    with pytest.raises(StackError, match=r"example ended while it started.*\n.*disk full"):
        server.wait_until(lambda: False, 10.0)


def test_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """A server that runs without answering is reported after the time given."""
    server = ServerProcess("example", tmp_path)
    server.start(["/bin/sleep", "60"], port=1, cwd=tmp_path)
    with pytest.raises(StackError, match=r"did not answer within 0\.1 s"):
        server.wait_until(lambda: False, 0.1)
    assert server.stop()


def test_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """A missing program is named."""
    with pytest.raises(StackError, match=r"/no/such/program: No such file"):
        ServerProcess("example", tmp_path).start(["/no/such/program"], port=1, cwd=tmp_path)


def test_process_that_took_over_the_number_is_not_touched(tmp_path: Path) -> None:
    """A pid file of a process long gone never stops somebody else's."""
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        (tmp_path / "example.pid").write_text(f'{{"pid": {stranger.pid}, "began": 1.0, "port": 1}}', encoding="utf-8")
        server = ServerProcess("example", tmp_path)
        assert server.pid is None
        assert not server.stop()
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("text", ["", "12", "{}", '{"pid": "x"}'])
def test_damaged_pid_file_means_not_running(tmp_path: Path, text: str) -> None:
    """A pid file that cannot be read is as none."""
    (tmp_path / "example.pid").write_text(text, encoding="utf-8")
    assert ServerProcess("example", tmp_path).pid is None


def test_server_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    """A server that does not end when asked is ended."""
    server = ServerProcess("example", tmp_path)
    ready = tmp_path / "ready"
    server.start(["/bin/sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 1; done"], port=1, cwd=tmp_path)
    server.wait_until(ready.exists, 10.0)
    assert server.stop(seconds=0.3)
    assert server.pid is None


def test_free_port_is_accepted() -> None:
    """A port that nobody holds passes."""
    require_free_port(free_port(), what="test", remedy="")


def test_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A state folder that is a file is refused with the setting to change."""
    (tmp_path / "state").write_text("", encoding="utf-8")
    with pytest.raises(StackError, match=r"cannot be written.*SIMVG_STATE_DIR"):
        _stack(tmp_path).up()
