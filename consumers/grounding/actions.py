"""What operators have done, as the alarms of a worker need it: read from the topic, kept by what it is about.

Every worker reads every partition, without a group, from the beginning of what is kept: an acknowledgement may lie in
any partition, and a worker that takes an alarm over must know what was done to it. An alarm remembers which actions
took effect, so reading them again changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from confluent_kafka import Message

from consumers.actions import parse_action
from infra.cloudevents import headers_of
from infra.contracts import CAMERA_BLIND, ActionKind, OperatorAction
from infra.errors import BrokerError, ContractError
from infra.kafka import follow, last_offsets
from infra.metrics import counter, gauge
from infra.settings import KafkaSettings
from infra.topics import topic_name

logger = logging.getLogger(__name__)

MAX_KEPT = 50_000
"""Actions kept in memory; the oldest go first, which are about alerts that were closed long ago."""

RETRY_SECONDS = 2.0
CATCH_UP_SECONDS = 10.0
LOOK_SECONDS = 0.02
WAIT_MS = 500
"""Operators do little: the broker is asked twice a second, and tells of what they do at once."""

_READ = counter("simvg_worker_operator_actions_total", "operators' actions read", ("kind",), begin=ActionKind)
_KEPT = gauge("simvg_worker_operator_actions_kept", "different operators' actions that this worker knows")
_UNREADABLE = counter(
    "simvg_worker_operator_actions_unreadable_total", "messages on operator-actions that are none; they are skipped"
)


class ActionBook:
    """Operators' actions by what they are about. Thread-safe."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._lock = threading.Lock()
        self._by_id: OrderedDict[str, OperatorAction] = OrderedDict()
        self._by_target: dict[str, dict[str, OperatorAction]] = {}

    def add(self, action: OperatorAction) -> None:
        """Keeps an action; one of the same id counts once."""
        with self._lock:
            if action.id in self._by_id:
                return
            self._by_id[action.id] = action
            self._by_target.setdefault(action.target, {})[action.id] = action
            if len(self._by_id) > self._max_kept:
                _, oldest = self._by_id.popitem(last=False)
                same = self._by_target[oldest.target]
                del same[oldest.id]
                if not same:
                    del self._by_target[oldest.target]

    def knows(self, target: str) -> bool:
        """Whether anything is known that operators did to this query, at any camera, or to this alert.

        Asked of every alarm on every frame: without the lock, for it is one look-up.
        """
        return target in self._by_target

    def about(self, query_id: str, camera: str, alert_ids: Iterable[str]) -> tuple[OperatorAction, ...]:
        """Actions on the query at this camera and on any of the alerts, in no order."""
        with self._lock:
            of_query = self._by_target.get(query_id, {}).values()
            found = [a for a in of_query if a.query_id is not None and a.camera in (None, camera)]
            for alert_id in alert_ids:
                found += [a for a in self._by_target.get(alert_id, {}).values() if a.alert_id is not None]
        return tuple(found)

    def forgotten(self) -> dict[str, OperatorAction]:
        """Cameras that were taken out of the plant, each with the last action that says so."""
        with self._lock:
            about = list(self._by_target.get(CAMERA_BLIND, {}).values())
        found = sorted((one for one in about if one.kind is ActionKind.FORGET), key=lambda one: one.at)
        return {one.camera: one for one in found if one.camera is not None}

    def __len__(self) -> int:
        with self._lock:
            return len(self._by_id)


class ActionReader:
    """Fills a book from the topic, in a thread. What is no action is counted, logged and skipped."""

    def __init__(
        self, kafka: KafkaSettings, book: ActionBook, *, client_id: str, moved: Callable[[], object] = lambda: None
    ) -> None:
        """``moved`` is called in every turn of the thread."""
        self._kafka = kafka
        self._book = book
        self._client_id = client_id
        self._topic = topic_name(kafka.prefix, "operator-actions")
        self._moved = moved
        self._told = ""
        self._read: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operator-actions", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def trouble(self) -> str | None:
        """Why operators' actions do not arrive now, in words, or None."""
        return f"operators' actions cannot be read: {self._told}" if self._told else None

    def catch_up(self, stopping: threading.Event, seconds: float = CATCH_UP_SECONDS) -> bool:
        """Waits until all that operators have done by now is in the book, so that alarms taken over from another
        worker hear of it at the frame at which they would have heard of it there.

        False, and a warning, after ``seconds`` or when it cannot be read: monitoring goes on, acknowledging waits.
        """
        try:
            ends = last_offsets(self._kafka, self._topic, client_id=self._client_id)
        except BrokerError as error:
            logger.warning("alarms are taken over without what operators did of late: %s", error)
            return False
        deadline = time.monotonic() + seconds
        while any(self._read.get(number, -1) < end for number, end in ends.items()):
            if stopping.is_set() or time.monotonic() > deadline:
                logger.warning("alarms are taken over, and operators' actions are not all read after %g s", seconds)
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def stop(self, seconds: float | None = None) -> None:
        """Ends the thread: within a moment, or when a broker that is away has been waited for; waits for it, but no
        longer than ``seconds``."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._moved()
                try:
                    self._follow()
                except BrokerError as error:
                    # Acknowledging must wait, monitoring must not.
                    if str(error) != self._told:
                        logger.error("operators' actions cannot be read, it is tried again: %s", error)
                    self._told = str(error)
                    self._stop.wait(RETRY_SECONDS)
        except Exception:
            logger.exception("operators' actions are not read any more: they wait for a restart")

    def _follow(self) -> None:
        with follow(
            self._kafka, [self._topic], client_id=self._client_id, from_beginning=True, wait_ms=WAIT_MS
        ) as consumer:
            while not self._stop.is_set():
                for message in consumer.consume(500, 0.2):
                    self._take(message)
                self._read = consumer.positions()
                self._told = ""
                self._moved()

    def _take(self, message: Message) -> None:
        if message.value() is None:
            return  # a tombstone: compaction has nothing more to say of this alert
        try:
            action = parse_action(message.value(), headers_of(message))
            self._book.add(action)
        except ContractError as error:
            _UNREADABLE.inc()
            logger.warning("message is no operator's action and is skipped: %s", error, extra=_place(message))
            return
        except Exception:  # not foreseen, and read again after every restart: it must not end the reading
            _UNREADABLE.inc()
            logger.exception("message cannot be read as an operator's action and is skipped", extra=_place(message))
            return
        _READ.labels(action.kind).inc()
        _KEPT.set(len(self._book))


def _place(message: Message) -> dict[str, object]:
    return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
