"""Publishing to Kafka and reading from it: thin, typed, with our errors.

Nothing connects when it is constructed: the first send, poll or subscribe does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from infra.consumer import Consumer, committed_offsets, follow, last_offsets, subscribe
from infra.contracts import MessageReference
from infra.errors import BrokerError, BufferFull, MessageTooLarge
from infra.kafka_client import DENIED, client_config, new_client, translate, wait_for_broker
from infra.settings import KafkaSettings
from infra.topics import MAX_MESSAGE_BYTES

logger = logging.getLogger(__name__)

Headers = list[tuple[str, bytes]]
OnDelivery = Callable[[BrokerError | None, MessageReference | None], None]


class Publisher:
    """An idempotent producer: each message is written once and in order per key, or its callback gets the error.

    Thread-safe. Callbacks run in the thread that calls :meth:`poll` or :meth:`flush`.

    ``queue_messages`` and ``queue_bytes`` bound what waits here for the broker; over that, :class:`BufferFull`.
    ``delivery_timeout_s``: a message that the broker has not confirmed by then is reported as failed.
    ``topic_grace_s``: how long a topic may be unknown, because it is just being created, before its messages fail;
    counted from the first message for it, also while no broker answers.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        client_id: str,
        queue_messages: int = 10_000,
        queue_bytes: int = 256_000_000,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        linger_ms: float = 2,
        delivery_timeout_s: float = 120,
        topic_grace_s: float = 30,
        compression: str = "none",
    ) -> None:
        self._kafka = kafka
        self._max_message_bytes = max_message_bytes
        self._config = client_config(kafka, client_id=client_id) | {
            "enable.idempotence": True,
            "queue.buffering.max.messages": queue_messages,
            "queue.buffering.max.kbytes": max(queue_bytes // 1000, 1),
            # Room for key, headers and record framing on top of the value.
            "message.max.bytes": max_message_bytes + 64_000,
            "linger.ms": linger_ms,
            "delivery.timeout.ms": int(delivery_timeout_s * 1000),
            "compression.type": compression,
            "topic.metadata.propagation.max.ms": int(topic_grace_s * 1000),
        }
        self._producer: Producer | None = None
        self._retired: list[Producer] = []
        self._outstanding = 0
        self._lock = threading.Lock()

    def send(
        self,
        topic: str,
        *,
        key: bytes,
        value: bytes,
        headers: Headers | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Queue one message; ``on_delivery(None, where it lies)`` or ``on_delivery(error, None)`` follows.

        Raises:
            MessageTooLarge: the value is over ``max_message_bytes``.
            BufferFull: too much is waiting for the broker already.
            BrokerError: the client refuses, for another reason.
        """
        if len(value) > self._max_message_bytes:
            raise MessageTooLarge(
                f"message of {len(value)} bytes for topic {topic} is over the limit of {self._max_message_bytes}; "
                "lower the JPEG quality or the frame size"
            )

        def delivered(error: KafkaError | None, message: KafkaMessage) -> None:
            with self._lock:
                self._outstanding -= 1
            if error is not None and error.fatal():
                self._retire()
            if on_delivery is None:
                if error is not None:
                    logger.error("message lost: %s", translate(error, self._kafka, topic=topic))
            elif error is not None:
                on_delivery(translate(error, self._kafka, topic=topic), None)
            else:
                on_delivery(None, _reference(message))

        producer = self._connected()
        with self._lock:
            self._outstanding += 1
        try:
            producer.produce(topic, key=key, value=value, headers=list(headers or []), on_delivery=delivered)
        except BaseException as error:
            with self._lock:
                self._outstanding -= 1
            if isinstance(error, BufferError):
                raise BufferFull(
                    f"{len(self)} messages wait for Kafka at {self._kafka.bootstrap} and the local queue is full; "
                    "the broker is away or too slow"
                ) from error
            if isinstance(error, KafkaException):
                if error.args[0].fatal():
                    self._retire()
                raise translate(error, self._kafka, topic=topic) from error
            raise

    def poll(self, seconds: float = 0.0) -> int:
        """Run callbacks that are due, waiting up to ``seconds`` for the first. Returns how many ran.

        Raises AccessDenied when the cluster lets us write nothing at all, which no message's callback would say.
        """
        served = sum(self._served(producer, lambda one: one.poll(0)) for producer in self._retired)
        if self._producer is not None:
            served += self._served(self._producer, lambda one: one.poll(seconds))
        return served

    def flush(self, seconds: float) -> int:
        """Wait until all is delivered or failed, at most ``seconds``. Returns how many are still undelivered.

        Raises AccessDenied as :meth:`poll`.
        """
        for producer in (*self._retired, self._producer):
            if producer is not None:
                self._served(producer, lambda one: one.flush(seconds))
        return len(self)

    def purge(self) -> None:
        """Give up on all that waits; the callback of each message gets an error at the next poll."""
        if self._producer is not None:
            self._producer.purge()

    def close(self, seconds: float = 5.0) -> int:
        """Flush, then fail what is left through its callback. Returns how many messages were not delivered."""
        undelivered = self.flush(seconds)
        if undelivered:
            logger.error("%d messages were not delivered to Kafka at %s", undelivered, self._kafka.bootstrap)
            self.purge()
            self.flush(1.0)
        with self._lock:
            self._producer = None
            self._retired.clear()
        return undelivered

    def __len__(self) -> int:
        """Messages sent whose callback has not run yet."""
        return self._outstanding

    def __bool__(self) -> bool:
        return True  # an empty queue does not make a publisher false

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _served(self, producer: Producer, action: Callable[[Producer], int]) -> int:
        try:
            return action(producer)
        except (KafkaException, SystemError) as error:
            # With a fatal error the library raises while it runs callbacks, which Python may report as SystemError.
            cause = error if isinstance(error, KafkaException) else error.__cause__
            if isinstance(cause, KafkaException) and cause.args[0].code() in DENIED:
                raise translate(cause, self._kafka) from error
            raise

    def _connected(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = new_client(Producer, self._kafka, self._config)
            return self._producer

    def _retire(self) -> None:
        """After a fatal error an idempotent producer refuses all further work: the next send makes a new one."""
        with self._lock:
            if self._producer is not None:
                logger.error("kafka producer failed for good; a new one takes over")
                self._retired.append(self._producer)
                self._producer = None


def _reference(message: KafkaMessage) -> MessageReference:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None, "a confirmed message has a place"
    return MessageReference(topic=topic, partition=partition, offset=offset)


__all__ = [
    "Consumer",
    "Headers",
    "OnDelivery",
    "Publisher",
    "committed_offsets",
    "follow",
    "last_offsets",
    "subscribe",
    "wait_for_broker",
]
