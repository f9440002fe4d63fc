"""The registry of standing queries: written by operators, followed by every worker.

In Redis, under the prefix ``P``: the hash ``P:queries`` (one JSON value per id), the counter ``P:queries:revision``
that every write raises, the stream ``P:queries:changes`` that tells of each write (trimmed; publish/subscribe and
keyspace notifications lose messages), and ``P:workers:ID`` with what a worker runs, measures and cannot ask. A query's
own revision is the registry's at its last change, so it never comes twice, not even for an id that is removed and added
again.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import redis
from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from infra.contracts import StandingQuery
from infra.errors import BadQuery, QueryExists, QueryNotFound, QuerySetChanged, RegistryError, RevisionConflict
from infra.metrics import counter, gauge_once_set
from infra.near import nearest
from infra.redis_client import connect, translated
from infra.reports import WorkerReport
from infra.settings import RedisSettings

logger = logging.getLogger(__name__)

STREAM_LENGTH = 1000
"""Changes kept in the stream, about; a follower that missed more reads a snapshot anyway."""

MAX_QUERY_BYTES = 64_000
"""A stored value of more bytes is no query of ours and is not even parsed."""

_OWNED = frozenset({"id", "revision", "created", "changed"})  # set by the registry, never by a change
_ATTEMPTS = 20
_REVISION = re.compile(rb"[0-9]{1,18}")  # what Redis can count itself
_BROKEN = counter("simvg_queries_broken_total", "stored queries that could not be read, counted once per stored value")
_UNREADABLE = gauge_once_set(
    "simvg_queries_unreadable", "stored queries that cannot be read, by the last look; none is watched"
)

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class BrokenQuery:
    """A stored value that is no standing query."""

    id: str
    fault: str


@dataclass(frozen=True)
class QuerySet:
    """All standing queries as they were at one revision of the registry, ordered by id."""

    revision: int
    queries: tuple[StandingQuery, ...]
    broken: tuple[BrokenQuery, ...] = ()

    def get(self, id: str) -> StandingQuery | None:
        return next((query for query in self.queries if query.id == id), None)


def parse_query(values: Mapping[str, Any]) -> StandingQuery:
    """A standing query from plain values. Raises BadQuery naming each bad field, its value and what is right."""
    try:
        return StandingQuery.model_validate(dict(values))
    except ValidationError as error:
        raise BadQuery(explain_query(error)) from error
    except Exception as error:  # not foreseen: one stored value must not keep a process from all the others
        raise BadQuery(f"query cannot be read: {type(error).__name__}: {error}") from error


def explain_query(error: ValidationError) -> str:
    """The faults of a standing query in words."""
    sentences = []
    for place, fault in _of_the_nearest_form(error):
        key = ".".join(map(str, place))
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            near = nearest(key, StandingQuery.model_fields)
            sentences.append(f"a query has no field {key!r}" + (f"; did you mean {near}?" if near else ""))
        elif fault["type"] == "string_too_long":
            value = str(fault["input"])
            sentences.append(
                f"query text has {len(value)} characters ({value[:40]!r}…); write at most {fault['ctx']['max_length']}"
            )
        elif fault["type"] == "string_too_short":
            sentences.append("query text is empty; write what to look for, e.g. 'missing bolt'")
        elif fault["type"] == "value_error":
            sentences.append(message)
        else:
            sentences.append(f"query {key} = {fault.get('input')!r}: {message}")
    return "; ".join(sentences)


def _of_the_nearest_form(error: ValidationError) -> list[tuple[tuple[int | str, ...], ErrorDetails]]:
    """Each fault with its place. A region is a box or a polygon, and one that is neither has the faults of both: only
    those count of the form with the fewest, a box before a polygon."""
    faults: list[tuple[tuple[int | str, ...], ErrorDetails]] = []
    forms: dict[int | str, list[tuple[tuple[int | str, ...], ErrorDetails]]] = {}
    for fault in error.errors(include_url=False):
        place = fault["loc"]
        if place[:1] == ("region",) and len(place) > 1:  # the second part names the form
            forms.setdefault(place[1], []).append(((place[0], *place[2:]), fault))
        else:
            faults.append((place, fault))
    return faults + min(reversed(forms.values()), key=len, default=[])


class QueryRegistry:
    """Standing queries in Redis. Connects at the first call; thread-safe.

    Every call raises RegistryUnavailable when Redis cannot be reached.
    """

    def __init__(self, settings: RedisSettings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._now = now
        # Any: the library types every answer as bytes or text or a future, whatever the client is.
        self._client: Any = connect(settings)
        self._hash = f"{settings.prefix}:queries"
        self._counter = f"{settings.prefix}:queries:revision"
        self._stream = f"{settings.prefix}:queries:changes"
        self._workers = f"{settings.prefix}:workers:"
        self._told_broken: set[tuple[str, bytes]] = set()

    @property
    def address(self) -> str:
        """Where Redis is, without credentials."""
        return self._settings.shown_url

    def add(self, query: StandingQuery, *, set_revision: int | None = None) -> StandingQuery:
        """Store a new query; the stored one has its revision. ``set_revision``: only while the set is at it.

        Raises QueryExists if the id is taken, QuerySetChanged, BadQuery for one that is too large to be read again.
        """

        def change(stored: StandingQuery | None, revision: int) -> StandingQuery:
            if stored is not None:
                raise QueryExists(
                    f"query {query.id!r} exists already ({stored.text!r}, revision {stored.revision}); choose another "
                    f"id, or change it with `simvg query edit {query.id}`"
                )
            now = self._now()
            return parse_query(query.model_dump() | {"revision": revision, "created": now, "changed": now})

        added = self._write(query.id, "add", change, set_revision=set_revision)
        assert added is not None, "an addition stores something"
        return added

    def get(self, id: str) -> StandingQuery:
        """Raises QueryNotFound (naming the nearest id), BadQuery if the stored value is broken."""
        value = self._call(lambda: self._client.hget(self._hash, id))
        return self._parse(id, value)

    def list(self) -> tuple[StandingQuery, ...]:
        """All readable queries, ordered by id."""
        return self.snapshot().queries

    def update(
        self, id: str, expected_revision: int, changes: Mapping[str, Any], *, set_revision: int | None = None
    ) -> StandingQuery:
        """Change fields of a query that is still at ``expected_revision``. ``set_revision``: only while the set is at
        it.

        Raises:
            RevisionConflict: somebody else changed it since; read it again.
            QuerySetChanged: somebody else changed another query since.
            QueryNotFound: it is gone.
            BadQuery: a field is unknown, owned by the registry, or its value is not accepted.
        """
        owned = sorted(_OWNED & set(changes))
        if owned:
            raise BadQuery(f"field {', '.join(owned)} of a query is set by the registry and cannot be changed")

        def change(stored: StandingQuery | None, revision: int) -> StandingQuery:
            current = self._expect(id, stored, expected_revision)
            return parse_query(current.model_dump() | dict(changes) | {"revision": revision, "changed": self._now()})

        updated = self._write(id, "update", change, set_revision=set_revision)
        assert updated is not None, "an update stores something"
        return updated

    def remove(self, id: str, expected_revision: int | None = None) -> None:
        """Remove a query that is still at ``expected_revision`` (None: at any, and even a broken one).

        Raises RevisionConflict, QueryNotFound.
        """

        def change(stored: StandingQuery | None, revision: int) -> None:
            if expected_revision is not None:
                self._expect(id, stored, expected_revision)

        self._write(id, "remove", change, tolerate_broken=expected_revision is None)

    def snapshot(self) -> QuerySet:
        """All queries at one revision. A broken value is skipped, counted, logged and named in ``broken``."""
        return self.snapshot_and_place()[0]

    def snapshot_and_place(self) -> tuple[QuerySet, bytes]:
        """The snapshot and the place in the change stream that it stands for."""

        def read() -> tuple[dict[bytes, bytes], bytes | None, Sequence[tuple[bytes, Any]]]:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.hgetall(self._hash).get(self._counter).xrevrange(self._stream, count=1)
                values, revision, last = pipe.execute()
                return values, revision, last

        values, revision, last = self._call(read)
        queries, broken = [], []
        for raw_id, value in sorted(values.items()):
            id = raw_id.decode("utf-8", "replace")
            try:
                queries.append(self._parse(id, value))
            except BadQuery as error:
                broken.append(BrokenQuery(id, str(error)))
                if (id, value) not in self._told_broken:
                    self._told_broken.add((id, value))
                    _BROKEN.inc()
                    logger.error("stored query is skipped: %s", error, extra={"query": id})
        _UNREADABLE.set(len(broken))
        place = last[0][0] if last else b"0-0"
        return QuerySet(self._revision(revision), tuple(queries), tuple(broken)), place

    def wait_for_change(self, place: bytes, seconds: float) -> bool:
        """Whether the registry changed after ``place``; waits at most ``seconds``, and under the answer time-out."""
        wait_ms = max(int(min(seconds, self._settings.timeout_s / 2) * 1000), 1)
        return bool(self._call(lambda: self._client.xread({self._stream: place}, count=1, block=wait_ms)))

    def report_worker(self, worker_id: str, report: WorkerReport, ttl: float) -> None:
        """What a worker says of itself; forgotten after ``ttl`` seconds without a report."""
        value = report.model_dump_json(exclude_none=True)
        self._call(lambda: self._client.set(self._workers + worker_id, value, px=max(int(ttl * 1000), 1)))

    def workers(self) -> dict[str, int]:
        """Revision of the query set that each worker runs, of those that reported in time."""
        return {worker: report.revision for worker, report in self.reports().items()}

    def reports(self) -> dict[str, WorkerReport]:
        """What each worker said of itself last, by its id, of those that reported in time."""

        def read() -> dict[str, bytes]:
            keys = sorted(self._client.scan_iter(match=f"{self._workers}*", count=1000))
            found = zip(keys, self._client.mget(keys) if keys else [], strict=True)
            return {
                key.decode("utf-8", "replace").removeprefix(self._workers): value
                for key, value in found
                if value is not None
            }

        found = {worker: WorkerReport.read(worker, value) for worker, value in self._call(read).items()}
        return {worker: report for worker, report in found.items() if report is not None}

    def ping(self) -> None:
        """Raises RegistryUnavailable if Redis does not answer."""
        self._call(self._client.ping)

    def close(self) -> None:
        self._client.close()

    def _write(
        self,
        id: str,
        operation: str,
        change: Callable[[StandingQuery | None, int], StandingQuery | None],
        *,
        tolerate_broken: bool = False,
        set_revision: int | None = None,
    ) -> StandingQuery | None:
        """Compare-and-set: ``change`` gets what is stored and the new revision; nothing else may write in between, nor
        since the set was at ``set_revision``.

        Raises BadQuery for what is larger than anybody would read, QuerySetChanged.
        """

        def attempt() -> StandingQuery | None:
            with self._client.pipeline() as pipe:
                pipe.watch(self._hash, self._counter)
                value = pipe.hget(self._hash, id)
                revision = self._revision(pipe.get(self._counter)) + 1
                if value is None and operation != "add":
                    self._parse(id, None)
                stored = None
                if value is not None and not tolerate_broken:
                    stored = self._parse(id, value)
                query = change(stored, revision)
                if set_revision is not None and revision != set_revision + 1:
                    raise QuerySetChanged(
                        f"the set of queries at {self.address} is at revision {revision - 1}, not {set_revision}; look "
                        "at it with `simvg query list` and try again"
                    )
                stored_as = b"" if query is None else query.model_dump_json().encode()
                if len(stored_as) > MAX_QUERY_BYTES:
                    raise BadQuery(
                        f"query {id!r} would take {len(stored_as)} bytes, and no worker reads one of more than "
                        f"{MAX_QUERY_BYTES}; name fewer cameras, several at once by a glob such as 'line-*'"
                    )
                pipe.multi()
                if query is None:
                    pipe.hdel(self._hash, id)
                else:
                    pipe.hset(self._hash, id, stored_as)
                pipe.set(self._counter, revision)
                entry = {"revision": str(revision), "id": id, "operation": operation}
                pipe.xadd(self._stream, entry, maxlen=STREAM_LENGTH, approximate=True)
                pipe.execute()
                return query

        for _ in range(_ATTEMPTS):
            try:
                return self._call(attempt)
            except redis.WatchError:
                continue  # somebody wrote another query meanwhile: look again
        raise RegistryError(f"the registry at {self.address} changes too fast to write query {id!r}; try again")

    def _revision(self, value: bytes | None) -> int:
        """The stored counter. Raises RegistryError: somebody else wrote over it."""
        if value is None:
            return 0
        if not _REVISION.fullmatch(value):
            raise RegistryError(
                f"the counter {self._counter!r} at {self.address} holds {value[:40]!r}, no revision; set it to the "
                "highest revision that was seen, or more"
            )
        return int(value)

    def _expect(self, id: str, stored: StandingQuery | None, revision: int) -> StandingQuery:
        assert stored is not None, "callers pass what is stored"
        if stored.revision != revision:
            raise RevisionConflict(
                f"query {id!r} of author {stored.author!r} was changed at {stored.changed:%Y-%m-%d %H:%M:%S} UTC and "
                f"is now at revision {stored.revision}, not {revision}; look at it with "
                f"`simvg query show {id}` and try again"
            )
        return stored

    def _parse(self, id: str, value: bytes | None) -> StandingQuery:
        if value is None:
            known = [k.decode("utf-8", "replace") for k in self._call(lambda: self._client.hkeys(self._hash))]
            near = nearest(id, known)
            raise QueryNotFound(
                f"no query has the id {id!r}" + (f"; did you mean {near!r}?" if near else "; see `simvg query list`")
            )
        try:
            return _stored(id, value)
        except BadQuery as error:
            remedy = f"remove it with `simvg query rm {shlex.quote(id)}`"
            raise BadQuery(f"stored query {id!r}: {error}; {remedy}") from error

    def _call(self, action: Callable[[], ResultT]) -> ResultT:
        with translated(self._settings):
            return action()


def _stored(id: str, value: bytes) -> StandingQuery:
    """What is stored under ``id``. Raises BadQuery."""
    try:
        if len(value) > MAX_QUERY_BYTES:
            raise ValueError(f"it has {len(value)} bytes; a query has at most {MAX_QUERY_BYTES}")
        values = from_json(value)  # refuses what is nested too deep, over which `json` would fail for good
        if not isinstance(values, dict):
            raise ValueError(f"holds {type(values).__name__}, not an object")
    except ValueError as error:
        raise BadQuery(f"it is no JSON object: {error}") from error
    query = parse_query(values)
    if query.id != id:
        raise BadQuery(f"it names itself {query.id!r}")
    return query
