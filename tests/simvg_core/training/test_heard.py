"""What a run has said, and what its model therefore knows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import torch

from simvg_core.processing import SimVGProcessor
from simvg_core.training import heard
from simvg_core.training.processes import Processes
from simvg_core.training.settings import SetSettings, TrainSettings
from simvg_core.training.train import Trainer
from simvg_core.words import LEARNED

T = TypeVar("T")

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


class Two(Processes):
    """This process and one that has heard other words since."""

    def collect(self, value: T) -> list[T]:
        return [value, cast(T, {"bolt": 3, "weld": 1})]


def test_what_each_process_heard_counts_once() -> None:
    """Of what they agreed on before nothing is counted again; alone a process heard what it heard."""
    before, own = {"bolt": 20}, {"bolt": 25, "cap": 2}
    assert heard.heard_by_all(before, own, Two(torch.device("cpu"))) == {"bolt": 28, "cap": 2, "weld": 1}
    assert heard.heard_by_all(before, own, Processes(torch.device("cpu"))) == own


def words_of(folder: Path, *texts: str) -> Path:
    """The set with other texts for `plate` and `metal plate`."""
    document = json.loads((folder / "annotations.json").read_text())
    change = dict(zip(("plate", "metal plate"), texts, strict=True))
    for one in document["expressions"]:
        one["text"] = change.get(one["text"], one["text"])
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def test_a_model_knows_the_words_of_the_expressions_that_it_was_taught(
    toy_settings: dict[str, Any], worded_set: Path, tmp_path: Path
) -> None:
    """Also those that the tokenizer spells: a plant's own words for its things, added to those of the start."""
    first = Trainer(TrainSettings(**toy_settings | {"queries": 16, "max_steps": 3})).run()
    assert SimVGProcessor.from_pretrained(first).unknown_words("weld seam") == ["weld", "seam"]
    before = learned(first)
    folder = words_of(shutil.copytree(worded_set, tmp_path / "mine"), "weld seam", "zyklon")
    mine = {"data": (), "sets": (SetSettings(path=str(folder)),), "batch_size": 8}
    settings = TrainSettings(**toy_settings | mine | {"output": str(tmp_path / "next"), "start_from": str(first)})
    Trainer(replace(settings, max_steps=3)).run()
    model = Trainer(settings, resume=True).run()
    processor = SimVGProcessor.from_pretrained(model)
    assert processor.unknown_words("weld seam zyklon flux") == ["flux"]
    assert processor.text.words.complaint("weld seam") is None
    assert all(learned(model)[word] >= times for word, times in before.items())


@pytest.mark.parametrize("begun", [False, True], ids=["from nothing", "from weights of all words"])
def test_expressions_limit_the_words_of_a_run_that_began_with_nothing(
    begun: bool, toy_settings: dict[str, Any], worded_set: Path, tmp_path: Path
) -> None:
    """A start that does not tell its words knows more than the set says: its model is asked all that has pieces."""
    sets = {"data": (), "sets": (SetSettings(path=str(worded_set)),), "batch_size": 8, "max_steps": 3}
    settings = TrainSettings(**toy_settings | sets)
    model = Trainer(settings).run()
    if begun:
        (model / LEARNED).unlink()
        model = Trainer(replace(settings, start_from=str(model), output=str(tmp_path / "next"))).run()
    assert (model / LEARNED).exists() == (not begun)
    unknown = SimVGProcessor.from_pretrained(model).unknown_words("flux capacitor")
    assert unknown == ([] if begun else ["flux", "capacitor"])
