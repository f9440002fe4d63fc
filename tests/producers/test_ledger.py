"""The books of a camera."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from producers.ledger import Ledger


@pytest.mark.parametrize("what", ["captured", "published", "published_bytes"])
def test_counts_begin_at_none(what: str) -> None:
    """A camera that has published nothing is seen as one that publishes nothing, not as one that is not there."""
    camera = f"unseen-{what}"
    Ledger(camera)
    assert REGISTRY.get_sample_value(f"simvg_frames_{what}_total", {"camera": camera}) == 0
