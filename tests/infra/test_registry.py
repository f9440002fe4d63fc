"""The registry of standing queries in a real Redis."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from infra.contracts import MAX_QUERY_CHARACTERS, StandingQuery
from infra.errors import (
    BadQuery,
    QueryExists,
    QueryNotFound,
    RegistryError,
    RegistryUnavailable,
    RevisionConflict,
)
from infra.process import free_port
from infra.queries import QueryRegistry, parse_query
from infra.registry import MAX_QUERY_BYTES
from infra.reports import NAMED, REASON_CHARACTERS, WorkerReport
from infra.settings import RedisSettings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _query(id: str = "bolt", **changes: Any) -> StandingQuery:
    return parse_query({"id": id, "text": "missing bolt", "created": NOW, "changed": NOW} | changes)


@pytest.fixture
def registry(redis_settings: RedisSettings) -> QueryRegistry:
    return QueryRegistry(redis_settings)


@pytest.fixture
def raw(redis_settings: RedisSettings) -> redis.Redis:
    """Redis as somebody else would write to it."""
    return redis.Redis.from_url(redis_settings.url)


def test_empty_registry_is_revision_zero(registry: QueryRegistry) -> None:
    """Nothing was ever written: no queries, revision 0."""
    assert registry.list() == ()
    assert registry.snapshot().revision == 0
    assert registry.workers() == {}


def test_added_query_is_read_back(registry: QueryRegistry) -> None:
    """A query is stored as it was given, with its revision and times set."""
    added = registry.add(_query(cameras=("line-*",), region=(0.1, 0.2, 0.3, 0.4)))
    assert added.revision == 1
    assert registry.get("bolt") == added
    assert registry.list() == (added,)
    assert (added.cameras, added.region) == (("line-*",), (0.1, 0.2, 0.3, 0.4))


def test_taken_id_is_refused(registry: QueryRegistry) -> None:
    """An id is given once; the message says what has it and what can be done."""
    registry.add(_query())
    with pytest.raises(QueryExists, match=r"'bolt' exists already \('missing bolt', revision 1\).*query edit bolt"):
        registry.add(_query(text="other"))
    assert registry.get("bolt").text == "missing bolt"


def test_every_write_raises_the_revision(registry: QueryRegistry) -> None:
    """Revisions grow over all queries and never come twice."""
    first = registry.add(_query("a"))
    second = registry.add(_query("b"))
    third = registry.update("a", first.revision, {"enabled": False})
    registry.remove("b", second.revision)
    again = registry.add(_query("b"))
    assert [first.revision, second.revision, third.revision, again.revision] == [1, 2, 3, 5]
    assert registry.snapshot().revision == 5


def test_change_keeps_the_rest(registry: QueryRegistry) -> None:
    """An update changes its fields only."""
    added = registry.add(_query(severity="low"))
    changed = registry.update("bolt", added.revision, {"raise_threshold": 0.8, "author": "ann"})
    assert (changed.raise_threshold, changed.author, changed.severity, changed.text) == (
        0.8,
        "ann",
        "low",
        "missing bolt",
    )
    assert changed.created == added.created


def test_stale_change_is_refused(registry: QueryRegistry) -> None:
    """Two operators never overwrite each other silently: the second is told of the first, and not that it was the
    query's author, who may have been asleep."""
    added = registry.add(_query())
    registry.update("bolt", added.revision, {"raise_threshold": 0.8})
    with pytest.raises(RevisionConflict, match=r"'bolt' of author 'unknown' was changed at .*now at revision 2, not 1"):
        registry.update("bolt", added.revision, {"raise_threshold": 0.2})
    with pytest.raises(RevisionConflict):
        registry.remove("bolt", added.revision)
    assert registry.get("bolt").raise_threshold == 0.8


def test_one_of_many_writers_wins(registry: QueryRegistry, redis_settings: RedisSettings) -> None:
    """Of eight changes to the same revision at the same moment exactly one is taken."""
    added = registry.add(_query())
    start, taken, refused = threading.Barrier(8), [], []

    def write(number: int) -> None:
        own = QueryRegistry(redis_settings)
        start.wait()
        try:
            taken.append(own.update("bolt", added.revision, {"author": f"writer-{number}"}))
        except RevisionConflict as error:
            refused.append(error)
        own.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 7)
    assert registry.get("bolt") == taken[0]


def test_writers_of_different_queries_all_succeed(registry: QueryRegistry, redis_settings: RedisSettings) -> None:
    """Writes to different queries get in each other's way only for a moment."""

    def write(number: int) -> None:
        own = QueryRegistry(redis_settings)
        own.add(_query(f"q-{number}"))
        own.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(query.revision for query in registry.list()) == [1, 2, 3, 4, 5, 6]


def test_unknown_id_names_the_nearest(registry: QueryRegistry) -> None:
    """A misspelt id is told the one that was probably meant."""
    registry.add(_query("missing-bolt"))
    with pytest.raises(QueryNotFound, match=r"'missing-blot'; did you mean 'missing-bolt'\?"):
        registry.get("missing-blot")
    with pytest.raises(QueryNotFound):
        registry.update("nothing", 1, {"text": "x"})
    with pytest.raises(QueryNotFound, match="query list"):
        registry.remove("zzz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": ""}, "query text is empty; write what to look for"),
        ({"text": " ?! "}, "has no word in it"),
        ({"text": "x" * (MAX_QUERY_CHARACTERS + 1)}, f"has 201 characters ('{'x' * 40}'…); write at most 200"),
        ({"raise_threshold": 1.5}, "query raise_threshold = 1.5: Input should be less than 1"),
        ({"raise_threshold": 0.3, "clear_threshold": 0.4}, "clear threshold 0.4 is above the raise threshold 0.3"),
        ({"cameras": ("line 1",)}, "camera pattern 'line 1' is neither a camera id nor a glob"),
        ({"cameras": ("line-1\n",)}, r"camera pattern 'line-1\n' is neither a camera id nor a glob"),
        ({"cameras": ()}, "query cameras = ()"),
        ({"threshold": 0.5}, "a query has no field 'threshold'; did you mean raise_threshold?"),
        ({"severity": "extreme"}, "query severity = 'extreme'"),
        ({"revision": 7}, "field revision of a query is set by the registry"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_bad_change_is_refused_in_words(registry: QueryRegistry, changes: dict[str, Any], message: str) -> None:
    """A value that cannot stand is named, and the stored query stays."""
    added = registry.add(_query())
    with pytest.raises(BadQuery) as refused:
        registry.update("bolt", added.revision, changes)
    assert message in str(refused.value)
    assert registry.get("bolt") == added


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff",
        b'{"id": "broken"}',
        b'{"id": "other"}',
        b"[" * 60_000,
        b'{"id": "' + b"x" * 64_000 + b'"}',
        None,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_broken_value_is_skipped_and_named(
    registry: QueryRegistry, raw: redis.Redis, redis_settings: RedisSettings, value: Any
) -> None:
    """A stored value that is no query does not keep the others from being read, and can be removed."""
    added = registry.add(_query("good"))
    if value is None:  # a good value under another id
        value = added.model_dump_json().encode()
    raw.hset(f"{redis_settings.prefix}:queries", "broken", value)
    found = registry.snapshot()
    assert found.queries == (added,)
    assert [broken.id for broken in found.broken] == ["broken"]
    assert found.broken[0].fault.startswith("stored query 'broken': ")
    assert found.broken[0].fault.endswith("; remove it with `simvg query rm broken`")
    with pytest.raises(BadQuery):
        registry.get("broken")
    assert REGISTRY.get_sample_value("simvg_queries_unreadable") == 1
    registry.remove("broken")
    assert registry.snapshot().broken == ()
    assert REGISTRY.get_sample_value("simvg_queries_unreadable") == 0


@pytest.mark.parametrize("id", ["bolt\n", "", "a b", "x" * 65])
def test_id_is_whole_or_none(id: str) -> None:
    """An id with anything beside its characters, a newline at its end included, is refused."""
    with pytest.raises(BadQuery, match="is no valid id"):
        _query(id)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"created": "0001-01-01T00:00:00+05:00"}, "is not in the years 1970 to 9998"),
        ({"changed": "9999-12-31T23:59:59-05:00"}, "is not in the years 1970 to 9998"),
        ({"on_delay": {"value": float("inf"), "unit": "frames"}}, "on_delay.value = inf: Input should be a finite"),
        ({"off_delay": {"value": float("nan"), "unit": "seconds"}}, "off_delay.value = nan"),
        ({"realarm_interval": float("inf")}, "finite number"),
        ({"rate": 1e-320}, "rate 9.99989e-321 frames per second is none: give 0.001 (1 in 1000 s) to 1000"),
        ({"rate": 1e300}, "rate 1e+300 frames per second is none"),
        ({"rate": float("inf")}, "finite number"),
        ({"region": []}, "is no polygon: give 3 or more points"),
        ({"region": [[0.1, 0.1], [0.9, 0.9]]}, "is no polygon: give 3 or more points"),
        ({"region": [[0.1, float("nan")], [0.9, 0.9], [0.5, 0.1]]}, "finite number"),
        ({"region": [[1.5, 0.1], [1.9, 0.9], [1.7, 0.1]]}, "lies outside the frame"),
        ({"region": [0.5, 0.5, 0.5, 0.5]}, "box (0.5, 0.5, 0.5, 0.5) has no area; give x0,y0,x1,y1 with x0 below x1"),
        ({"region": [0.1, 0.5, 0.9, 0.5]}, "box (0.1, 0.5, 0.9, 0.5) has no area"),
        ({"region": [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]}, "has no area: its points lie on one line; give 3 or more"),
        ({"region": [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]}, "has no area"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_absurd_value_is_skipped_and_named(
    registry: QueryRegistry, raw: redis.Redis, redis_settings: RedisSettings, changes: dict[str, Any], fault: str
) -> None:
    """Times that are none, numbers that are not finite and regions without an area are broken queries like others."""
    good = registry.add(_query("good"))
    value = json.loads(good.model_dump_json()) | {"id": "absurd"} | changes
    raw.hset(f"{redis_settings.prefix}:queries", "absurd", json.dumps(value))
    found = registry.snapshot()
    assert found.queries == (good,)
    (broken,) = found.broken
    assert broken.id == "absurd" and fault in broken.fault


@pytest.mark.parametrize("value", [b"x", b"-1", b"1e400", b"9" * 400], ids=lambda value: repr(value)[:12])
def test_counter_that_is_none_is_named_with_the_remedy(
    registry: QueryRegistry, raw: redis.Redis, redis_settings: RedisSettings, value: bytes
) -> None:
    """Without its counter the registry cannot be read or written, and says what holds and what to do."""
    raw.set(f"{redis_settings.prefix}:queries:revision", value)
    with pytest.raises(RegistryError, match="no revision; set it to the highest revision"):
        registry.snapshot()
    with pytest.raises(RegistryError, match="no revision"):
        registry.add(_query())


@pytest.mark.parametrize("value", [b"x", b"{}", b"9" * 5000], ids=lambda value: repr(value)[:8])
def test_report_that_is_none_is_skipped(
    registry: QueryRegistry, raw: redis.Redis, redis_settings: RedisSettings, value: bytes
) -> None:
    """What no worker said does not hide what the others say."""
    registry.report_worker("w-1", WorkerReport.of(4), 60)
    raw.set(f"{redis_settings.prefix}:workers:w-2", value)
    assert registry.workers() == {"w-1": 4}


def test_refused_queries_are_reported_within_bounds(registry: QueryRegistry) -> None:
    """By id with the reason; of very many the first ones and the number of the others, and a long reason is cut."""
    registry.report_worker("w-1", WorkerReport.of(4, refused={}), 60)
    registry.report_worker("w-2", WorkerReport.of(4, refused={f"q-{n:03}": "x" * 5000 for n in range(NAMED + 7)}), 60)
    few, many = registry.reports().values()
    readings = WorkerReport.of(4, readings={f"q-{n:03}": "x" * 5000 for n in range(NAMED + 7)}).readings
    assert (len(readings), len(readings["q-000"])) == (NAMED, REASON_CHARACTERS)
    assert (few.refused, few.refused_more) == ({}, 0)
    assert many.refused is not None
    assert (len(many.refused), many.refused_more) == (NAMED, 7)
    assert many.refused["q-000"] == "x" * (REASON_CHARACTERS - 1) + "…"


@pytest.mark.parametrize("value", [b"4", b'{"revision": 4}'], ids=["number", "object"])
def test_report_of_an_older_worker_does_not_say_what_is_refused(
    registry: QueryRegistry, raw: redis.Redis, redis_settings: RedisSettings, value: bytes
) -> None:
    """It is read all the same, and is not taken for one that refuses nothing."""
    raw.set(f"{redis_settings.prefix}:workers:w-1", value)
    assert registry.reports() == {"w-1": WorkerReport(revision=4, refused=None)}


def test_query_that_nobody_would_read_is_not_written(registry: QueryRegistry) -> None:
    """What is larger than a stored query may be is refused, not taken in and then skipped by every worker."""
    cameras = tuple(f"line-{n:040d}" for n in range(2000))
    with pytest.raises(
        BadQuery, match=rf"'bolt' would take \d+ bytes.* more than {MAX_QUERY_BYTES}; name fewer cameras"
    ):
        registry.add(_query(cameras=cameras))
    added = registry.add(_query())
    with pytest.raises(BadQuery, match="name fewer cameras"):
        registry.update("bolt", added.revision, {"cameras": cameras})
    assert (registry.snapshot().queries, registry.snapshot().broken) == ((added,), ())


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ((float("nan"), 0, 1, 1), "query region.0 = nan: Input should be a finite number"),
        ((0.5, 0, 0.5, 1), "box (0.5, 0.0, 0.5, 1.0) has no area; give x0,y0,x1,y1 with x0 below x1 and y0 below y1"),
        ((0, 0, 2, 1), "box (0.0, 0.0, 2.0, 1.0) is not xyxy within 0..1"),
        (((0, 0), (1, 0), (1, "x")), "query region.2.1 = 'x': Input should be a valid number, unable to parse string"),
        ("all", "query region = 'all': Input should be a valid tuple"),
    ],
    ids=["not a number", "no area", "outside", "polygon", "word"],
)
def test_region_has_the_faults_of_what_it_was_meant_to_be(region: object, message: str) -> None:
    """A wrong box is not told, number by number, that it is no polygon besides."""
    with pytest.raises(BadQuery) as said:
        _query(region=region)
    assert str(said.value).startswith(message) and "tuple[" not in str(said.value)


def test_worker_of_an_unreadable_name_ends_nothing(
    registry: QueryRegistry, raw: redis.Redis, redis_settings: RedisSettings
) -> None:
    """Somebody else's key among those of the workers is shown; the others are read as ever."""
    registry.report_worker("w1", WorkerReport(revision=3), 60)
    raw.set(f"{redis_settings.prefix}:workers:".encode() + b"\xff", "5")
    assert registry.workers() == {"w1": 3, "\N{REPLACEMENT CHARACTER}": 5}


def test_change_is_announced_in_the_stream(registry: QueryRegistry) -> None:
    """A follower at the place of a snapshot hears of the next write, and of nothing before it."""
    registry.add(_query("a"))
    _, place = registry.snapshot_and_place()
    assert not registry.wait_for_change(place, 0.05)
    registry.add(_query("b"))
    assert registry.wait_for_change(place, 5.0)


def test_worker_reports_are_forgotten(registry: QueryRegistry, until: Any) -> None:
    """A worker counts while it reports."""
    registry.report_worker("w-1", WorkerReport.of(4), 60)
    registry.report_worker("w-2", WorkerReport.of(3), 0.2)
    assert registry.workers()["w-1"] == 4
    until(lambda: registry.workers() == {"w-1": 4})


def test_two_plants_share_a_redis(registry: QueryRegistry, redis_settings: RedisSettings) -> None:
    """Registries with different prefixes know nothing of each other."""
    registry.add(_query())
    other = QueryRegistry(redis_settings.model_copy(update={"prefix": redis_settings.prefix + "-b"}))
    assert other.list() == ()
    other.close()


def test_redis_away_names_address_and_remedy() -> None:
    """Without Redis every call says where it looked, without the password, and what to do."""
    port = free_port()
    registry = QueryRegistry(RedisSettings(url=f"redis://u:hush@127.0.0.1:{port}/0"))
    with pytest.raises(RegistryUnavailable, match=rf"127\.0\.0\.1:{port}.*simvg up") as refused:
        registry.list()
    assert "hush" not in str(refused.value)
    with pytest.raises(RegistryUnavailable):
        registry.add(_query())


def test_wrong_password_is_said(redis_url: str) -> None:
    """Credentials that Redis refuses are named as such."""
    registry = QueryRegistry(RedisSettings(url=redis_url.replace("redis://", "redis://nobody:hush@")))
    with pytest.raises(RegistryUnavailable, match="refuses the credentials") as refused:
        registry.list()
    assert "hush" not in str(refused.value)
