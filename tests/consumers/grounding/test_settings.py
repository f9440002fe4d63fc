"""Settings of a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.grounding.settings import WorkerSettings
from infra.errors import SettingsError
from infra.settings import load


def test_flags_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag beats the environment, which beats the file."""
    file = tmp_path / "worker.yaml"
    file.write_text("freshness: every\nbatch_size: 3\nrate: 5\nkafka: {prefix: plant-a}\n", encoding="utf-8")
    monkeypatch.setenv("SIMVG_BATCH_SIZE", "6")
    monkeypatch.setenv("SIMVG_RATE", "7")
    settings = load(WorkerSettings, flags={"rate": 9.0}, file=file)
    assert (settings.freshness, settings.batch_size, settings.rate) == ("every", 6, 9.0)
    assert settings.kafka.prefix == "plant-a"


def test_results_wait_longer_where_no_frame_may_be_skipped() -> None:
    """Under "every" the broker is spared; what the setting says goes first."""
    assert WorkerSettings(freshness="latest").commits_after_s == 0.2
    assert WorkerSettings(freshness="every").commits_after_s == 1.0
    assert WorkerSettings(freshness="every", commit_interval_s=0.05).commits_after_s == 0.05


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"batchsize": 3}, "unknown setting 'batchsize'; did you mean batch_size"),
        ({"freshness": "newest"}, "freshness.*'newest'"),
        ({"device": "gpu"}, "device.*'gpu'"),
        ({"batch_size": 0}, "batch_size.* = 0"),
        ({"worker_id": "a b"}, "'a b' is no valid id"),
        ({"rate": 0}, "rate 0 frames per second is none: give 0.001 .* to 1000"),
    ],
    ids=["unknown", "freshness", "device", "batch", "id", "rate"],
)
def test_wrong_settings_are_named(flags: dict[str, object], says: str) -> None:
    """A wrong key or value refuses to start and says which."""
    with pytest.raises(SettingsError, match=says):
        load(WorkerSettings, flags=flags)
