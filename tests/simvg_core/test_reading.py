"""Texts in parts: what is looked for, where, beside what, and whether only the utmost one is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from simvg_core.counted import at_most
from simvg_core.reading import Reading, read
from simvg_core.sayings import meaning
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
        ("the washers above the hole without a bolt", related("washer", "above", "hole without a bolt")),
        ("cap at the left of the gear", related("cap", "left of", "gear")),
        ("cap to left of gear", related("cap", "left of", "gear")),
        ("a cap beside the gear", related("cap", "next to", "gear")),
        ("cap on the left side of the gear", related("cap", "left of", "gear")),
        ("cap on the left side of the plate", Reading("cap", ("left",), "on", Reading("plate"))),
        (
            "missing bolt in the upper half of the base plate",
            Reading("missing bolt", ("top",), "on", Reading("base plate")),
        ),
        ("the bolt on the right of the plate is loose", Reading("bolt is loose", ("right",), "on", Reading("plate"))),
        (
            "missing bolt top right of the plate",
            Reading("missing bolt", ("top", "right"), "on", Reading("plate")),
        ),
        ("caps in the left-hand half", Reading("cap", ("left",), whole="caps on the left")),
        (
            "missing bolt top left",
            Reading("missing bolt", ("top", "left"), whole="missing bolt in the upper left corner"),
        ),
        ("cap in the lower left hand corner", Reading("cap", ("bottom", "left"), whole="cap in the lower left corner")),
        ("label left side", Reading("label", ("left",), whole="label on the left")),
        ("red cap left", Reading("red cap", ("left",), whole="red cap on the left")),
        ("bolt missing (right)", Reading("bolt missing", ("right",), whole="bolt missing on the right")),
        ("is the cap on the left red?", Reading("red cap", ("left",), whole="red cap on the left")),
        ("cap on the left that is red", Reading("red cap", ("left",), whole="red cap on the left")),
        ("is there a cap on the left?", Reading("cap", ("left",), whole="cap on the left")),
        ("stop the line when there is a cap on the left", Reading("cap", ("left",), whole="cap on the left")),
        ("check for scratches on the left", Reading("scratch", ("left",), whole="scratches on the left")),
        ("cap to the left", Reading("cap", ("left",), whole="cap on the left")),
        ("cap on the far left", Reading("cap", ("left",), whole="cap on the left")),
        ("top left corner label", Reading("label", ("top", "left"), whole="label in the upper left corner")),
        ("cap left to the gear", related("cap", "left of", "gear")),
        ("left-most cap", Reading("cap", extreme="leftmost", whole="leftmost cap")),
        ("lowest of the caps", Reading("cap", extreme="lowest", whole="lowest cap")),
        ("alarm if there is a cap on the left", Reading("cap", ("left",), whole="cap on the left")),
        (
            "label at the top that is crooked",
            Reading("label is crooked", ("top",), whole="label is crooked at the top"),
        ),
        ("missing bolt in the upper half", Reading("missing bolt", ("top",), whole="missing bolt at the top")),
        (
            "a bolt is missing at the top left of the picture",
            Reading("bolt is missing", ("top", "left"), whole="bolt is missing in the upper left corner"),
        ),
        ("a label that sits in the centre", Reading("label", ("middle",), whole="label in the middle")),
        ("both caps on the right", Reading("cap", ("right",), whole="caps on the right")),
        ("cap to the right of the picture", Reading("cap", ("right",), whole="cap on the right")),
        ("the biggest red cap", Reading("red cap", extreme="largest", whole="largest red cap")),
        (
            "uppermost hole on the right-hand side",
            Reading("hole", ("right",), extreme="topmost", whole="topmost hole on the right"),
        ),
        ("2 caps on the right", Reading("cap", ("right",), whole="caps on the right")),
        ("six sided bolt on the left", Reading("six sided bolt", ("left",), whole="six sided bolt on the left")),
        ("left cap", Reading("cap", ("left",), whole="cap on the left")),
        ("the upper right cap", Reading("cap", ("top", "right"), whole="cap in the upper right corner")),
        ("label at bottom", Reading("label", ("bottom",), whole="label at the bottom")),
        ("the left label is crooked", Reading("label is crooked", ("left",), whole="label is crooked on the left")),
        ("the cap on the right is red", Reading("red cap", ("right",), whole="red cap on the right")),
        ("largest left cap", Reading("cap", ("left",), extreme="largest", whole="largest cap on the left")),
        (
            "bolt next to the upper label",
            Reading("bolt", (), "next to", Reading("label", ("top",), whole="label at the top")),
        ),
        ("nearest cap to the gear", related("cap", "next to", "gear")),
        ("the closest bolt to the label", related("bolt", "next to", "label")),
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
        "the left cap above the label",
        "no cap left of the gear",
        "label tilted left",
        "tool left",  # behind
        "bolt on the label's left",
        "cap that is not red on the left",
        "the largest caps are red",
        "scratch on top of the plate",
        "right at the top",
        "check that the label is straight",
        "do not alarm if the cap is red",
        "right colour cap",
        "warning label",
        "mark",
        "",
    ],
)
def test_what_is_one_part_or_can_be_meant_in_two_ways_stays_whole(text: str) -> None:
    """It is the model's affair, word by word as it was written."""
    assert read(text) == Reading(text)
    assert (read(text).parts, read(text).wholes) == ((text,), ())


@pytest.mark.parametrize(
    ("text", "part", "anchor"),
    [
        ("the bolt left of the label is missing", "bolt is missing", "label"),
        ("the bolt that is left of the label is missing", "bolt is missing", "label"),
        ("bolt left of the gear missing", "bolt missing", "gear"),
        ("bolt left of the gear not tight", "bolt is not tight", "gear"),
        ("bolt left of the gear isn't tight", "bolt is not tight", "gear"),
        ("is the bolt left of the label missing?", "bolt missing", "label"),
        ("hole left of the label without a bolt", "hole without a bolt", "label"),
        ("the cap left of the label is red", "red cap", "label"),
        ("the connector left of the label has the wrong colour", "connector has the wrong colour", "label"),
        ("cap left of the label of the wrong colour", "cap of the wrong colour", "label"),
        ("cap left of the label that is crooked", "cap", "label that is crooked"),
        ("cap left of the bolt not tightened", "cap", "bolt not tightened"),
        ("cap left of the blue", "cap", "blue"),
    ],
)
def test_what_is_said_behind_a_relation_is_said_of_the_thing(text: str, part: str, anchor: str) -> None:
    """Not of what it is related to, unless training calls that so."""
    assert read(text) == related(part, "left of", anchor)


@pytest.mark.parametrize(
    ("text", "part", "anchor"),
    [
        ("the leftmost bolt is loose", "bolt is loose", Reading("bolt", extreme="leftmost", whole="leftmost bolt")),
        ("largest cap red", "red cap", Reading("cap", extreme="largest", whole="largest cap")),
        (
            "the lowest bolt on the left is not tight",
            "bolt is not tight",
            Reading("bolt", ("left",), extreme="lowest", whole="lowest bolt on the left"),
        ),
    ],
)
def test_what_is_said_of_the_utmost_is_said_of_the_utmost_of_all(text: str, part: str, anchor: Reading) -> None:
    """Not of the utmost of those that are so: "leftmost loose bolt" says that."""
    assert read(text) == Reading(part, relation="being", anchor=anchor)
    assert read("leftmost bolt not tightened").extreme == "leftmost"
    assert read("leftmost cap that is red") == Reading("red cap", extreme="leftmost", whole="leftmost red cap")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("the leftmost bolt is missing", "write “leftmost missing bolt”"),
        ("lowest bolt missing", "write “lowest missing bolt”"),
        ("the lowest cap above the label is red", "write “lowest red cap above the label”"),
        ("bolt near the corner", "“the corner” is a place and no thing"),
        ("bolt near the left side of the plate", "or name a thing beside it: “bolt next to the label”"),
        ("bolt right of the centre", "write “bolt on the left”"),
        ("bolt left of the gear that is loose", "'that is loose' may be said of “bolt” or of “the gear”"),
        ("bolt next to the label crooked", "'crooked' may be said of “bolt” or of “the label”"),
        ("missing brass bolt on the left", "write “missing bolt on the left”"),
        ("crooked white label left of the gear", "“crooked label left of the gear” or “white label left of the gear”"),
        ("cap left of the crooked white label", "write “crooked label” or “white label” there"),
    ],
)
def test_what_would_mislead_is_not_read(text: str, remedy: str) -> None:
    """It is whole, and says how to write what is meant."""
    said = read(text)
    assert said.unclear is not None
    assert remedy in said.unclear
    assert (said.parts, said.composed) == ((text,), False)


def test_what_is_asked_is_the_part_the_whole_and_what_the_anchor_needs() -> None:
    """In the order in which answers are put together."""
    for text, parts, wholes in (
        ("red cap left of the gear", ("red cap", "gear"), ()),
        ("largest hole", ("hole",), ("largest hole",)),
        ("cap next to the leftmost bolt", ("cap", "bolt"), ("leftmost bolt",)),
    ):
        assert (read(text).parts, read(text).wholes) == (parts, wholes)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("scratches", "scratch"),
        ("two loose bolts", "loose bolt"),
        ("all caps of the wrong colour", "cap of the wrong colour"),
        ("stains on the plate", "stain"),
        ("bolts are not tight", "bolt that is not tight"),
        ("holes without bolts", "hole without a bolt"),
        ("no bolt in hole", "no bolt in the hole"),
        ("bolt is not installed", "bolt not installed"),
        ("screw has not been installed", "screw not installed"),
        ("decal not straight", "label that is not straight"),
        ("bolt or screw missing", "missing bolt or screw"),
        ("label isn't straight", "label is not straight"),
        ("the caps are red", "red cap"),
        ("scratched plate", "the plate is scratched"),
        ("is the label crooked?", "label crooked"),
        ("are there any loose bolts?", "loose bolt"),
        ("there is a bolt", "bolt"),
        ("please find the missing bolt", "missing bolt"),
        ("Alarm: missing bolt!", "missing bolt"),
        ("raise an alarm if a bolt is missing", "a bolt is missing"),
        ("if a bolt is missing, stop the line", "a bolt is missing"),
        ("check for missing bolts", "missing bolt"),
        ("check if the bolt is loose", "the bolt is loose"),
        ("some of the bolts", "bolt"),
        ("hole w/o bolt", "hole without a bolt"),
        ("holes have no bolts", "hole with no bolt"),
        ("where is the bolt", "bolt"),
        ("where's the missing bolt?", "missing bolt"),
        ("is the cap there?", "cap"),
        ("the cap is there", "cap"),
        ("bolt came out", "bolt has fallen out"),
        ("missing two bolts", "missing bolt"),
        ("missing 2 bolts", "missing bolt"),
        ("two bolts are missing", "bolts are missing"),
        ("there are 4 bolts", "bolt"),
        ("bolt no. 3", "bolt 3"),
        ("any faults?", "flaw"),
        ("red coloured cap", "red cap"),
        ("cap coloured red", "red cap"),
        ("cap of red colour", "red cap"),
        ("cap in red", "red cap"),
        ("the colour of the cap is red", "red cap"),
        ("cap has red color", "red cap"),
        ("bolts on the plate", "bolt"),
        ("a bolt is missing on the plate", "a bolt is missing"),
        ("the bolt on the plate is loose", "the bolt is loose"),
        ("label of the plate", "label"),
        ("scratch on the plate", "scratch"),
        ("missing bolt in the picture", "missing bolt"),
        ("mark missing bolts", "missing bolt"),
        ("spot the missing bolt", "missing bolt"),
        ("flag any loose bolts", "loose bolt"),
        ("detect if a bolt is missing", "a bolt is missing"),
        ("find out whether the label is crooked", "the label is crooked"),
        ("watch out for spanners", "spanner"),
        ("reject the plate if the label is crooked", "the label is crooked"),
        ("if a bolt is missing, reject the part", "a bolt is missing"),
        ("alarm if a bolt is missing and stop the line", "a bolt is missing"),
        ("warning: missing bolt", "missing bolt"),
    ],
)
def test_a_text_is_asked_as_training_says_it(text: str, part: str) -> None:
    """Of one thing, for training says a plural of two or more alone; and in words that it has for the same."""
    assert read(text) == Reading(part, reworded=True)


@pytest.mark.parametrize("text", ["bolts are missing", "the largest caps", "plate with two holes", "two", "pliers"])
def test_a_plural_that_is_no_number_of_things_stays(text: str) -> None:
    """Sentences that training says, several of their like, what a thing has."""
    assert read(text) == Reading(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("on the left a bolt is missing", "a bolt is missing on the left"),
        ("On the left: a bolt is missing.", "a bolt is missing on the left"),
        ("on the left is a scratch", "scratch on the left"),
        ("at the top left there is a bolt missing", "bolt missing at the top left"),
        ("alarm if on the left the label is crooked", "the label is crooked on the left"),
        ("on the left side of the plate a bolt is missing", "a bolt is missing on the left side of the plate"),
        ("left of the gear a bolt is missing", "a bolt is missing left of the gear"),
        ("next to the gear is a red cap", "red cap next to the gear"),
        ("above the label, there is a scratch", "scratch above the label"),
        ("missing bolt, left of the gear", "missing bolt left of the gear"),
        ("upper half: missing bolt", "missing bolt in the upper half"),
        ("bolt in the left upper corner", "bolt in the upper left corner"),
        ("left top bolt", "top left bolt"),
        ("cap on the right bottom", "cap at the bottom right"),
        ("cap in center of image", "cap in the centre of the picture"),
    ],
)
def test_where_a_thing_lies_may_be_said_in_any_order(text: str, same: str) -> None:
    """Before the thing as behind it, and the sides of a corner either way."""
    (found, expected), limits = map(read, (text, same)), map(at_most, (text, same))
    assert found.composed
    assert (found.place, found.relation, found.anchor) == (expected.place, expected.relation, expected.anchor)
    assert meaning(found.part) == meaning(expected.part) is not None
    assert len(set(limits)) == 1


@pytest.mark.parametrize("text", ["on the left", "left of the gear", "on the left or right cap", "on top of the plate"])
def test_a_place_alone_goes_nowhere(text: str) -> None:
    """Nothing stands behind it that could lie there."""
    assert read(text) == Reading(text)


def test_a_state_and_a_colour_are_judged_one_by_one() -> None:
    """Training says each of a label, and never both."""
    white = Reading("crooked label", relation="being", anchor=Reading("white label"))
    for text in ("crooked white label", "Crooked, white label", "is the white label crooked?"):
        assert replace(read(text), part="crooked label") == white
    assert read("leftmost crooked white label") == replace(white, extreme="leftmost")
    assert read("the leftmost red bolt is loose").parts == ("bolt is loose", "red bolt")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("the red cap to the left of the gear", "“red cap”, left of “gear”"),
        ("uppermost bolt in the lower right corner", "the topmost “bolt”, in the lower right corner"),
        ("cap beside the leftmost bolt", "“cap”, next to the leftmost “bolt”"),
        ("both caps in the middle", "“cap”, in the middle"),
        ("two scratches", "“scratch”"),
        ("white label on the left is crooked", "“label is crooked”, on the left, being “white label”"),
        ("bolt on the left side of the plate", "“bolt”, on the left of “plate”"),
        ("the largest cap is red", "“red cap”, being the largest “cap”"),
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
        elif sample.kind in ("plural", "count"):
            assert reading == Reading(reading.part, reworded=True), sample.text
        elif sample.kind != "none":
            assert reading == Reading(sample.text), sample.text
    assert min(seen.values()) > 100


def test_the_page_for_operators_is_true() -> None:
    """Each example of docs/queries.md that says where, beside what or which is read so, and the things are whole."""
    expected = {
        "a thing": None, "a place": "place", "a relation": "relation", "the nearest": "relation",
        "one of several": "extreme", "a place on a plate": "relation", "what is so of one": "relation",
        "several things": "reworded", "a state and a colour": "relation",
    }  # fmt: skip
    rows = [line.split(" | ") for line in Path("docs/queries.md").read_text(encoding="utf-8").splitlines()]
    table = {row[0].removeprefix("| "): row[1].split("`")[1::2] for row in rows if len(row) == 3}
    assert set(expected) <= set(table)
    for says, rule in expected.items():
        assert len(table[says]) > 1
        for text in table[says]:
            assert read(text).composed == (rule is not None), text
            assert rule is None or getattr(read(text), rule), text
