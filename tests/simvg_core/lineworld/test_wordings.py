"""Further wordings: names and sentences that only training says."""

from __future__ import annotations

from collections import defaultdict

from simvg_core.lineworld.language import Grammar, parse, rng_of
from simvg_core.lineworld.meaning import Meaning
from simvg_core.lineworld.vocabulary import BY_KEY, CONCEPTS
from simvg_core.lineworld.wordings import NAMES, STATEMENTS, further_names, further_statements
from simvg_core.training.tokenizer import build_tokenizer
from simvg_core.words import clean_text
from tests.simvg_core.lineworld.test_language import SCENE

FURTHER = {form for found in NAMES.values() for name in found for form in name} | {
    sentence for found in STATEMENTS.values() for sentence in found
}


def test_no_wording_has_two_meanings() -> None:
    """Neither among themselves nor with the names of the vocabulary."""
    owners: dict[str, set[str]] = defaultdict(set)
    for one in CONCEPTS:
        names = one.names + one.held_out + further_names(one)
        said = {form for name in names for form in name}
        for text in said | {*one.statements, *one.statements_held_out, *further_statements(one)}:
            owners[text].add(one.key)
    assert {text: keys for text, keys in owners.items() if len(keys) > 1} == {}
    assert len(FURTHER) > 500


def test_what_is_kept_for_the_benchmark_is_in_none() -> None:
    """Words of a held-out phrasing may occur, the phrasing not."""
    unheard = {form for one in CONCEPTS for name in one.held_out for form in name}
    unheard |= {sentence for one in CONCEPTS for sentence in one.statements_held_out}
    assert [(new, text) for new in unheard for text in FURTHER if f" {new} " in f" {text} "] == []


def test_training_says_them_when_it_is_told_to() -> None:
    """In names, sentences, places and relations; without the setting nothing changes."""

    def asked(share: float) -> set[str]:
        grammar = Grammar(further_wordings=share)
        return {query.text for epoch in range(150) for query in grammar.ask(SCENE, rng_of(3, 1, epoch), 14)}

    def new(texts: set[str]) -> set[str]:
        return {one for one in FURTHER for text in texts if f" {one} " in f" {text} "}

    told, untold = asked(0.5), asked(0.0)
    assert len(new(told)) > 200
    assert new(untold) <= {"cover", "hex head", "pliers"}, "parts of names that the vocabulary has"
    assert any("left of the" in text and new({text}) for text in told)
    assert told & set(STATEMENTS["missing_bolt"])


def test_each_is_understood_and_has_pieces() -> None:
    """Where texts are judged by the truth, and by the tokenizer word for word."""
    assert parse("the toothed wheel") == Meaning(BY_KEY["gear"])
    assert parse("a red lid") == Meaning(BY_KEY["cap"], color="red")
    assert parse("no bolt in the hole") == Meaning(BY_KEY["missing_bolt"])
    tokenizer = build_tokenizer()
    assert [text for text in FURTHER if tokenizer.encode(clean_text(text)).tokens != clean_text(text).split()] == []
