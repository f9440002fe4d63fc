"""Topics on a real broker."""

from __future__ import annotations

import pytest

from infra.errors import BrokerUnavailable, TopicMissing
from infra.process import free_port
from infra.settings import KafkaSettings
from infra.topics import TOPIC_NAMES, TOPICS, create_topics, describe_topics, require_topics, topic_name


@pytest.mark.parametrize(("prefix", "expected"), [("", "frames"), ("plant-a", "plant-a.frames")])
def test_prefix_separates_plants(prefix: str, expected: str) -> None:
    """A topic carries the plant's prefix, or none."""
    assert topic_name(prefix, "frames") == expected


def test_topics_are_created_as_specified(kafka_without_topics: KafkaSettings) -> None:
    """A created topic has the configuration of its specification on the broker."""
    created = create_topics(kafka_without_topics)
    assert [state.name for state in created if state.created] == list(TOPIC_NAMES)
    for state in describe_topics(kafka_without_topics):
        assert state.config is not None
        assert TOPICS[state.name].config.items() <= state.config.items()
        assert state.partitions == 2


def test_creating_again_changes_nothing(kafka: KafkaSettings) -> None:
    """Existing topics are left as they are."""
    states = create_topics(kafka)
    assert all(state.exists and not state.created for state in states)


def test_missing_topic_is_named_with_the_remedy(kafka_without_topics: KafkaSettings) -> None:
    """Requiring a topic that does not exist says which, where, and how to create it."""
    with pytest.raises(TopicMissing, match=rf"{kafka_without_topics.prefix}\.frames.*`simvg topics create`"):
        require_topics(kafka_without_topics, ["frames"])


def test_existing_topics_are_accepted(kafka: KafkaSettings) -> None:
    """Requiring what exists passes."""
    require_topics(kafka, TOPIC_NAMES)
    assert all(state.exists for state in describe_topics(kafka, TOPIC_NAMES))


def test_frames_are_deleted_by_age_and_size() -> None:
    """Frames are kept for minutes and bounded in bytes."""
    config = TOPICS["frames"].config
    assert config["cleanup.policy"] == "delete"
    assert int(config["retention.ms"]) <= 3_600_000
    assert int(config["retention.bytes"]) > 0


def test_broker_away_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker the address and the remedy are said."""
    monkeypatch.setattr("infra.topics._ADMIN_TIMEOUT_S", 0.5)
    settings = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnavailable, match=rf"{settings.bootstrap}.*simvg up"):
        describe_topics(settings)
