"""Following the registry with a real Redis, also when it is away."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from infra.errors import RegistryUnavailable
from infra.queries import QueryFollower, QueryRegistry, QuerySet, parse_query, read_cache, write_cache
from infra.redis_server import LocalRedis
from infra.settings import RedisSettings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Until = Callable[[Callable[[], object]], None]
Follow = Callable[..., QueryFollower]


def _query(id: str) -> Any:
    return parse_query({"id": id, "text": "missing bolt", "created": NOW, "changed": NOW})


def _available() -> float | None:
    """What is told to Prometheus."""
    return REGISTRY.get_sample_value("simvg_registry_available")


def _ids(found: QuerySet) -> list[str]:
    return [query.id for query in found.queries]


class Taken:
    """The sets that the process was given; ``fail`` makes it refuse."""

    def __init__(self) -> None:
        self.sets: list[QuerySet] = []
        self.fail = False

    def __call__(self, found: QuerySet) -> None:
        if self.fail:
            raise RuntimeError("no room on the device")
        self.sets.append(found)


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def follow(tmp_path: Path, taken: Taken) -> Iterator[Follow]:
    """Starts followers and stops them at the end."""
    running: list[QueryFollower] = []

    def start(registry: QueryRegistry, reconcile_s: float = 30.0) -> QueryFollower:
        follower = QueryFollower(registry, tmp_path / "queries.json", taken, reconcile_s=reconcile_s, retry_s=0.1)
        running.append(follower)
        follower.start()
        return follower

    yield start
    for follower in running:
        follower.stop()


def _own(server: LocalRedis) -> QueryRegistry:
    return QueryRegistry(RedisSettings(url=server.url, timeout_s=2))


def test_first_set_is_there_when_start_returns(redis_settings: RedisSettings, follow: Follow, taken: Taken) -> None:
    """A process that starts has its queries at once, even if there are none."""
    follower = follow(QueryRegistry(redis_settings))
    assert taken.sets == [QuerySet(0, ())]
    assert follower.available


def test_changes_arrive_one_after_the_other(
    redis_settings: RedisSettings, follow: Follow, taken: Taken, until: Until
) -> None:
    """Additions, changes and removals reach a running process."""
    registry = QueryRegistry(redis_settings)
    registry.add(_query("a"))
    follower = follow(registry)
    assert _ids(taken.sets[0]) == ["a"]
    added = registry.add(_query("b"))
    until(lambda: _ids(follower.current) == ["a", "b"])
    registry.update("b", added.revision, {"enabled": False})
    until(lambda: not follower.current.queries[1].enabled)
    registry.remove("a")
    until(lambda: _ids(follower.current) == ["b"])
    assert [found.revision for found in taken.sets] == sorted({found.revision for found in taken.sets})


def test_change_that_the_stream_does_not_tell_is_found(
    redis_settings: RedisSettings, follow: Follow, until: Until
) -> None:
    """Reconciling finds what the stream missed."""
    registry = QueryRegistry(redis_settings)
    added = registry.add(_query("a"))
    follower = follow(registry, reconcile_s=0.2)
    client = redis.Redis.from_url(redis_settings.url)
    moved = added.model_copy(update={"id": "b"})
    client.hset(f"{redis_settings.prefix}:queries", "b", moved.model_dump_json())
    until(lambda: _ids(follower.current) == ["a", "b"])
    client.close()


def test_redis_away_at_start_uses_the_last_known_set(
    stopped_redis: LocalRedis,
    follow: Follow,
    taken: Taken,
    tmp_path: Path,
    until: Until,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Monitoring begins with the set on disk, says so, and takes over the registry's once Redis is there."""
    known = QuerySet(7, (_query("known"),))
    write_cache(tmp_path / "queries.json", known)
    follower = follow(_own(stopped_redis))
    assert taken.sets == [known]
    assert not follower.available
    assert "going on with revision 7" in caplog.text
    stopped_redis.start()
    until(lambda: follower.available)
    assert follower.current == known, "an empty Redis is no reason to stop monitoring"
    registry = _own(stopped_redis)
    registry.add(_query("new"))
    until(lambda: _ids(follower.current) == ["new"])


def test_redis_away_at_start_without_a_known_set(
    stopped_redis: LocalRedis, follow: Follow, taken: Taken, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Without Redis and without a cache the process starts with no queries, and says so."""
    follower = follow(_own(stopped_redis))
    assert taken.sets == [QuerySet(0, ())]
    assert "going on with no queries" in caplog.text
    stopped_redis.start()
    _own(stopped_redis).add(_query("a"))
    until(lambda: _ids(follower.current) == ["a"])


def test_outage_in_mid_run_changes_nothing(
    redis_server: LocalRedis, follow: Follow, taken: Taken, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """While Redis is away the set stands; afterwards changes arrive again."""
    caplog.set_level(logging.INFO)
    registry = _own(redis_server)
    registry.add(_query("a"))
    follower = follow(_own(redis_server))
    redis_server.stop()
    until(lambda: not follower.available)
    assert _ids(follower.current) == ["a"]
    with pytest.raises(RegistryUnavailable):
        registry.add(_query("b"))
    redis_server.start()
    until(lambda: follower.available)
    registry.add(_query("b"))
    until(lambda: len(taken.sets) == 2)  # the set is current a moment before it is handed over
    assert [_ids(found) for found in taken.sets] == [["a"], ["a", "b"]]
    assert _ids(follower.current) == ["a", "b"]
    assert caplog.text.count("Redis cannot be reached") == 1, "an outage is logged once, not at every attempt"


def test_absurd_values_leave_the_follower_at_work(redis_settings: RedisSettings, follow: Follow, until: Until) -> None:
    """A stored value that cannot be is refused at the start and in mid-run; the queries after it arrive."""
    registry, client = QueryRegistry(redis_settings), redis.Redis.from_url(redis_settings.url)
    absurd = json.loads(_query("absurd").model_dump_json()) | {"created": "0001-01-01T00:00:00+05:00"}
    client.hset(f"{redis_settings.prefix}:queries", "absurd", json.dumps(absurd))
    registry.add(_query("a"))
    follower = follow(registry)
    assert (_ids(follower.current), [one.id for one in follower.current.broken]) == (["a"], ["absurd"])
    endless = absurd | {"id": "endless", "on_delay": {"value": float("inf"), "unit": "frames"}}
    client.hset(f"{redis_settings.prefix}:queries", "endless", json.dumps(endless))
    registry.add(_query("b"))
    until(lambda: _ids(follower.current) == ["a", "b"])
    assert (follower.available, _available()) == (True, 1.0)
    client.set(f"{redis_settings.prefix}:queries:revision", "9" * 400)
    client.xadd(f"{redis_settings.prefix}:queries:changes", {"revision": "9"})
    until(lambda: not follower.available)
    assert (_available(), _ids(follower.current)) == (0.0, ["a", "b"])
    client.set(f"{redis_settings.prefix}:queries:revision", "9")
    until(lambda: follower.available)
    client.close()


class Failing(QueryRegistry):
    """Fails once as nothing should."""

    failures = 1

    def wait_for_change(self, place: bytes, seconds: float) -> bool:
        if self.failures:
            self.failures -= 1
            raise OverflowError("date value out of range")
        return super().wait_for_change(place, seconds)


def test_unforeseen_failure_does_not_end_the_follower(
    redis_settings: RedisSettings, follow: Follow, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever following fails with is logged, and tried again."""
    follower = follow(Failing(redis_settings))
    until(lambda: "cannot be followed" in caplog.text)
    QueryRegistry(redis_settings).add(_query("a"))
    until(lambda: _ids(follower.current) == ["a"])


def test_set_that_could_not_be_taken_over_is_offered_again(
    redis_settings: RedisSettings, follow: Follow, taken: Taken, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure of the process is logged and tried again at the next reconciliation."""
    taken.fail = True
    registry = QueryRegistry(redis_settings)
    registry.add(_query("a"))
    follow(registry, reconcile_s=0.2)
    assert taken.sets == []
    assert "no room on the device" in caplog.text
    taken.fail = False
    until(lambda: taken.sets and _ids(taken.sets[-1]) == ["a"])


def test_set_in_use_is_kept_on_disk(redis_settings: RedisSettings, follow: Follow, tmp_path: Path) -> None:
    """The set taken over is the one that a later start without Redis would use."""
    registry = QueryRegistry(redis_settings)
    registry.add(_query("a"))
    follower = follow(registry)
    assert read_cache(tmp_path / "queries.json") == follower.current


def test_crash_while_writing_leaves_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache is replaced whole or not at all."""
    path, old = tmp_path / "deep" / "queries.json", QuerySet(1, (_query("a"),))
    write_cache(path, old)

    def crash(descriptor: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="power cut"):
        write_cache(path, QuerySet(2, ()))
    assert read_cache(path) == old


def test_missing_cache_is_no_fault(tmp_path: Path) -> None:
    """The first start on a machine knows no set."""
    assert read_cache(tmp_path / "queries.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"revision": 1}', '{"revision": "x", "queries": []}'])
def test_unreadable_cache_is_ignored_and_named(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged cache does not keep a process from starting."""
    path = tmp_path / "queries.json"
    path.write_text(text, encoding="utf-8")
    assert read_cache(path) is None
    assert str(path) in caplog.text


def test_unreadable_query_in_the_cache_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One damaged query does not lose the others."""
    path, good = tmp_path / "queries.json", _query("a")
    content = {"revision": 3, "queries": [good.model_dump(mode="json"), {"id": "b"}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_cache(path) == QuerySet(3, (good,))
    assert "is skipped" in caplog.text
