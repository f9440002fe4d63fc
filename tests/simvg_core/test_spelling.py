"""The one form in which the words of a text are read."""

from __future__ import annotations

import pytest

from simvg_core.phrasing import phrase
from simvg_core.spelling import plain, without_article


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        (" ?! ", ""),
        ("Missing  Bolt!", "missing bolt"),
        ("left-most label/cap", "leftmost label cap"),
        ("hole w/o\n2 bolts", "hole without 2 bolts"),
        ("the 2 bolts", "the two bolts"),
        ("label A-7", "label a 7"),
        ("“it isn’t”", "it isnt"),
    ],
)
def test_a_text_has_one_form(text: str, words: str) -> None:
    """Without capitals, marks, further blanks and short forms; reading that form again changes nothing."""
    assert plain(text) == words
    assert plain(words) == words


@pytest.mark.parametrize(
    ("words", "bare"),
    [("all four of the caps", "caps"), ("six sided bolt", "six sided bolt"), ("another cap", "another cap"), ("", "")],
)
def test_articles_and_numbers_ahead_are_left_out(words: str, bare: str) -> None:
    """Whole words alone, and no number that belongs to a name."""
    assert without_article(words) == bare


def test_a_phrase_holds_every_form_of_a_text() -> None:
    """As it was written, plain, without its order, and what there should be."""
    said = phrase("Alarm if the cap ISN'T there!")
    assert (said.text, said.words) == ("Alarm if the cap ISN'T there!", "alarm if the cap isnt there")
    assert (said.stated, said.wanted) == ("the cap is not there", None)
    assert phrase("the cap has to be red").wanted == "the cap is red"
