"""What training says may be so of which thing."""

from __future__ import annotations

import pytest

from simvg_core.lineworld.vocabulary import CONCEPTS, KINDS
from simvg_core.lineworld.wordings import further_names, further_statements
from simvg_core.predicates import NEGATIONS
from simvg_core.taught import states_of, things, untaught


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("loose connector", ("loose", "connector")),
        ("labels are loose", ("loose", "label")),
        ("tight screw", ("tight", "screw")),
        ("label in the wrong place", ("wrong", "label")),
        ("label on the dirty plate", ("dirty", "plate")),
        ("loose", None),
        ("loose m6 bolts", None),
        ("lid of the wrong colour", None),
        ("plate with a loose bolt", None),
        ("damaged plate", None),
        ("red cap", None),
    ],
)
def test_a_state_that_a_thing_never_has(text: str, found: tuple[str, str] | None) -> None:
    """With the thing of which it is said; None where one of the things may be so."""
    assert untaught(text) == found


def test_nothing_that_training_says_is_untaught() -> None:
    """Names and sentences, held-out ones too; not those that deny what they name."""
    for concept in CONCEPTS:
        names = [form for name in concept.names + concept.held_out + further_names(concept) for form in name]
        for text in (*names, *concept.statements, *concept.statements_held_out, *further_statements(concept)):
            assert untaught(text) is None or not NEGATIONS.isdisjoint(text.split()), text


def test_states_that_a_thing_may_have() -> None:
    """One text for each."""
    assert states_of("label") == ("crooked label", "straight label")
    assert states_of("lid") == ("cap of the wrong colour",)
    assert states_of("nut") == ()


def test_all_that_training_shows_is_told() -> None:
    """Who is refused a word learns what there is to ask for."""
    told = things().replace(" and ", ", ").split(", ")
    shown = {kind for concept in CONCEPTS if concept.names[0][1] in told for kind in concept.kinds}
    assert shown == set(KINDS)
