"""Texts of known words that would be answered as another question."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simvg_core.asked_words import AskedWords
from simvg_core.edge.grounder import EdgeGrounder
from simvg_core.lineworld.designations import designation
from simvg_core.lineworld.language import rng_of
from simvg_core.lineworld.vocabulary import CONCEPTS
from simvg_core.lineworld.wordings import further_names, further_statements
from simvg_core.refusals import refusal
from simvg_core.training.rendered import open_for_scoring
from simvg_core.words import WordPacker, read_fast_pieces

MODEL = Path("models/line-small")
ANY_WORDS = [
    *read_fast_pieces(MODEL).learned,
    "?",
    ",",
    "2",
    "and",
    "between",
    "it",
    "leftmost",
    "more",
    "near",
    "than",
]


@pytest.fixture(scope="module")
def words() -> AskedWords:
    """Those of the shipped model."""
    return AskedWords(WordPacker(read_fast_pieces(MODEL), 24, "error"), composed=())


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("no label", "“label” and expect it to be there (--expect present)"),
        ("there is no red cap", "“red cap” and expect it to be there"),
        ("0 labels", "“label” and expect it to be there"),
        ("label absent", "“label” and expect it to be there"),
        ("the label is not there", "“label” and expect it to be there"),
        ("missing label", "“label” and expect it to be there"),
        ("the left label is missing", "“label on the left” and expect it to be there"),
        ("there is no cap left of the gear", "“cap left of the gear” and expect it to be there"),
        ("plate without a label", "“label” and expect it to be there"),
        ("no bolts", "write “missing bolt”"),
        ("no screw on the left", "write “missing screw on the left”"),
        ("no washer under the bolt", "“washer under the bolt” and expect it to be there"),
        ("no scratches", "ask for “scratch”; it alarms when one is there"),
        ("no crooked label on the left", "ask for “crooked label on the left”; it alarms when one is there"),
        ("no loose bolts", "ask for “loose bolt”; it alarms"),
        ("no spanner", "ask for “spanner”; it alarms"),
        ("plate without scratches", "ask for “scratch”; it alarms"),
        ("bolt in the hole", "write “bolt” for it, or “missing bolt” for the empty place"),
        ("bolt in its hole", "write “bolt” for it"),
        ("holes with screws", "write “screw” for it, or “missing screw”"),
        ("is there a bolt in the hole?", "write “bolt” for it"),
        ("the bolt is there", "write “bolt” for it"),
        ("the bolt is installed", "write “bolt” for it"),
        ("bolt should be there", "write “bolt” for it"),
        ("bolt in the hole on the left", "or “missing bolt on the left” for the empty place"),
        ("red or blue cap on the left", "a query for each: “red cap on the left”, “blue cap on the left”"),
        ("red/blue cap", "“red cap”, “blue cap”"),
        ("red, blue or green cap", "“red cap”, “blue cap”, “green cap”"),
        ("bolt is missing or loose", "“bolt is missing”, “bolt is loose”"),
        ("loose connector", "never taught 'loose' of a connector"),
        ("wrong label", "taught “crooked label”, “straight label”; or ask for “label”"),
        ("loose nut on the left", "it was taught no such word of one; or ask for “nut on the left”"),
        ("dirty plate", "“the plate is stained”"),
        ("missing red bolt", "what is missing has no colour (“missing red bolt”); write “missing bolt”"),
        ("label next to it", "what 'it' stands for is not told"),
        ("bolt with its washer", "what 'its' stands for"),
        ("bolt near the edge", "is a place and no thing"),
        ("wrong label next to the edge", "is a place and no thing that can be found; say it in simpler words"),
        ("lable crooked", "did you mean 'label'?"),
        ("cap that is not red", "say what is so instead"),
        ("the label is not crooked", "say what is so instead"),
        ("cap that is not red on the left", "say what is so instead"),
        ("missing bolt, crooked label", "several things (“missing bolt”, “crooked label”)"),
        ("missing bolt/crooked label", "write a query for each"),
        ("red cap; blue cap left of the gear", "write a query for each"),
        ("missing bolt or crooked label", "write a query for each"),
        (">3 missing bolts", "cannot compare numbers or sizes"),
        ("more than 3 bolts", "cannot compare numbers or sizes"),
        ("at least two bolts", "“two bolts” gives no more boxes"),
        ("bolt near the corner", "is a place and no thing"),
        ("leftmost bolt is missing", "write “leftmost missing bolt”"),
        ("scratch 5mm", "'5mm' (numbers are read in types alone, as in 'M6' or 'A17')"),
        ("2nd cap", "cannot count things off"),
        ("second bolt from the left", "“leftmost bolt”"),
        ("last cap", "cannot count things off"),
        ("somebody forgot a label", "“label” and expect it to be there"),
        ("cap fallen out", "“cap” and expect it to be there"),
        ("gap where a label belongs", "“label” and expect it to be there"),
        ("plate missing a label", "“label” and expect it to be there"),
        ("bolt w/o washer", "“washer” and expect it to be there"),
        ("missing spanner", "“spanner” and expect it to be there"),
        ("no defects", "ask for “defect”; it alarms when one is there, or, with --expect present, when none is"),
        ("no empty holes", "ask for “empty hole”; it alarms when one is there, or"),
        ("no tight bolt", "ask for “loose bolt”"),
        ("no 2 bolts", "write “missing bolt”"),
        ("cap of the right colour", "never taught 'right' of a cap"),
        ("right colour cap", "never taught 'right' of a cap"),
        ("cross threaded bolt", "never taught 'threaded' of a bolt"),
        ("open cap", "never taught 'open' of a cap"),
        ("all bolts are tight", "ask for “loose bolt”"),
        ("are the bolts left of the label tight?", "ask for “loose bolt”"),
        ("every label is straight", "ask for “crooked label”"),
        ("both labels crooked", "ask for “crooked label”, which may be one"),
        ("all caps are red", "asks whether all are so"),
        ("check that the label is straight", "expect it to be there (--expect present), or for “crooked label”"),
        ("check whether the bolt is tight", "or for “loose bolt”"),
        ("make sure there is a label", "“a label” and expect it to be there"),
        ("alarm unless there is a label on the left", "“a label on the left” and expect it to be there"),
        ("cap should be red", "“cap is red” and expect it to be there"),
        ("the label has to be straight", "expect it to be there (--expect present), or for “crooked label”"),
        ("the label needs to be straight", "“the label is straight” and expect it to be there"),
        ("bolts are to be tight", "ask for “loose bolt”"),
        ("label should sit straight", "“label is straight” and expect it to be there"),
        ("cap is blue, should be red", "ask for “cap is red” and expect it to be there"),
        ("check that there are no scratches", "ask for “scratch”; it alarms when one is there"),
        ("check that all bolts are tight", "ask for “loose bolt”"),
        ("don't alarm if the label is crooked", "what raises an alarm, not what raises none"),
        ("no alarm if cap is red", "what raises an alarm, not what raises none"),
        ("ignore stains", "what raises an alarm, not what raises none"),
        ("cap and label", "several things (“cap”, “label”)"),
        ("caps & labels", "write a query for each"),
        ("missing bolt but no label", "write a query for each"),
        ("missing bolt crooked label", "several things (“bolt”, “label”)"),
        ("red cap blue gear", "several things (“cap”, “gear”)"),
        ("loose bolt missing bolt", "write a query for each"),
        ("label covers the hole", "write a query for each"),
        ("red blue cap", "a query for each: “red cap”, “blue cap”"),
        ("label A17 or A18", "a query for each: “label a17”, “label a18”"),
        ("M6/M8 bolt", "“m6 bolt”, “m8 bolt”"),
        ("cap on the wrong side", "never taught 'wrong' of a cap"),
        ("on the left", "does not name the thing that is looked for"),
        ("leftmost", "does not name the thing that is looked for"),
        ("topmost is red", "does not name the thing that is looked for"),
        ("the largest has a scratch", "does not name the thing that is looked for"),
        ("red and white label", "a query for each: “red label”, “white label”"),
        ("scratch on the label", "names two things"),
        ("bolt with a washer", "write “bolt next to the washer”"),
        ("plate with two caps", "write “cap”"),
        ("missing bolt in the corner", "as in “missing bolt on the left”"),
        ("cap on the left or right", "'left' is not understood"),
        ("label tilted to the left", "'left' is not understood"),
        ("cap left of the gear at the top", "write one place, relation or extreme"),
        ("the red one", "what 'one' stands for"),
        ("exactly 3 bolts", "cannot compare numbers or sizes"),
        ("two or three caps", "cannot compare numbers or sizes"),
        ("2 to 3 bolts", "cannot compare numbers or sizes"),
        ("under 4 bolts", "cannot compare numbers or sizes"),
        ("12 bolts", "cannot compare numbers or sizes"),
        ("a pair of bolts", "cannot compare numbers or sizes"),
        ("stop if there are too few bolts", "cannot compare numbers or sizes"),
        (
            "missing motor",
            "bolts, screws and fasteners alone ('missing motor'); write “missing bolt” or “missing screw”",
        ),
        ("the motor is missing on the left", "write “missing bolt” or “missing screw”"),
        ("gear with a missing tooth", "write “missing bolt” or “missing screw”"),
        ("the motor", "knows the word beside names only, as in “motor bolt”"),
        ("motor left of the bolt", "taught nothing that is called 'motor'"),
        ("bolt left of the red motor", "taught nothing that is called 'motor'"),
        ("leftmost motor", "taught nothing that is called 'motor'"),
        ("machine", "does not name the thing that is looked for; write it, as in “machine screw”"),
        ("the box is open", "taught nothing that is called 'box'"),
        ("bolt on the motor", "taught nothing that is called 'motor' ('bolt on the motor')"),
        ("missing bolt of the motor on the left", "write “missing bolt on the left”"),
        ("the label of the box is crooked", "write “the label is crooked”"),
        ("box with a red label", "write “red label”"),
        ("crooked", "does not name the thing that is looked for; write it, as in “crooked"),
        ("missing", "as in “missing bolt”"),
        ("oil", "does not name the thing that is looked for; write it, as in “oil"),
        ("red", "as in “red cap on the left”"),
        ("fallen bolt", "of one it was taught “loose bolt”, “tight bolt”, “missing bolt”; or ask for “bolt”"),
        ("screw has fallen on the plate", "“missing screw”; or ask for “screw”"),
        ("bolt lying on the plate", "never taught 'lying' of a bolt"),
        ("connector out of place", "never taught 'out' of a connector"),
        ("cap out of its hole", "never taught 'out' of a cap"),
        ("open screw", "never taught 'open' of a screw"),
        ("aligned bolt", "never taught 'aligned' of a bolt"),
        ("half a label", "never taught 'half' of a label"),
        ("label half", "never taught 'half' of a label"),
        ("red cable on the left", "never taught 'red' of a cable ('red cable'): it was taught no such word of one; or"),
        ("black stain", "or ask for “stain”"),
        ("cap left of the grey wire", "never taught 'grey' of a wire"),
        ("big scratches", "write “largest scratch” for the largest of all; or ask for “scratch”"),
        ("little label", "write “smallest label” for the smallest of all; or ask for “label”"),
        ("screw caps", "several things (“screw”, “cap”)"),
        ("hole cover", "several things (“hole”, “cover”)"),
        ("bolt washer left of the label", "several things (“bolt”, “washer”)"),
        ("plate bolt", "several things (“plate”, “bolt”)"),
        ("hand on the plate", "does not name the thing"),
        ("wheel", "write it, as in “cog wheel”"),
        ("dust on the cap", "is on, in or of the other; write “cap”"),
        ("paint on the label", "is on, in or of the other; write “label”"),
        ("small", "does not name the thing"),
        ("place", "does not name the thing"),
        ("hinge line", "taught nothing that is called 'line'"),
        ("motor on the plate", "taught nothing that is called 'motor'"),
        ("grease on the plate", "as in “grease stain”"),
        ("oil on the label", "names two things"),
        ("black spot on the label", "write “spot next to the label”"),
        ("damage to the label", "names two things"),
        ("gear tooth on the left", "never taught the 'tooth' of a thing ('gear tooth'); write “gear on the left”"),
        ("plug out", "ask for “plug” and expect it to be there"),
        ("loose left bolt", "as in “loose bolt on the left”"),
        ("A17", "does not name the thing"),
        ("is it missing?", "what 'it' stands for"),
        ("plate where a bolt is missing", "write “bolt is missing”"),
        ("plate where the label is crooked", "write “label is crooked”"),
        ("plate with 4 bolts", "write “bolt”"),
        ("left of the gear a cap is missing", "“cap left of the gear” and expect it to be there"),
        ("on the left no label", "“label on the left” and expect it to be there"),
        ("on the left there should be a label", "“a label on the left” and expect it to be there"),
        ("bolt half tightened", "never taught 'half tightened' of a bolt"),
        ("bolt hand tight", "or ask for “bolt”"),
        (
            "loose leftmost bolt",
            "write “leftmost loose bolt” for the leftmost of those, or “the leftmost bolt is loose”",
        ),
        ("missing leftmost bolt", "write “leftmost missing bolt” for the leftmost of those"),
        ("middle bolt missing", "write “bolt missing in the middle”"),
        ("center cap", "write “cap in the middle”"),
        ("monitor the label", "“the label” and expect it to be there"),
        ("detect whether the label is straight", "or for “crooked label”"),
        ("missing_bolt", "did you mean 'missing bolt'?"),
        ("missingbolt", "did you mean 'missing bolt'?"),
        ("un screwed bolt", "'un' (did you mean 'unscrewed'?)"),
        ("b0lt missing", "did you mean 'bolt'?"),
        ("cracked plate", "'cracked'; use other words: it was taught bolts, screws, nuts,"),
        ("the lable is not straight", "the model does not know 'lable'"),
    ],
)
def test_what_would_be_answered_as_another_question_is_refused(words: AskedWords, text: str, remedy: str) -> None:
    """With what to write in its place."""
    assert remedy in (words.complaint(text) or "")


@pytest.mark.parametrize(
    "text",
    [
        "missing bolt", "hole without a bolt left of the label", "leftmost hole with no screw in it", "bolt not tight",
        "label not straight", "one bolt is not there", "no M6 bolt in the hole", "label no. 7",
        "forgotten spanner", "label A-17", "bolt, loose", "crooked label, on the left",
        "missing bolt or screw at the top",        "M6 loose bolt or screw", "2 bolts", "1/4 bolt",
        "bolt hole", "hole for a bolt", "small or large cap", "crooked, white label", "stained plate", "damaged plate",
        "wrong cap", "wrong coloured lid", "loose M6 bolt", "hole without bolt", "bolts are not tight",
        "tag not straight", "label on the plate", "label no. 7 is crooked", "two pairs of pliers",
        "spanner left behind", "hole missing a bolt", "hole where a bolt should be left of the gear",
        "wrong cap on the left", "label isn’t straight", "label “A17” is crooked", "cable connector",
        "both of the caps left of the gear",
        "forgotten spanner on the left", "open bolt hole", "hole where a bolt should be", "check for scratches",
        "motor bolt", "scratch in the paint", "missing bolt on the part",
        "product with a dent", "defect", "stop the line if a bolt is missing", "some bolts are loose",
        "hole w/o bolt", "the caps are red", "bolt fallen out", "label out of place", "spanner lying on the plate",
        "sticker label", "gear wheel", "large bolt", "largest scratch", "red electrical connector plug",
    ],
)  # fmt: skip
def test_what_training_says_is_asked(words: AskedWords, text: str) -> None:
    """Denials and lists among its names and sentences, types, and marks that list nothing."""
    assert words.complaint(text) is None


def test_nothing_of_the_vocabulary_or_the_benchmark_is_refused() -> None:
    """In any of its words, held-out ones too."""
    texts = {sample.text for split in ("val", "test", "test_hard") for sample in _samples(split)}
    for concept in CONCEPTS:
        texts |= {form for name in concept.names + concept.held_out + further_names(concept) for form in name}
        texts |= {*concept.statements, *concept.statements_held_out, *further_statements(concept)}
    assert len(texts) > 3000
    assert {text: why for text in texts if (why := refusal(text)) is not None} == {}


def test_the_page_for_operators_is_true(words: AskedWords) -> None:
    """What docs/queries.md says is refused is, and what it says to write instead is not."""
    _, _, page = Path("docs/queries.md").read_text(encoding="utf-8").partition("## What is refused")
    refused, _, asked = page.partition("## How it is answered")[0].partition("What training says")
    rows = [line.split(" | ") for line in refused.splitlines() if line.count(" | ") == 2][2:]
    assert len(rows) == 21
    for _, texts, remedies in rows:
        assert all(words.complaint(text) for text in texts.split("`")[1::2]), texts
        for text in remedies.split("`")[1::2]:
            assert text.startswith(("--", "M6", "A17")) or words.complaint(text) is None, text
    for text in asked.split("`")[1::2]:
        assert words.complaint(text) is None, text


@example(["panels", "for", "middle"])
@example(["or", "lead", "gaps", "middle"])
@example(["marks", "center", "stoppers", "frame", "or"])
@settings(max_examples=300, deadline=None)
@given(said=st.lists(st.sampled_from(ANY_WORDS), min_size=1, max_size=6))
def test_words_in_any_order_are_asked_or_refused(words: AskedWords, said: list[str]) -> None:
    """A reason may offer a text that is looked at in its turn, and that one another: it ends all the same."""
    told = words.complaint(" ".join(said))
    assert told is None or told.strip() == told != ""


def test_designations_as_training_makes_them_are_known() -> None:
    """Types: a letter and up to two digits, in one word or two."""
    pieces = read_fast_pieces(MODEL)
    for number in range(300):
        made = designation(rng_of(0, number, 0)).replace("-", " ")
        assert made.isalpha() or all(map(pieces.knows, made.split())), made


def test_what_a_plant_has_taught_is_asked() -> None:
    """A word that no name of training has may be a thing; that it is missing is asked by expecting it."""
    assert refusal("pallet") is refusal("crooked pallet") is None
    assert "“pallet” with --expect present" in (refusal("missing pallet") or "")


def test_a_model_that_is_not_asked_in_parts_reads_all_texts() -> None:
    """Published checkpoints were trained on negations and lists."""
    whole = AskedWords(WordPacker(read_fast_pieces(MODEL), 24, "error"), composed=None)
    assert whole.complaint("no label") is None
    assert whole.complaint("leftmost bolt is missing") is None


def test_a_refused_text_is_unknown_in_every_frame() -> None:
    """With the reason, where a program asks it all the same."""
    grounder = EdgeGrounder(MODEL, threads=1)
    frame = cv2.imread(str(_samples("val")[0].image))
    (row,) = grounder.ground([frame], ["no label", "label"])
    assert (row[0].state, row[1].state == "unknown") == ("unknown", False)
    assert "--expect present" in (row[0].reason or "")


def _samples(split: str) -> list:
    return list(open_for_scoring(Path("benchmarks/line") / split).samples())
