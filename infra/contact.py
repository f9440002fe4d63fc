"""Which partitions a consumer really hears of, by the statistics that its library gives of itself.

A poll that gives nothing says nothing of a camera while the broker that should have answered is away, or stands still.
"""

from __future__ import annotations

import json
import logging
from typing import Any

logger = logging.getLogger(__name__)

EVERY_MS = 500
"""How often the library tells."""

IDLE_US = 1_000_000
"""A broker that is asked for messages answers within a tenth of a second, with none if there is none: after so many
microseconds without a byte of it, it is not heard."""


class Contact:
    """To be given to :func:`infra.consumer.subscribe`. For the thread that polls."""

    def __init__(self) -> None:
        self._heard: dict[str, frozenset[int]] = {}
        self._there: dict[str, frozenset[int]] = {}

    def __call__(self, statistics: str) -> None:
        """Takes in what the library says, from within a poll."""
        try:
            told = json.loads(statistics)
            self._heard, self._there = _heard(told), _there(told)
        except (ValueError, TypeError, KeyError, AttributeError):  # raised into the library, it would end the polling
            logger.exception("statistics of the Kafka client cannot be read")
            self._heard, self._there = {}, {}

    def heard(self, topic: str) -> frozenset[int]:
        """Partitions of the topic that are fetched from a broker which answers."""
        return self._heard.get(topic, frozenset())

    def there(self, topic: str) -> frozenset[int]:
        """Partitions of the topic, fetched or paused, whose broker is connected and leaves nothing unanswered."""
        return self._there.get(topic, frozenset())


def statistics(contact: Contact | None) -> dict[str, Any]:
    """What a client is configured with so that its library tells ``contact``; nothing without one."""
    return {} if contact is None else {"statistics.interval.ms": EVERY_MS, "stats_cb": contact}


def _heard(told: Any) -> dict[str, frozenset[int]]:
    answering = {
        broker["nodeid"]
        for broker in told["brokers"].values()
        if broker["state"] == "UP" and 0 <= broker["rxidle"] <= IDLE_US
    }
    return {
        name: frozenset(
            one["partition"]
            for one in topic["partitions"].values()
            if one["fetch_state"] == "active" and one["broker"] in answering
        )
        for name, topic in told["topics"].items()
    }


def _there(told: Any) -> dict[str, frozenset[int]]:
    # One whose partitions are all paused is asked for nothing, and gives nothing.
    connected = {
        broker["nodeid"]
        for broker in told["brokers"].values()
        if broker["nodeid"] >= 0
        and broker["state"] == "UP"
        and (broker["waitresp_cnt"] == 0 or 0 <= broker["rxidle"] <= IDLE_US)
    }
    return {
        name: frozenset(one["partition"] for one in topic["partitions"].values() if one["broker"] in connected)
        for name, topic in told["topics"].items()
    }
