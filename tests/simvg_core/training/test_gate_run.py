"""What a gate is taught by, and what is held out."""

from pathlib import Path

import numpy as np

from simvg_core.gate_fit import FALSE, TRUE, UNKNOWN
from simvg_core.gate_run import GateRun, in_parts, known, line_queries
from simvg_core.reading import read


def test_a_rendered_set_tells_what_is_true_and_its_held_out_phrasings_teach_nothing(drawn_set: Path) -> None:
    """Questions of its pictures and of the pool are judged in the scene; what a person could not decide is unknown."""
    file = sorted((drawn_set / "images").glob("*.jpg"))[0]
    picture_ = known(file, teaches=False)
    assert picture_.scene and picture_.held_out and set(picture_.usual.values()) == {TRUE, FALSE}
    run = GateRun.__new__(GateRun)
    run.pool, run.count, run.seed, run.composes = line_queries(0), 50, 0, False
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
    run.pool, run.count, run.seed, run.composes = in_parts(line_queries(0)), 50, 0, True
    measured = run._of(picture_, np.random.default_rng(1), teaches=False)
    composed = [text for text in picture_.usual if read(text).composed]
    assert composed
    assert not any(read(text).composed for text in (*measured, *run.pool))
    for text in composed:
        if picture_.usual[text] == TRUE:
            assert {measured[part] for part in read(text).parts} == {TRUE}
    judged = {text: run.pool[text].judge(picture_.scene) for text in measured if text in run.pool}
    assert {True, False} <= set(judged.values())
    assert all(measured[text] == (TRUE if true else FALSE) for text, true in judged.items() if true is not None)
