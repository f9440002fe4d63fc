"""`simvg up` on the command line, with real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli import app
from infra.local_stack import LocalStack
from infra.process import free_port
from infra.settings import StackSettings
from infra.topics import describe_topics

CACHE = Path(__file__).resolve().parents[2] / ".cache"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """A stack of this test's own, known to the commands by the environment."""
    settings = StackSettings(
        state_dir=tmp_path / "state",
        library_cache=CACHE,
        kafka_port=free_port(),
        controller_port=free_port(),
        redis_port=free_port(),
    )
    for name in ("state_dir", "library_cache", "kafka_port", "controller_port", "redis_port"):
        monkeypatch.setenv(f"SIMVG_{name.upper()}", str(getattr(settings, name)))
    found = LocalStack.from_settings(settings)
    yield found
    found.down()


def test_up_creates_the_topics_of_the_plant(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic prefix of the environment, or of the flag over it, names the topics that `simvg up` creates."""
    monkeypatch.setenv("SIMVG_KAFKA__PREFIX", "plant-a")
    monkeypatch.setenv("SIMVG_KAFKA__PARTITIONS", "3")
    first = CliRunner().invoke(app, ["up"])
    second = CliRunner().invoke(app, ["up", "--topic-prefix", "plant-b"])
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "plant-a.frames" in first.output
    for prefix in ("plant-a", "plant-b"):
        states = describe_topics(stack.kafka_settings.model_copy(update={"prefix": prefix}))
        assert all(state.exists and state.partitions == 3 for state in states)
    assert not any(state.exists for state in describe_topics(stack.kafka_settings)), "no topics without the prefix"
