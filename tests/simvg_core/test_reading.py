"""Texts in parts: what is looked for, where, beside what, and whether only the utmost one is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from simvg_core.reading import Reading, read
from simvg_core.training.rendered import open_for_scoring

VAL = Path("benchmarks/line/val")
RULES = {"position": "place", "relation": "relation", "superlative": "extreme"}


def related(part: str, how: str, anchor: str) -> Reading:
    return Reading(part, relation=how, anchor=Reading(anchor))


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("red cap left of the gear", related("red cap", "left of", "gear")),
        ("The red cap is to the LEFT of the gear!", related("red cap", "left of", "gear")),
        ("any bolt on the right side of a label", related("bolt", "right of", "label")),
        ("hole underneath the sticker", related("hole", "below", "sticker")),
        ("the washers above the hole without a bolt", related("washers", "above", "hole without a bolt")),
        ("a cap beside the gear", related("cap", "next to", "gear")),
        ("cap on the left side of the plate", related("cap", "left of", "plate")),
        ("caps in the left-hand half", Reading("caps in the left-hand half")),
        ("missing bolt in the upper half", Reading("missing bolt", ("top",), whole="missing bolt at the top")),
        (
            "a bolt is missing at the top left of the picture",
            Reading("bolt is missing", ("top", "left"), whole="bolt is missing in the upper left corner"),
        ),
        ("a label that sits in the centre", Reading("label", ("middle",), whole="label in the middle")),
        ("both caps on the right", Reading("caps", ("right",), whole="caps on the right")),
        ("cap to the right of the picture", Reading("cap", ("right",), whole="cap on the right")),
        ("the biggest red cap", Reading("red cap", extreme="largest", whole="largest red cap")),
        (
            "uppermost hole on the right-hand side",
            Reading("hole", ("right",), extreme="topmost", whole="topmost hole on the right"),
        ),
        ("lowest cap above the label", Reading("cap", (), "above", Reading("label"), "lowest")),
        (
            "cap next to the leftmost bolt",
            Reading("cap", (), "next to", Reading("bolt", extreme="leftmost", whole="leftmost bolt")),
        ),
    ],
)
def test_a_text_is_read_in_parts(text: str, reading: Reading) -> None:
    """Place, relation and extreme in the words of operators; the model's own words for what it is asked as well."""
    assert read(text) == reading


@pytest.mark.parametrize(
    "text",
    [
        "missing bolt",
        "Missing bolt!",
        "hole without a bolt",
        "left",
        "the largest caps",  # several, and nobody says how many
        "no bolt on the left",
        "the label is not on the left",
        "nothing left of the gear",
        "left of the gear",
        "bolt under",
        "cap left of the gear at the top",  # which of the two is at the top?
        "cap left of the gear above the label",
        "the cap at the top on the left",
        "cap in the wrong color",
        "the label sits askew",
        "label tilted to the left",  # wherever it lies
        "bolt right of the centre",
        "scratch on the plate",
        "",
    ],
)
def test_what_is_one_part_or_can_be_meant_in_two_ways_stays_whole(text: str) -> None:
    """It is the model's affair, word by word as it was written."""
    assert read(text) == Reading(text)
    assert (read(text).parts, read(text).wholes) == ((text,), ())


def test_what_is_asked_is_the_part_the_whole_and_what_the_anchor_needs() -> None:
    """In the order in which answers are put together."""
    for text, parts, wholes in (
        ("red cap left of the gear", ("red cap", "gear"), ()),
        ("largest hole", ("hole",), ("largest hole",)),
        ("cap next to the leftmost bolt", ("cap", "bolt"), ("leftmost bolt",)),
    ):
        assert (read(text).parts, read(text).wholes) == (parts, wholes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("the red cap to the left of the gear", "“red cap”, left of “gear”"),
        ("uppermost bolt in the lower right corner", "the topmost “bolt”, in the lower right corner"),
        ("cap beside the leftmost bolt", "“cap”, next to the leftmost “bolt”"),
        ("both caps in the middle", "“caps”, in the middle"),
    ],
)
def test_how_a_text_was_read_can_be_told(text: str, told: str) -> None:
    """In words of the model and the geometry, not in those of whoever wrote it."""
    assert read(text).told == told


def test_the_benchmarks_texts_are_read_as_they_were_made() -> None:
    """Each question about a place, a relation or an extreme in parts; of the others none but those that are false."""
    seen = dict.fromkeys(RULES, 0)
    for sample in open_for_scoring(VAL).samples():
        reading = read(sample.text)
        if sample.kind in RULES:
            assert getattr(reading, RULES[sample.kind]), sample.text
            seen[sample.kind] += 1
        elif sample.kind != "none":
            assert not reading.composed, sample.text
    assert min(seen.values()) > 100


def test_the_page_for_operators_is_true() -> None:
    """Each example of docs/queries.md that says where, beside what or which is read so, and the things are whole."""
    expected = {
        "a thing": None, "a place": "place", "a relation": "relation", "the nearest": "relation",
        "one of several": "extreme",
    }  # fmt: skip
    rows = [line.split(" | ") for line in Path("docs/queries.md").read_text(encoding="utf-8").splitlines()]
    table = {row[0].removeprefix("| "): row[1].split("`")[1::2] for row in rows if len(row) == 3}
    assert set(expected) <= set(table)
    for says, rule in expected.items():
        assert len(table[says]) > 2
        for text in table[says]:
            assert read(text).composed == (rule is not None), text
            assert rule is None or getattr(read(text), rule), text
