"""What a gate is taught by, and what is held out."""

from pathlib import Path

import numpy as np
import pytest

from simvg_core import gate_run
from simvg_core.derived import is_derived
from simvg_core.gate_fit import FALSE, TRUE, UNKNOWN
from simvg_core.gate_run import GateRun, in_parts, known, line_queries
from simvg_core.lineworld.meaning import Meaning, Verdict, verdict
from simvg_core.lineworld.truth import Seen
from simvg_core.reading import read


def test_a_rendered_set_tells_what_is_true_and_its_held_out_phrasings_teach_nothing(drawn_set: Path) -> None:
    """Questions of its pictures and of the pool are judged in the scene; what a person could not decide is unknown."""
    file = sorted((drawn_set / "images").glob("*.jpg"))[0]
    picture_ = known(file, teaches=False)
    assert picture_.scene and picture_.held_out and set(picture_.usual.values()) == {TRUE, FALSE}
    run = GateRun.__new__(GateRun)
    run.pool, run.count, run.seed, run.composing = line_queries(0), 50, 0, None
    taught = run._of(known(file, teaches=True), np.random.default_rng(1), teaches=True)
    measured = run._of(picture_, np.random.default_rng(1), teaches=False)
    assert len(taught) >= 50 and {TRUE, FALSE} <= set(taught.values()) <= {TRUE, FALSE, UNKNOWN}
    assert not set(picture_.held_out) & set(taught)
    assert measured.items() >= (picture_.usual | picture_.held_out).items()
    for text, truth in taught.items():
        verdict = run.pool[text].judge(picture_.scene) if text in run.pool else None
        assert verdict is None or truth == (TRUE if verdict else FALSE)


def test_a_model_that_composes_is_asked_parts(drawn_set: Path) -> None:
    """Of a text that is true each is there; of one that is false nobody knows, so it teaches nothing. What its own
    questions and the scene say of a part agrees."""
    file = sorted((drawn_set / "images").glob("*.jpg"))[0]
    picture_ = known(file, teaches=False)
    run = GateRun.__new__(GateRun)
    cells = ("label",)
    run.pool, run.count, run.seed, run.composing = in_parts(line_queries(0), cells), 50, 0, cells
    measured = run._of(picture_, np.random.default_rng(1), teaches=False)
    composed = [text for text in picture_.usual if read(text).composed]
    assert composed
    assert not any(read(text).composed or is_derived(text, cells) for text in (*measured, *run.pool))
    assert {"label", "red cap"} <= set(run.pool), "what others are told by"
    for text in composed:
        if picture_.usual[text] == TRUE:
            assert {measured[part] for part in read(text).parts if not is_derived(part, cells)} <= {TRUE}
    judged = {text: run.pool[text].judge(picture_.scene) for text in measured if text in run.pool}
    assert {True, False} <= set(judged.values())
    assert all(measured[text] == (TRUE if true else FALSE) for text, true in judged.items() if true is not None)


def test_texts_of_one_meaning_are_looked_up_once(drawn_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of texts mean one of a few hundred things; each is judged as alone."""
    scene = known(sorted((drawn_set / "images").glob("*.jpg"))[0], teaches=True).scene
    assert scene is not None
    pool = line_queries(0)
    alone = {text: ask.judge(scene) for text, ask in pool.items() if ask is not None}
    looked_up: list[Meaning] = []

    def counted(meaning: Meaning, scene: list[Seen]) -> Verdict:
        looked_up.append(meaning)
        return verdict(meaning, scene)

    monkeypatch.setattr(gate_run, "verdict", counted)
    fits = gate_run._Fits(scene)
    said = {text: ask.judged(fits) for text, ask in pool.items() if ask is not None}
    assert said == alone and set(said.values()) == {True, False, None}
    assert len(looked_up) == len(set(looked_up)) < len(pool) / 10


def test_pictures_named_from_inside_their_own_folder_have_their_truth(
    drawn_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data .` in the folder of the pictures."""
    monkeypatch.chdir(drawn_set / "images")
    assert known(gate_run.pictures_in(Path())[0], teaches=True).scene
