"""What a gate is taught by, and what is held out."""

from pathlib import Path

import numpy as np

from simvg_core.gate_fit import FALSE, TRUE, UNKNOWN
from simvg_core.gate_run import GateRun, known, line_queries


def test_a_rendered_set_tells_what_is_true_and_its_held_out_phrasings_teach_nothing(drawn_set: Path) -> None:
    """Questions of its pictures and of the pool are judged in the scene; what a person could not decide is unknown."""
    file = sorted((drawn_set / "images").glob("*.jpg"))[0]
    picture_ = known(file, teaches=False)
    assert picture_.scene and picture_.held_out and set(picture_.usual.values()) == {TRUE, FALSE}
    run = GateRun.__new__(GateRun)
    run.pool, run.count, run.seed = line_queries(0), 50, 0
    taught = run._of(known(file, teaches=True), np.random.default_rng(1), teaches=True)
    measured = run._of(picture_, np.random.default_rng(1), teaches=False)
    assert len(taught) >= 50 and {TRUE, FALSE} <= set(taught.values()) <= {TRUE, FALSE, UNKNOWN}
    assert not set(picture_.held_out) & set(taught)
    assert measured.items() >= (picture_.usual | picture_.held_out).items()
    for text, truth in taught.items():
        verdict = run.pool[text].judge(picture_.scene) if text in run.pool else None
        assert verdict is None or truth == (TRUE if verdict else FALSE)
