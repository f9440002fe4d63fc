"""Texts of a data set that a worker would not ask."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from simvg_core.asked_words import AskedWords
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import InputError
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.training import calibrate as calibrating
from simvg_core.training.calibrate import calibrate
from simvg_core.training.evaluate import scores_of
from simvg_core.training.refused import MISREAD, UNKNOWN_WORDS, asked, divided, misread, sort_of
from simvg_core.training.sets.open import open_set
from simvg_core.training.settings import SetSettings, TrainSettings
from simvg_core.training.tokenizer import build_tokenizer
from simvg_core.training.train import Trainer
from simvg_core.words import FastPieces, WordPacker
from tests.simvg_core.training.test_evaluate import said

LEARNED = dict.fromkeys(("plate", "things", "red", "cap", "label", "missing", "no"), 100)


@pytest.fixture
def pieces() -> FastPieces:
    """Of a model that learned a few words."""
    return FastPieces(build_tokenizer(), LEARNED)


def spoken(worded_set: Path, folder: Path, texts: dict[str, str]) -> Path:
    """The set with other texts."""
    shutil.copytree(worded_set, folder)
    document = json.loads((folder / "annotations.json").read_text())
    for one in document["expressions"]:
        one["text"] = texts.get(one["text"], one["text"])
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def test_texts_are_sorted_by_why_they_are_refused(pieces: FastPieces) -> None:
    """Known words that the model would misread are no unknown words; only what is asked in parts is refused so."""
    words = AskedWords(WordPacker(pieces, 24, "error"), composed=())
    texts = ["red cap", "no label", "flux capacitor"]
    assert [sort_of(words, text) for text in texts] == [None, MISREAD, UNKNOWN_WORDS]
    whole = AskedWords(WordPacker(pieces, 24, "error"), composed=None)
    assert [sort_of(whole, text) for text in texts] == [None, None, UNKNOWN_WORDS]
    table = scores_of([said(text, 0.9, []) for text in texts], 0.5, lambda text: sort_of(words, text))["by_known"]
    assert {name: row["questions"] for name, row in table.items()} == {
        "all words known": 1, "plain, all words known": 1, UNKNOWN_WORDS: 1, MISREAD: 1,
    }  # fmt: skip


def test_nothing_is_refused_of_nothing(pieces: FastPieces) -> None:
    """Neither of samples nor of texts."""
    assert asked(AskedWords(WordPacker(pieces, 24, "error"), composed=()), [])[0] == []
    assert misread([]).count == 0 == misread(["red cap"]).count


@pytest.mark.parametrize("composed", [True, False])
def test_a_training_warns_of_what_workers_will_refuse(
    composed: bool, toy_settings: dict[str, Any], worded_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the number, an example and the way out, which ends the warning."""
    folder = spoken(worded_set, tmp_path / "mine", {"red cap": "no label"})
    model = toy_settings["model"] | {"composed_answers": composed}
    settings = toy_settings | {"data": (), "sets": (SetSettings(path=str(folder)),), "model": model}
    trainer = Trainer(TrainSettings(**settings))
    told = [text for text in caplog.messages if "workers will refuse" in text]
    assert len(told) == composed
    if composed:
        assert told[0].startswith("workers will refuse 8 of the 32 training expressions")
        assert "first: 'no label': " in told[0] and told[0].endswith("model: {composed_answers: false}.")
        assert trainer.source.refused["count"] == 8


def test_texts_that_are_asked_otherwise_are_told_from_those_that_are_not() -> None:
    """A place, a relation, other words; not a text that is asked as it stands, nor one that is refused."""
    assert divided([]).count == 0 == divided(["red cap", "Largest cap", "no label"]).count
    found = divided(["red cap", "red cap left of the gear", "red cap left of the gear", "the cap is red"])
    assert (found.count, found.total) == (3, 4)
    assert (found.text, found.asked) == ("red cap left of the gear", ("red cap", "gear"))
    assert divided(["cap of the wrong colour"]).asked[:2] == ("red cap", "orange cap")


@pytest.mark.parametrize("composed", [True, False])
def test_a_training_warns_of_what_workers_will_ask_in_parts(
    composed: bool, toy_settings: dict[str, Any], worded_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What an operator's verdicts on such a query teach would be lost without a word."""
    folder = spoken(worded_set, tmp_path / "mine", {"red cap": "red cap left of the plate"})
    model = toy_settings["model"] | {"composed_answers": composed}
    settings = toy_settings | {"data": (), "sets": (SetSettings(path=str(folder)),), "model": model}
    trainer = Trainer(TrainSettings(**settings))
    told = [text for text in caplog.messages if "in other words or in parts" in text]
    assert len(told) == composed
    if composed:
        assert told[0].startswith("workers will ask 8 of the 32 training expressions")
        assert "(first: 'red cap left of the plate' as 'red cap', 'plate')" in told[0]
        assert told[0].endswith("model: {composed_answers: false}.")
        assert trainer.source.divided["count"] == 8


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, None),
        ({"red cap": "no label"}, r"got 16 with and 0 without \(16 of 32 left out: .*\(first: 'metal plate': "),
        (
            dict.fromkeys(("plate", "metal plate", "things", "red cap"), "flux"),
            r"got 0 with and 0 without \(32 of 32 left out: unknown words or refused \(first: 'flux': the model",
        ),
    ],
    ids=["some", "none without a target", "none at all"],
)
def test_calibration_tells_what_it_left_out(
    texts: dict[str, str],
    message: str | None,
    worded_set: Path,
    tmp_path: Path,
    pieces: FastPieces,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the first reason; where too little is left, that is the error."""
    monkeypatch.setattr(calibrating, "_maximum_likelihood", lambda *given: (1.0, 0.0))  # random weights know nothing
    config = SimVGConfig.tiny(
        attention="standing", vocab_size=1024, tokenizer="fast", num_queries=2, composed_answers=True
    )
    samples = open_set(spoken(worded_set, tmp_path / "mine", texts)).samples()
    model, processor = SimVGForGrounding(config), SimVGProcessor(config, pieces)
    if message is not None:
        with pytest.raises(InputError, match=message):
            calibrate(model, processor, samples, "grec")
        return
    found = calibrate(model, processor, samples, "grec")
    assert (found.questions, found.refused.count, found.refused.text) == (24, 8, "metal plate")
    assert "8 of 32 left out: unknown words or refused (first: 'metal plate': the model" in str(found.refused)
