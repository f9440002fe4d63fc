"""Following the registry: a worker always has a set of queries, with Redis or without."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.errors import BadQuery, RegistryError
from infra.metrics import counter, gauge_once_set
from infra.registry import QueryRegistry, QuerySet, parse_query

logger = logging.getLogger(__name__)

_AVAILABLE = gauge_once_set(
    "simvg_registry_available", "1 while Redis answers, 0 while the last known queries are used"
)
_REVISION = gauge_once_set("simvg_query_set_revision", "revision of the query set in use")
_FAILED = counter("simvg_query_changes_failed_total", "query sets that the process could not take over")

OnChange = Callable[[QuerySet], None]


class QueryFollower:
    """Keeps a process at the registry's newest query set and calls ``on_change`` with each new one.

    Snapshot, then the change stream, and a new snapshot every ``reconcile_s`` whatever the stream says. Each set is
    kept in ``cache_file``; when Redis is away, also at start, the last known one stands. A registry that lost its data
    (emptied, without a single write since) does not end monitoring either: the last known set stands until then.

    ``on_change`` runs in :meth:`start` for the first set, later in the follower's thread. If it raises, the set is
    offered again at the next reconciliation.
    """

    def __init__(
        self,
        registry: QueryRegistry,
        cache_file: Path,
        on_change: OnChange,
        *,
        reconcile_s: float = 30.0,
        retry_s: float = 1.0,
        moved: Callable[[], object] = lambda: None,
    ) -> None:
        """``moved`` is called in every turn of the thread."""
        self._registry = registry
        self._cache_file = cache_file
        self._on_change = on_change
        self._reconcile_s = reconcile_s
        self._retry_s = retry_s
        self._moved = moved
        self._current: QuerySet | None = None
        self._available: bool | None = None
        self._applied: QuerySet | None = None
        self._offering = False
        self._offered = False
        self._lost = False
        self._place = b"0-0"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="query-follower", daemon=True)

    @property
    def current(self) -> QuerySet:
        """The set in use; empty at revision 0 if none was ever known."""
        return self._current if self._current is not None else QuerySet(0, ())

    @property
    def available(self) -> bool:
        """Whether Redis answered last time."""
        return bool(self._available)

    @property
    def offering(self) -> bool:
        """Whether ``on_change`` has a set in hand now; preparing many queries takes its time."""
        return self._offering

    def start(self) -> QuerySet:
        """Take over the registry's set, or the cached one if Redis is away, then go on in a thread."""
        self._current = read_cache(self._cache_file)
        self._refresh()
        if not self._offered:
            self._offer(self.current, keep=False)
        self._thread.start()
        return self.current

    def stop(self, seconds: float | None = None) -> None:
        """Ends the thread, at most one answer time-out later; waits for it, but no longer than ``seconds``."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._follow()
        except Exception:
            logger.exception("the registry is not followed any more: changes of queries wait for a restart")
        finally:  # whatever ended the thread, nobody asks Redis any more
            self._available = False
            _AVAILABLE.set(0)

    def _follow(self) -> None:
        reconcile_at = time.monotonic() + self._reconcile_s
        while not self._stop.is_set():
            self._moved()
            if not self._available:
                if not self._stop.wait(self._retry_s):
                    self._refresh()
                continue
            try:
                changed = self._registry.wait_for_change(self._place, 1.0)
            except Exception as error:
                self._fail(error)
                continue
            if changed or time.monotonic() >= reconcile_at:
                self._refresh()
                reconcile_at = time.monotonic() + self._reconcile_s

    def _refresh(self) -> None:
        """Read a snapshot and offer it if it is new."""
        try:
            found, self._place = self._registry.snapshot_and_place()
        except Exception as error:
            self._fail(error)
            return
        self._note(True, None)
        lost = found.revision == 0 and self.current.revision > 0
        if lost and not self._lost:
            logger.error(
                "the registry at %s is empty though revision %d was known: it lost its data; the last known queries "
                "stand until the next change",
                self._registry.address,
                self.current.revision,
            )
        self._lost = lost
        if not lost and found != self._applied:
            self._offer(found, keep=True)

    def _offer(self, found: QuerySet, *, keep: bool) -> None:
        self._current = found
        self._offered = True
        if keep:
            try:
                write_cache(self._cache_file, found)
            except OSError as error:
                logger.error("query cache %s cannot be written: %s", self._cache_file, error)
        self._offering = True
        try:
            self._on_change(found)
        except Exception:
            _FAILED.inc()
            logger.exception("query set of revision %d could not be taken over; it is offered again", found.revision)
            return
        finally:
            self._offering = False
        self._applied = found
        _REVISION.set(found.revision)

    def _fail(self, error: Exception) -> None:
        """The registry gave nothing that can be used: the last known set stands, and it is asked again."""
        if not isinstance(error, RegistryError):  # not foreseen: it must not end the thread
            _FAILED.inc()
            logger.error("registry cannot be followed, it is tried again", exc_info=error)
        self._note(False, error)

    def _note(self, available: bool, error: Exception | None) -> None:
        if available != self._available:
            if available:
                logger.info("registry of queries answers at %s", self._registry.address)
            else:
                revision = self._current.revision if self._current is not None else None
                logger.error(
                    "%s; going on with %s", error, f"revision {revision}" if revision is not None else "no queries"
                )
        self._available = available
        _AVAILABLE.set(1 if available else 0)


def write_cache(path: Path, found: QuerySet) -> None:
    """Write the set so that a crash at any point leaves the old file or the new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"revision": found.revision, "queries": [query.model_dump(mode="json") for query in found.queries]}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_cache(path: Path) -> QuerySet | None:
    """The last known set; None if there is none. What cannot be read is skipped and logged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        revision, values = int(content["revision"]), list(content["queries"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.error("query cache %s cannot be read and is ignored: %s", path, error)
        return None
    queries = []
    for value in values:
        try:
            queries.append(parse_query(value))
        except BadQuery as error:
            logger.error("query in cache %s is skipped: %s", path, error)
    return QuerySet(revision, tuple(queries))
