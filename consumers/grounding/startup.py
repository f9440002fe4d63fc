"""Before a worker joins its group: Kafka is there, the topics are, the broker knows the session time-out, and what
earlier workers left open is ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from consumers.grounding.lives import Lives
from consumers.grounding.settings import WorkerSettings
from consumers.grounding.work import WRITTEN
from infra.errors import BrokerError, BrokerUnavailable, TopicMissing
from infra.hanging import GroupOffsets, HangingWatch
from infra.kafka import wait_for_broker
from infra.metrics import gauge
from infra.topics import TopicName, require_topics, set_session_timeout, topic_name
from infra.transactions import TransactionalPublisher

logger = logging.getLogger(__name__)

NEEDED: Sequence[TopicName] = ("frames", *WRITTEN)
IDLE_SECONDS = 0.1
BROKER_SECONDS = 5.0
TOPIC_SECONDS = 5.0

_NAMED = gauge(
    "simvg_worker_named", "1; of two workers with the same labels each ends the other", ("plant", "group", "worker")
)


def wait_for_topics(settings: WorkerSettings, stop: threading.Event) -> bool:
    """Waits for Kafka without limit, and a moment for topics that were only just created. False when stopped.

    Raises TopicMissing: a topic was never created.
    """
    told = False
    missing_since: float | None = None
    while not stop.is_set():
        try:
            wait_for_broker(settings.kafka, BROKER_SECONDS)
            require_topics(settings.kafka, NEEDED)
            _say_session_timeout(settings)
            return True
        except BrokerUnavailable as error:
            if not told:
                logger.warning("waiting for Kafka: %s", error)
            told = True
            stop.wait(IDLE_SECONDS)
        except TopicMissing:
            missing_since = missing_since or time.monotonic()
            if time.monotonic() > missing_since + TOPIC_SECONDS:
                raise
            stop.wait(IDLE_SECONDS)
    return False


def transactional_publisher(settings: WorkerSettings, given_up: threading.Event) -> TransactionalPublisher:
    """What a worker writes with; nothing connects yet."""
    _NAMED.labels(settings.kafka.prefix, settings.group, settings.worker_id).set(1)
    return _publisher(settings, settings.worker_id, given_up)


def end_earlier_lives(settings: WorkerSettings, lives: Lives, stop: threading.Event) -> None:
    """Ends in Kafka what workers of this cache folder left open when they were killed, or Kafka when it was.

    What cannot be ended now is left to the next worker that starts here.
    """
    try:
        names = lives.begin()
    except OSError as error:
        logger.warning("what earlier workers left open in Kafka is not known: %s", error)
        return
    for name in names:
        publisher = _publisher(settings, name, stop)
        try:
            publisher.connect()
            lives.forget(name)
        except BrokerError as error:
            logger.warning("what worker %s left open in Kafka is not ended: %s", name, error)
        finally:
            publisher.discard()


def _publisher(settings: WorkerSettings, name: str, given_up: threading.Event) -> TransactionalPublisher:
    prefix = settings.kafka.prefix
    offsets = GroupOffsets(
        group=settings.group, read=topic_name(prefix, "frames"), spare=topic_name(prefix, "alarm-state")
    )
    return TransactionalPublisher(
        settings.kafka,
        # Of a worker's name there is one at a time, in one group of one plant.
        transactional_id="/".join(("simvg", prefix, settings.group, name)),
        client_id=name,
        given_up=given_up.is_set,
        timeout_s=settings.transaction_timeout_s,
        watch=HangingWatch(
            settings.kafka,
            client_id=name,
            topics=[topic_name(prefix, topic) for topic in WRITTEN],
            offsets=offsets,
        ),
    )


def _say_session_timeout(settings: WorkerSettings) -> None:
    if settings.kafka.group_protocol == "classic":
        return  # the consumer says it itself
    try:
        set_session_timeout(settings.kafka, settings.group, settings.session_timeout_s)
    except BrokerUnavailable:
        raise
    except BrokerError as error:
        logger.warning("session time-out stays as the broker has it: %s", error, extra={"group": settings.group})
