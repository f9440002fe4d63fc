"""Where the last owners of partitions stopped: what whoever takes them over goes on from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from confluent_kafka import TopicPartition

from consumers.grounding.offsets import Mark
from infra.errors import BrokerUnavailable
from infra.kafka import Consumer
from infra.metrics import counter

logger = logging.getLogger(__name__)

TAKE_OVER_SECONDS = 120.0
ASK_SECONDS = 2.0
"""Longest wait for one answer while partitions are taken over; in between, the worker may be told to stop."""

AGAIN_SECONDS = 0.05

_UNREADABLE = counter(
    "simvg_worker_commits_unreadable_total", "commits of others whose metadata say nothing; frames may be done again"
)


def last_marks(
    consumer: Consumer, partitions: list[TopicPartition], *, stopping: Callable[[], bool]
) -> dict[int, Mark | None]:
    """By partition, what its last owner committed; None: nothing ever was. Waits for transactions to be settled.

    Raises BrokerUnavailable when they are not within two minutes, or ``stopping`` before; BrokerError.
    """
    marks: dict[int, Mark | None] = {}
    for part in _committed(consumer, partitions, stopping):
        if part.offset < 0:
            marks[part.partition] = None
            continue
        try:
            marks[part.partition] = Mark.read(part.offset, part.metadata)
        except ValueError as error:
            _UNREADABLE.inc()
            logger.error("frames may be done again: %s", error, extra={"partition": part.partition})
            marks[part.partition] = Mark(part.offset)
    return marks


def _committed(
    consumer: Consumer, partitions: list[TopicPartition], stopping: Callable[[], bool]
) -> list[TopicPartition]:
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    told = False
    while True:
        try:
            return consumer.committed(partitions, ASK_SECONDS)
        except BrokerUnavailable as error:
            if time.monotonic() > deadline or stopping():
                raise
            if not told:
                logger.warning("committed offsets cannot be read yet: %s", error)
            told = True
            time.sleep(AGAIN_SECONDS)
