"""Words that change nothing about what a text asks for."""

import random
from itertools import pairwise

import pytest

from simvg_core.lineworld.designations import WORDS, designation, with_designation
from simvg_core.lineworld.language import PLACE_WORDS, RELATION_WORDS
from simvg_core.training.tokenizer import grammar_words


def test_no_designation_is_a_word_that_means_something_on_the_line() -> None:
    """Nor one of a phrasing that is kept out of training."""
    meaning = {*grammar_words(), *" ".join(word for words in PLACE_WORDS.values() for word in words).split()}
    meaning |= set(" ".join(word for words in RELATION_WORDS.values() for word in words).split())
    assert not meaning & set(WORDS) and len(set(WORDS)) == len(WORDS) > 60
    rng = random.Random(3)
    said = {word for _ in range(20_000) for word in designation(rng).split("-")} - set(WORDS)
    assert len(said) > 2000 and not {word for word in said if len(word) > 1} & meaning


@pytest.mark.parametrize(
    "text", ["bolt", "missing bolt", "the label is crooked", "two red caps", "a bolt left of the gear"]
)
def test_one_word_is_added_and_the_others_stay(text: str) -> None:
    """In order, behind an article or a number; "a" and "an" follow the sound."""
    rng = random.Random(1)
    before = ["a" if word == "an" else word for word in text.split()]
    for _ in range(300):
        words = with_designation(text, rng).split()
        for article, word in pairwise(words):
            assert article not in ("a", "an") or (article == "an") == (word[0] in "aeiou")
        plain = ["a" if word == "an" else word for word in words]
        places = [place for place in range(len(plain)) if plain[:place] + plain[place + 1 :] == before]
        assert places and (before[0] not in ("a", "the", "two") or places[-1] > 0)
