"""What a killed worker left open is ended by the next one that starts with its folder, under whichever id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumers.grounding.lives import Lives
from consumers.grounding.settings import WorkerSettings
from infra.errors import ProducerFenced
from infra.settings import KafkaSettings
from tests.consumers.grounding.conftest import Line


def lives(folder: Path, name: str, *, given: bool = False, **kafka: object) -> Lives:
    settings = WorkerSettings(cache_dir=folder, worker_id=name, kafka=KafkaSettings.model_validate(kafka))
    if not given:
        settings.model_fields_set.remove("worker_id")
    return Lives(settings)


def told(folder: Path, name: str, **facts: Any) -> list[str]:
    """What a worker is told that starts here and is killed at once."""
    one = lives(folder, name, **facts)
    found = one.begin()
    one.close()
    return found


def test_those_whose_process_is_gone_are_told(tmp_path: Path) -> None:
    """Neither those that run nor those of another plant, nor whom another sees to; until they are forgotten."""
    running = lives(tmp_path, "w1")
    assert running.begin() == []
    assert told(tmp_path, "w2") == []
    assert told(tmp_path, "w2", prefix="other") == []
    seeing = lives(tmp_path, "w3")
    assert seeing.begin() == ["w2"]
    assert told(tmp_path, "w4") == []
    seeing.forget("w2")
    seeing.close()
    running.close()
    assert told(tmp_path, "w5") == ["w1", "w3", "w4"]


def test_who_comes_back_under_its_id_sees_to_itself(tmp_path: Path) -> None:
    """One whose id was given may come back elsewhere, and would be ended by who takes it for gone."""
    assert told(tmp_path, "w1") == told(tmp_path, "w1") == []
    assert told(tmp_path, "w2", given=True) == ["w1"]
    assert told(tmp_path, "w3", given=True) == ["w1"]


def test_the_next_worker_ends_what_a_killed_one_left_open(line: Line) -> None:
    """It waits for no time-out, although its id is another."""
    line.add("red")
    settings = line.settings(worker_id="killed", transaction_timeout_s=300.0)
    settings.model_fields_set.remove("worker_id")
    gone = Lives(settings)
    gone.begin()
    gone.close()
    killed = line.leave_open(settings)
    line.start(worker_id="next")
    line.camera().play("rrrr")
    line.wait_for_alerts("raised")
    with pytest.raises(ProducerFenced):
        killed.commit([], None)


def test_a_folder_that_cannot_be_written_ends_no_worker(line: Line, tmp_path: Path) -> None:
    """What earlier lives left open is the broker's to end, then."""
    line.add("red")
    (tmp_path / "file").write_text("no folder")
    line.start(cache_dir=tmp_path / "file")
    line.camera().play("rrrr")
    line.wait_for_alerts("raised")
