"""Whether a process lives and whether it is ready, as orchestrators ask: each check with a reason in words.

*Live*: its threads move; if not, only a restart helps. *Ready*: it does its work now. A broker or a camera that is away
makes a process unready, never dead: a restart would not bring it back.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.errors import BrokerError
from infra.kafka_client import Refusal, client_config, new_client, translate
from infra.redaction import redact
from infra.settings import KafkaSettings

Checks = Mapping[str, str | None]
"""What was looked at → what is wrong with it, in words without credentials, or None."""

ENDED = "has ended though its work has not; only a restart helps"
"""Said of a thread that runs no more."""

_ASK_SECONDS = 2.0


class Pulses:
    """When each of a process's threads last moved, and whether it still runs. Thread-safe.

    ``limits``: seconds without a move after which a thread counts as stuck. A thread that never moved yet is not
    judged: what it waits for at the start is a matter of readiness.
    """

    def __init__(self, limits: Mapping[str, float], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = dict(limits)
        self._clock = clock
        self._moved: dict[str, tuple[float, threading.Thread]] = {}

    def beat(self, thread: str) -> None:
        """The calling thread, known by this name, moves. Cheap enough for every turn of a loop."""
        assert thread in self._limits, f"no limit is set for {thread!r}"
        self._moved[thread] = self._clock(), threading.current_thread()

    def of(self, thread: str) -> Callable[[], None]:
        """What the thread, known by this name, is to call in every turn."""
        return lambda: self.beat(thread)

    def moved(self, thread: str) -> bool:
        """Whether the thread has moved at all."""
        return thread in self._moved

    def checks(self, excused: Mapping[str, bool] | None = None, over: Collection[str] = ()) -> dict[str, str | None]:
        """Each thread, and whether it has ended or for how long it is stuck. ``excused``: those that wait for something
        outside, rightly; ``over``: those that may have ended."""
        return {
            thread: self._fault(thread, (excused or {}).get(thread, False), thread in over) for thread in self._limits
        }

    def _fault(self, thread: str, excused: bool, over: bool) -> str | None:
        moved = self._moved.get(thread)
        if moved is None:
            return None
        at, runs = moved
        if not runs.is_alive():
            return None if over else ENDED
        silent, limit = self._clock() - at, self._limits[thread]
        stuck = silent > limit and not excused
        return f"has not moved for {silent:.0f} s; the limit is {limit:.0f} s" if stuck else None


class BrokerProbe:
    """Whether a broker answers now, asked at most every ``every_s`` seconds however often it is looked at."""

    def __init__(
        self, kafka: KafkaSettings, *, every_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kafka = kafka
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._admin: AdminClient | None = None
        self._refusal = Refusal()
        self._asked: float | None = None
        self._fault: str | None = None

    def fault(self) -> str | None:
        """What is wrong, in words, or None. Takes up to two seconds when no broker answers."""
        with self._lock:
            if self._asked is None or self._clock() - self._asked >= self._every_s:
                self._fault = self._ask()
                self._asked = self._clock()
            return self._fault

    def _ask(self) -> str | None:
        try:
            if self._admin is None:
                # What it reports is the answer; the process's other clients log the same.
                config = client_config(self._kafka, client_id="simvg-health") | {"error_cb": self._refusal}
                self._admin = new_client(AdminClient, self._kafka, config)
            self._admin.list_topics(timeout=_ASK_SECONDS)
        except KafkaException as error:
            assert self._admin is not None, "who is asked was made"
            self._admin.poll(0)  # hands over what there is to be told
            return str(translate(self._refusal.error or error, self._kafka))
        except BrokerError as error:
            return str(error)
        self._admin.poll(0)
        self._refusal.error = None
        return None


def answer(checks: Checks) -> tuple[bool, bytes]:
    """Whether all is well, and the checks as the JSON that an orchestrator's user reads."""
    well = all(fault is None for fault in checks.values())
    shown = {name: "ok" if fault is None else redact(fault) for name, fault in checks.items()}
    return well, json.dumps({"ok": well, "checks": shown}, indent=2).encode() + b"\n"
