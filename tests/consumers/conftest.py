"""What tests of consumers share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.settings import KafkaSettings
from infra.topics import describe_topics


@pytest.fixture
def kafka(kafka: KafkaSettings, until: Callable[..., None]) -> KafkaSettings:
    """As the run's fixture, once the broker shows the topics: their creation returns a moment before that."""
    until(lambda: all(state.exists for state in describe_topics(kafka)))
    return kafka
