"""The query grammar on scenes made by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from simvg_core.lineworld.language import Grammar, Query, parse, rng_of, standing_truth, with_article
from simvg_core.lineworld.meaning import Meaning, extreme, in_region, nearest, relative, verdict
from simvg_core.lineworld.truth import Seen
from simvg_core.lineworld.vocabulary import BY_KEY, CONCEPTS


def seen(
    number: int, kind: str, x: float, y: float, *, color: str | None = None, state: str = "ok", size: float = 0.06,
    clear: bool = True, grade: str | None = None,
) -> Seen:  # fmt: skip
    """A square thing by its centre."""
    half = size / 2
    return Seen(number, kind, 1, color, grade, state, (x - half, y - half, x + half, y + half), clear)


BOLT = seen(1, "hex_bolt", 0.2, 0.2, color="steel")
LOOSE = seen(2, "hex_bolt", 0.8, 0.2, color="steel", state="tilted")
GAP = seen(3, "missing_bolt", 0.2, 0.8)
DRILLED = seen(4, "drilled_hole", 0.5, 0.5)
RED = seen(5, "cap", 0.4, 0.3, color="red")
BLUE = seen(6, "cap", 0.8, 0.6, color="blue", state="wrong_color")
CROOKED = seen(7, "label", 0.5, 0.8, color="white", state="crooked")
GEAR = seen(8, "gear", 0.6, 0.3, color="brass", size=0.15, grade="large")
SCENE = [BOLT, LOOSE, GAP, DRILLED, RED, BLUE, CROOKED, GEAR]


def asked(scene: list[Seen], *, held_out: bool = False, pictures: int = 60) -> list[Query]:
    """Questions of many epochs about one scene."""
    grammar = Grammar(held_out=held_out)
    return [query for epoch in range(pictures) for query in grammar.ask(scene, rng_of(3, 1, epoch), 14)]


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("missing bolt", (3,)),
        ("empty bolt hole", (3,)),
        ("a bolt is missing", (3,)),
        ("bolt", (1, 2)),
        ("the loose bolt", (2,)),
        ("a bolt has come loose", (2,)),
        ("tight bolt", (1,)),
        ("red cap", (5,)),
        ("a blue plug", ()),
        ("cap of the wrong colour", (6,)),
        ("crooked label", (7,)),
        ("straight label", ()),
        ("large gear", (8,)),
        ("brass gear", (8,)),
        ("hole", (3, 4)),
        ("missing screw", ()),
        ("pliers", ()),
    ],
)
def test_standing_queries_have_exact_answers(text: str, targets: tuple[int, ...]) -> None:
    """Name, attribute and statement mean what they say."""
    assert standing_truth(SCENE, text) == targets


def test_an_empty_belt_answers_none_to_everything() -> None:
    """Nothing in view: every query is absent, none is undecided."""
    assert {standing_truth([], concept.names[0][0]) for concept in CONCEPTS} == {()}
    assert all(query.targets == () for query in asked([], pictures=5))


@pytest.mark.parametrize(
    ("scene", "text"),
    [
        pytest.param([seen(1, "missing_bolt", 0.2, 0.2, clear=False)], "missing bolt", id="the target is unclear"),
        pytest.param([seen(1, "drilled_hole", 0.2, 0.2, clear=False)], "missing bolt", id="an unclear look-alike"),
        pytest.param([seen(1, "hex_bolt", 0.2, 0.2, clear=False)], "loose bolt", id="its state is unclear"),
        pytest.param([GAP], "threaded hole", id="one may call it so"),
        pytest.param([seen(1, "plate", 0.5, 0.5, color="steel")], "grey plate", id="two people, two colours"),
        pytest.param([seen(1, "gear", 0.5, 0.5, grade="medium")], "large gear", id="neither large nor small"),
    ],
)  # fmt: skip
def test_what_could_go_either_way_is_not_asked(scene: list[Seen], text: str) -> None:
    """Undecided standing queries have no truth, and the grammar never asks them."""
    assert standing_truth(scene, text) is None
    meaning = parse(text)
    assert meaning is not None
    assert not any(parse(query.text) == meaning for query in asked(scene))


def test_an_unclear_thing_of_another_look_does_not_silence_a_query() -> None:
    """An unclear cable says nothing about bolts."""
    assert standing_truth([seen(1, "cable", 0.5, 0.5, clear=False)], "missing bolt") == ()


def test_a_text_outside_the_grammar_is_refused() -> None:
    """The message quotes it."""
    with pytest.raises(ValueError, match="'purple elephant' is not in the grammar"):
        standing_truth(SCENE, "purple elephant")


def test_every_plain_question_agrees_with_standing_truth() -> None:
    """Benchmark and demo share one convention."""
    for query in asked(SCENE, held_out=True):
        if query.kind in ("plain", "attribute", "state", "synonym") and parse(query.text) is not None:
            assert query.targets == standing_truth(SCENE, query.text), query.text


def test_the_products_query_is_asked_of_nearly_every_picture() -> None:
    """Missing bolt leads."""
    grammar = Grammar()
    pictures = [grammar.ask(SCENE, rng_of(1, index, 0), 14) for index in range(100)]
    assert sum(any(query.noun == "missing_bolt" for query in queries) for queries in pictures) > 90


def test_questions_are_deterministic() -> None:
    """Seed, picture and epoch decide."""
    first = Grammar().ask(SCENE, rng_of(1, 2, 3), 14)
    assert first == Grammar().ask(SCENE, rng_of(1, 2, 3), 14)
    assert first != Grammar().ask(SCENE, rng_of(1, 2, 4), 14)


def test_all_forms_occur_and_a_good_share_has_no_target() -> None:
    """Kinds of the benchmark; hard negatives among those without a target."""
    queries = asked(SCENE, held_out=True)
    kinds = Counter(query.kind for query in queries)
    expected = "plain attribute position relation superlative plural count state synonym"
    assert set(kinds) == set(expected.split())
    without = [query for query in queries if not query.targets]
    assert 0.2 < len(without) / len(queries) < 0.6
    assert sum(query.lure for query in without) > 0.3 * len(without)


def test_held_out_phrasings_never_occur_in_training() -> None:
    """Only the benchmark asks them."""
    held = {name for concept in CONCEPTS for pair in concept.held_out for name in pair}
    held |= {sentence for concept in CONCEPTS for sentence in concept.statements_held_out}
    assert not held & {query.text for query in asked(SCENE, pictures=200)}
    assert held & {query.text for query in asked(SCENE, held_out=True, pictures=200)}


def test_no_question_has_more_targets_than_allowed() -> None:
    """A model has a fixed number of answers."""
    bolts = [seen(number, "hex_bolt", 0.1 * number, 0.5) for number in range(1, 9)]
    assert all(len(query.targets) <= 5 for query in asked(bolts))


@pytest.mark.parametrize(("name", "article"), [("empty hole", "an"), ("cap", "a"), ("orange cap", "an")])
def test_articles_fit_the_next_word(name: str, article: str) -> None:
    """ "an orange cap", "a cap"; never "the" where nothing or several are meant."""
    said = {with_article(name, rng_of(0, 0, epoch), definite=False) for epoch in range(200)}
    assert said == {name, f"{article} {name}", f"any {name}"}


@pytest.mark.parametrize(
    ("x", "y", "region", "answer"),
    [
        (0.2, 0.5, "left", True), (0.8, 0.5, "left", False), (0.5, 0.5, "left", None), (0.8, 0.2, "upper right", True),
        (0.8, 0.5, "upper right", None), (0.2, 0.5, "upper right", False), (0.5, 0.5, "middle", True),
        (0.7, 0.5, "middle", None), (0.9, 0.5, "middle", False), (0.5, 0.9, "bottom", True),
    ],
)  # fmt: skip
def test_regions_leave_a_band_undecided(x: float, y: float, region: str, answer: bool | None) -> None:
    """Between sure and sure not lies what is not asked."""
    assert in_region(seen(1, "cap", x, y), region) is answer


@pytest.mark.parametrize(
    ("x", "y", "relation", "answer"),
    [
        (0.3, 0.5, "left of", True), (0.7, 0.5, "left of", False), (0.48, 0.5, "left of", None),
        (0.3, 0.1, "left of", None), (0.5, 0.2, "above", True), (0.5, 0.9, "below", True), (0.7, 0.5, "right of", True),
    ],
)  # fmt: skip
def test_relations_to_a_thing_in_the_middle(x: float, y: float, relation: str, answer: bool | None) -> None:
    """Beside means more beside than across, and far enough to see."""
    assert relative(seen(1, "cap", x, y), seen(2, "gear", 0.5, 0.5), relation) is answer


def test_superlatives_need_a_winner() -> None:
    """The largest must be clearly larger, the leftmost clearly further left, and there must be another."""
    small, big = seen(1, "gear", 0.2, 0.2, size=0.05), seen(2, "gear", 0.22, 0.8, size=0.1)
    assert extreme([small, big], "largest") is big
    assert extreme([small, big], "lowest") is big
    assert extreme([small, big], "leftmost") is None
    assert extreme([small], "largest") is None


def test_the_nearest_is_close_and_unrivalled() -> None:
    """Two at the same distance are not asked about."""
    anchor = seen(1, "gear", 0.5, 0.5)
    near, far, rival = seen(2, "cap", 0.55, 0.5), seen(3, "cap", 0.9, 0.9), seen(4, "cap", 0.45, 0.5)
    assert nearest([far, near], anchor) is near
    assert nearest([near, rival], anchor) is None
    assert nearest([far], anchor) is None


def test_position_questions_name_only_what_is_there() -> None:
    """Every position question of a scene has the targets its words say."""
    for query in asked(SCENE, pictures=150):
        if query.kind == "position" and "on the left" in query.text:
            assert all(next(one for one in SCENE if one.id == target).x < 0.5 for target in query.targets), query


def test_a_verdict_lists_targets_in_scene_order() -> None:
    """Order is that of the truth."""
    targets, decided = verdict(Meaning(BY_KEY["cap"]), SCENE)
    assert decided
    assert [one.id for one in targets] == [5, 6]
