"""Which partitions a consumer hears of."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

from infra.contact import Contact
from infra.kafka import Publisher, subscribe
from infra.settings import KafkaSettings
from infra.topics import topic_name


def statistics(state: str = "UP", rxidle: int = 90_000, fetch_state: str = "active", waitresp_cnt: int = 1) -> str:
    """As librdkafka tells it, in short: partition 0 lies with broker 1, partition 1 with another that is well."""
    own = {"partition": 0, "broker": 1, "fetch_state": fetch_state}
    other = {"partition": 1, "broker": 2, "fetch_state": "active"}
    none = {"partition": -1, "broker": -1, "fetch_state": "none"}
    brokers = {
        "a:1/bootstrap": {"nodeid": -1, "state": "UP", "rxidle": 100, "waitresp_cnt": 0},
        "a:1/1": {"nodeid": 1, "state": state, "rxidle": rxidle, "waitresp_cnt": waitresp_cnt},
        "b:1/2": {"nodeid": 2, "state": "UP", "rxidle": 100, "waitresp_cnt": 1},
    }
    return json.dumps({"brokers": brokers, "topics": {"frames": {"partitions": {"0": own, "1": other, "-1": none}}}})


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        (statistics(), {0, 1}),
        (statistics(state="DOWN"), {1}),
        (statistics(rxidle=1_500_000), {1}),
        (statistics(rxidle=-1), {1}),
        (statistics(fetch_state="offset-wait"), {1}),
    ],
    ids=["well", "broker away", "broker stands still", "nothing came yet", "not fetched"],
)
def test_partition_is_heard_while_its_broker_answers(told: str, heard: set[int]) -> None:
    """By the broker that it is fetched from; of another topic, and before anything was told, nothing is heard."""
    contact = Contact()
    assert contact.heard("frames") == frozenset()
    contact(told)
    assert (contact.heard("frames"), contact.heard("alerts")) == (heard, frozenset())


@pytest.mark.parametrize(
    ("told", "there"),
    [
        (statistics(), True),
        (statistics(rxidle=9_000_000, waitresp_cnt=0), True),
        (statistics(rxidle=9_000_000), False),
        (statistics(state="DOWN", waitresp_cnt=0), False),
    ],
    ids=["well", "not asked", "stands still", "away"],
)
def test_broker_that_is_asked_for_nothing_is_there(told: str, there: bool) -> None:
    """As while all its partitions are paused; it is not there when an answer is overdue."""
    contact = Contact()
    assert contact.there("frames") == frozenset()
    contact(told)
    assert (0 in contact.there("frames"), 1 in contact.there("frames")) == (there, True)
    assert contact.there("alerts") == frozenset()


@pytest.mark.parametrize("told", ["", "[]", "{}", '{"brokers": {"a": {}}, "topics": {}}'])
def test_statistics_that_cannot_be_read_are_told(told: str, caplog: pytest.LogCaptureFixture) -> None:
    """They are the library's: nothing is heard then, and polling goes on."""
    contact = Contact()
    contact(statistics())
    with caplog.at_level(logging.ERROR):
        contact(told)
    assert contact.heard("frames") == contact.there("frames") == frozenset()
    assert "statistics of the Kafka client cannot be read" in caplog.text


def test_idle_partitions_of_a_real_broker_are_heard(kafka: KafkaSettings, until: Callable[..., None]) -> None:
    """Though there is nothing on most of them."""
    topic, contact = topic_name(kafka.prefix, "frames"), Contact()
    with Publisher(kafka, client_id="test") as publisher:
        publisher.send(topic, key=b"line-1", value=b"x")
        assert publisher.flush(10) == 0
    with subscribe(kafka, "test", [topic], client_id="test", from_beginning=True, contact=contact) as consumer:

        def hears_all() -> bool:
            consumer.poll(0.05)
            return {part.partition for part in consumer.assignment()} == contact.heard(topic) != frozenset()

        until(hears_all)
        every = contact.heard(topic)
        consumer.pause(consumer.assignment())

        def hears_none() -> bool:
            consumer.poll(0.05)
            assert contact.there(topic) == every
            return not contact.heard(topic)

        until(hears_none)  # its broker is there, and is asked for nothing
