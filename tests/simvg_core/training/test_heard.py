"""What a run has said, and what its model therefore knows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simvg_core.processing import SimVGProcessor
from simvg_core.training import heard
from simvg_core.training.settings import SetSettings, TrainSettings
from simvg_core.training.train import Trainer
from simvg_core.words import LEARNED

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")


def learned(model: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((model / LEARNED).read_text())
    return found


@pytest.fixture(autouse=True)
def twice_is_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy run is short."""
    monkeypatch.setattr(heard, "MIN_TIMES", 2)


def test_a_model_knows_the_words_that_its_training_said(toy_settings: dict[str, Any]) -> None:
    """Through a stop and a resumption, and for a run that starts from its weights."""
    settings = TrainSettings(**toy_settings | {"queries": 16, "further_wordings": 0.1})
    Trainer(replace(settings, max_steps=3)).run()
    model = Trainer(settings, resume=True).run()
    words = learned(model)
    assert words["plate"] > 2 and min(words.values()) >= 2
    processor = SimVGProcessor.from_pretrained(model)
    assert processor.unknown_words("base plate beside the flux capacitor m6") == ["beside", "flux", "capacitor"]
    complaint = processor.text.words.complaint("a plaate with flux")
    assert complaint is not None and complaint.endswith("'flux'; use other words")
    assert "'plaate' (did you mean 'plate'?)" in complaint
    output = str(Path(settings.output).parent / "next")
    again = Trainer(replace(settings, start_from=str(model), output=output, max_steps=1)).run()
    assert all(learned(again)[word] >= times for word, times in words.items())


def test_expressions_of_other_sets_are_not_counted(toy_settings: dict[str, Any], worded_set: Path) -> None:
    """Such a model is asked whatever has pieces."""
    more = {"data": (), "sets": (SetSettings(path=str(worded_set)),), "max_steps": 1}
    model = Trainer(TrainSettings(**toy_settings | more)).run()
    assert not (model / LEARNED).exists()
    assert SimVGProcessor.from_pretrained(model).unknown_words("flux capacitor") == []
