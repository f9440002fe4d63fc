"""One of a thing in place of several."""

from __future__ import annotations

import pytest

from simvg_core.lineworld.vocabulary import CONCEPTS
from simvg_core.lineworld.wordings import further_names
from simvg_core.singular import each_as_one, of_one


def test_every_name_is_found_by_its_plural() -> None:
    """With what stands ahead of it, and as it stands where it is of one already."""
    for concept in CONCEPTS:
        for one, several in concept.names + concept.held_out + further_names(concept):
            for ahead in ("", "the ", "all ", "two ", "both the ", "all four "):
                assert of_one(ahead + several) in (one, ahead + one)  # "pliers" are both
            assert of_one(f"the {one}") in (f"the {one}", one)


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("bolts are not tight", "bolt is not tight"),
        ("bolts have come loose", "bolt has come loose"),
        ("scratches on the plates", "scratch on the plates"),
        ("m6 bolts", "m6 bolt"),
        ("label covers", "label cover"),
        *((text, text) for text in ("", "glass", "the largest caps", "plate with two holes", "the loose bolt")),
    ],
)
def test_the_first_thing_is_one(text: str, one: str) -> None:
    """With its verb; not what it has, and not where it is one of several of its like."""
    assert of_one(text) == one


def test_each_thing_is_one() -> None:
    """Wherever it stands."""
    assert each_as_one("holes without bolts in them") == "hole without bolt in it"
