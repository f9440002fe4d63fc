"""What training says in almost the words of a text."""

from __future__ import annotations

from collections import defaultdict

import pytest

from simvg_core.lineworld.vocabulary import CONCEPTS
from simvg_core.lineworld.wordings import further_names, further_statements
from simvg_core.sayings import meaning
from simvg_core.trained import as_trained, trained


def test_what_training_says_keeps_its_meaning() -> None:
    """A name or sentence is itself, and its plural the name of one; no two things are taken for each other."""
    taken = defaultdict(set)
    for concept in CONCEPTS:
        for one, several in concept.names + further_names(concept):
            assert (as_trained(one), as_trained(several)) == (one, one)
            taken[trained(several.replace(" a ", " "))].add(concept.key)
        for sentence in (*concept.statements, *further_statements(concept)):
            assert as_trained(sentence) == sentence
            found = trained(sentence.removeprefix("the ").replace(" is ", " "))
            assert found is None or meaning(found) == meaning(sentence)
    assert max(map(len, taken.values())) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [("wrong cap", "cap of the wrong colour"), ("the cap is wrong", "cap of the wrong colour"),
     ("wrong lids", "cap of the wrong colour"), ("wrong plug", "connector of the wrong colour"), ("wrong label", None)],
)  # fmt: skip
def test_what_is_wrong_of_a_cap_is_its_colour(text: str, said: str | None) -> None:
    """A model that is asked for "wrong cap" itself finds good ones."""
    assert trained(text) == said


@pytest.mark.parametrize(
    "text",
    ["", "bolt without a hole", "bolt is there", "dirty plate", "label is not crooked", "red or blue cap", "no label"],
)
def test_what_means_something_else_is_no_training_text(text: str) -> None:
    """Words that turn a meaning round keep their place, and what is not said is not made up."""
    assert trained(text) is None
    assert as_trained(text) == text
