"""Real parts for tests: a Kafka broker and a Redis, started once per run; others that a test may stop and start."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from infra import query_cli
from infra.broker import LocalBroker
from infra.process import free_port
from infra.queries import QueryRegistry
from infra.redis_server import LocalRedis
from infra.settings import KafkaSettings, RedisSettings
from infra.topics import create_topics, delete_topics

REPOSITORY = Path(__file__).resolve().parent.parent

# How fast this machine is just now decides nothing.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first: at the end of a run nobody waits for one."""
    items.sort(key=lambda item: "tests/faults/" not in item.nodeid)


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> None:
    """Settings of the person who runs the tests must not reach them."""
    for name in [name for name in os.environ if name.upper().startswith("SIMVG_")]:
        del os.environ[name]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command that a test runs in this process sets up logging for the whole of it: undone after the test."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.reset_defaults()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """``until(condition)`` waits for a condition that other threads or processes bring about; fails after 30 s."""

    def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s in vain"
            time.sleep(0.02)

    return wait


def _broker(state_dir: Path) -> LocalBroker:
    return LocalBroker(state_dir, port=free_port(), controller_port=free_port(), cache_dir=REPOSITORY / ".cache")


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """The run's broker. Not to be stopped by a test: take ``broker`` for that."""
    server = _broker(tmp_path_factory.mktemp("shared-broker"))
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture
def kafka(shared_broker: LocalBroker) -> Iterator[KafkaSettings]:
    """Settings of a real broker, with all topics created under a prefix of this test's own."""
    settings = KafkaSettings(
        bootstrap=shared_broker.settings.bootstrap, prefix=f"t{uuid.uuid4().hex[:10]}", partitions=2
    )
    create_topics(settings)
    yield settings
    delete_topics(settings)


@pytest.fixture
def kafka_without_topics(shared_broker: LocalBroker) -> KafkaSettings:
    """Settings of a real broker with a prefix under which nothing exists."""
    return KafkaSettings(bootstrap=shared_broker.settings.bootstrap, prefix=f"n{uuid.uuid4().hex[:10]}", partitions=2)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """A running broker of this test's own: ``.stop()`` (``kill=True``: a power cut) and ``.start()`` at will."""
    server = _broker(tmp_path / "broker")
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture
def stopped_broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker of this test's own that is not running yet."""
    server = _broker(tmp_path / "broker")
    yield server
    server.stop(kill=True)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the run's Redis. Not to be stopped or flushed by a test: take ``redis_server`` for that."""
    server = LocalRedis(tmp_path_factory.mktemp("shared-redis"), port=free_port())
    server.start()
    yield server.url
    server.stop(kill=True)


@pytest.fixture
def redis_settings(redis_url: str) -> RedisSettings:
    """Settings of a real Redis with a prefix of this test's own."""
    return RedisSettings(url=redis_url, prefix=f"t{uuid.uuid4().hex[:10]}")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[LocalRedis]:
    """A running Redis of this test's own: ``.stop()`` and ``.start()`` at will."""
    server = LocalRedis(tmp_path / "redis", port=free_port())
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture
def stopped_redis(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis of this test's own that is not running yet."""
    server = LocalRedis(tmp_path / "redis", port=free_port())
    yield server
    server.stop(kill=True)


@pytest.fixture
def registry(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[QueryRegistry]:
    """The queries of one test, which `simvg query` finds too, on a wide terminal."""
    monkeypatch.setenv("SIMVG_REDIS__URL", redis_settings.url)
    monkeypatch.setenv("SIMVG_REDIS__PREFIX", redis_settings.prefix)
    monkeypatch.setattr(query_cli.console, "width", 300)
    registry = QueryRegistry(redis_settings)
    yield registry
    registry.close()
