"""Everything that leaves a worker: sent until the broker has confirmed it, however long that takes.

The idempotent producer writes each message once and in order per key. What cannot be delivered now is sent again; it
is given up only when the worker is told to stop, and then its frame's offset is not committed, so it is done again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from infra.cloudevents import Headers, event_headers, rejected_headers
from infra.contracts import MessageReference
from infra.errors import BrokerError, BufferFull, MessageTooLarge
from infra.kafka import Publisher
from infra.metrics import counter
from infra.topics import TopicName, topic_name

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5

_RETRIES = counter(
    "simvg_worker_delivery_retries_total", "messages sent again after the broker did not take them", ("topic",)
)
_DELIVERED = counter("simvg_worker_messages_delivered_total", "messages that the broker confirmed", ("topic",))


class Abandoned(Exception):
    """The worker stops before the broker confirmed a message."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message; `id` is its CloudEvents id, equal for equal content on every worker."""

    topic: TopicName
    key: bytes
    value: bytes
    headers: Headers

    @classmethod
    def json(cls, topic: TopicName, *, key: str, value: str, id: str, source: str) -> Outgoing:
        return cls(topic, key.encode(), value.encode(), event_headers(topic, id=id, source=source))

    @classmethod
    def image(cls, topic: TopicName, *, key: str, value: bytes, id: str, source: str, part: str) -> Outgoing:
        """A JPEG; the extension attribute ``part`` says what it shows."""
        headers = event_headers(topic, id=id, source=source, content_type="image/jpeg")
        return cls(topic, key.encode(), value, [*headers, ("ce_part", part.encode())])


OnConfirmed = Callable[[MessageReference], None]


class Outbox:
    """Sends through one publisher. A thread of its own runs the confirmations; :meth:`start` it first."""

    def __init__(self, publisher: Publisher, prefix: str) -> None:
        self._publisher = publisher
        self._prefix = prefix
        self._again: deque[tuple[float, Outgoing, OnConfirmed]] = deque()
        self._abort = threading.Event()
        self._failure: BrokerError | None = None
        self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def failure(self) -> BrokerError | None:
        """What cannot be cured by sending again; the worker must stop."""
        return self._failure

    def abort(self) -> None:
        """Lets everyone who waits for a confirmation go, with Abandoned."""
        self._abort.set()

    def close(self, seconds: float) -> int:
        """Waits for what is on its way, then ends. Returns how many messages were not confirmed."""
        self._abort.set()
        if self._thread.is_alive():
            self._thread.join()
        return self._publisher.close(seconds) + len(self._again)

    def send(self, message: Outgoing, confirmed: OnConfirmed) -> None:
        """Sends without waiting for the broker, only for room in the local queue.

        ``confirmed`` runs in the delivery thread.

        Raises MessageTooLarge; Abandoned when the worker stops before there is room.
        """
        while True:
            try:
                return self._send_now(message, confirmed)
            except MessageTooLarge:
                raise
            except BrokerError as error:
                pause = 0.05 if isinstance(error, BufferFull) else RETRY_SECONDS
                if pause == RETRY_SECONDS:
                    logger.warning("message is sent again: %s", error, extra={"topic": message.topic})
                if self._abort.wait(pause):
                    raise Abandoned(f"message for {message.topic} was not sent: {error}") from error

    def _send_now(self, message: Outgoing, confirmed: OnConfirmed) -> None:
        topic = topic_name(self._prefix, message.topic)

        def delivered(error: BrokerError | None, place: MessageReference | None) -> None:
            if error is None and place is not None:
                _DELIVERED.labels(message.topic).inc()
                confirmed(place)
            elif isinstance(error, MessageTooLarge):
                self._failure = error
            else:
                _RETRIES.labels(message.topic).inc()
                logger.warning("message is sent again: %s", error, extra={"topic": topic})
                self._again.append((time.monotonic() + RETRY_SECONDS, message, confirmed))

        self._publisher.send(
            topic, key=message.key, value=message.value, headers=message.headers, on_delivery=delivered
        )

    def send_and_wait(self, messages: list[Outgoing]) -> list[MessageReference]:
        """Sends and waits until all are confirmed; their places, in order. Raises MessageTooLarge, Abandoned."""
        places: list[MessageReference | None] = [None] * len(messages)
        left = threading.Semaphore(0)

        def keep(number: int) -> OnConfirmed:
            def confirmed(place: MessageReference) -> None:
                places[number] = place
                left.release()

            return confirmed

        for number, message in enumerate(messages):
            self.send(message, keep(number))
        for message in messages:
            while not left.acquire(timeout=0.1):
                if self._abort.is_set() or self._failure is not None:
                    raise Abandoned(f"message for {message.topic} was not confirmed in time")
        return [place for place in places if place is not None]

    def reject(
        self,
        original: MessageReference,
        key: bytes | None,
        value: bytes,
        *,
        reason: str,
        error: BaseException,
        content_type: str | None,
        headers: Headers,
        confirmed: OnConfirmed,
    ) -> None:
        """Keeps a message that is no usable frame, byte for byte, with what is wrong with it."""
        told = rejected_headers(
            original, reason=reason, error=error, source="/workers", content_type=content_type, headers=headers
        )
        try:
            self.send(Outgoing("frames-rejected", key or b"", value, told), confirmed)
        except MessageTooLarge:
            logger.error("rejected message of %d bytes is too large to be kept; its place and reason are", len(value))
            self.send(Outgoing("frames-rejected", key or b"", b"", told), confirmed)

    def _run(self) -> None:
        while not self._abort.is_set():
            started = time.monotonic()
            if self._publisher.poll(0.05) == 0 and time.monotonic() - started < 0.001:
                self._abort.wait(0.01)  # nothing was ever sent: there is no connection to wait on
            while self._again and self._again[0][0] <= time.monotonic():
                _, message, confirmed = self._again.popleft()
                try:
                    self._send_now(message, confirmed)
                except MessageTooLarge as error:
                    self._failure = error
                except BrokerError:
                    self._again.append((time.monotonic() + RETRY_SECONDS, message, confirmed))
