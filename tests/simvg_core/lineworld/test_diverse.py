"""A thousand texts of one line: different, said in the model's words, and judged in a picture."""

import random

import pytest

from simvg_core.lineworld.diverse import Ask, diverse, false_of
from simvg_core.lineworld.language import parse
from simvg_core.lineworld.meaning import Meaning
from simvg_core.lineworld.truth import Seen
from simvg_core.lineworld.vocabulary import BY_KEY


def _seen(number: int, kind: str, x: float, y: float, color: str | None = None) -> Seen:
    return Seen(number, kind, 1, color, None, "ok", (x - 0.05, y - 0.05, x + 0.05, y + 0.05), True)


SCENE = [_seen(1, "cap", 0.2, 0.5, "red"), _seen(2, "gear", 0.8, 0.5, "steel")]
CAP, GEAR, CABLE = (Meaning(BY_KEY[key]) for key in ("cap", "gear", "cable"))


def test_none_and_a_thousand() -> None:
    """As many different texts as wanted, the same for the same seed, others for another."""
    assert diverse(0, 1) == []
    many = diverse(1000, 1)
    assert len({ask.text for ask in many}) == 1000 and many == diverse(1000, 1) != diverse(1000, 2)
    forms = [(ask.place, ask.relation, ask.utmost) for ask in many]
    assert all(sum(form[part] is not None for form in forms) > 100 for part in range(3))


def test_plain_texts_mean_what_the_grammar_takes_them_for() -> None:
    """A text without place, relation or superlative is one that the grammar can parse, with the same meaning."""
    plain = [ask for ask in diverse(300, 3) if ask.place is ask.relation is ask.utmost is None]
    assert len(plain) > 50
    for ask in plain:
        meaning = parse(ask.text)
        assert meaning is not None and (meaning.concept.kinds, meaning.color, meaning.size) == (
            ask.meaning.concept.kinds, ask.meaning.color, ask.meaning.size,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        pytest.param(Ask("cap", CAP), True, id="there"),
        pytest.param(Ask("cable", CABLE), False, id="not there"),
        pytest.param(Ask("blue cap", Meaning(BY_KEY["cap"], color="blue")), False, id="another colour"),
        pytest.param(Ask("cap on the left", CAP, place="left"), True, id="at its place"),
        pytest.param(Ask("cap on the right", CAP, place="right"), False, id="elsewhere"),
        pytest.param(Ask("cap in the middle", CAP, place="top"), None, id="on the border"),
        pytest.param(Ask("cap left of the gear", CAP, relation="left of", other=GEAR), True, id="beside"),
        pytest.param(Ask("cap right of the gear", CAP, relation="right of", other=GEAR), False, id="not beside"),
        pytest.param(Ask("cap left of the cable", CAP, relation="left of", other=CABLE), False, id="no such neighbour"),
        pytest.param(Ask("leftmost cap", CAP, utmost="leftmost"), True, id="the only one"),
    ],
)
def test_each_is_judged_by_what_is_in_the_picture(ask: Ask, answer: bool | None) -> None:
    """True, false, or open where a person could go either way."""
    assert ask.judge(SCENE) is answer


def test_nothing_is_in_an_empty_picture() -> None:
    """Every text is false there."""
    assert {ask.judge([]) for ask in diverse(200, 4)} == {False}


def test_questions_about_what_is_not_there_have_no_answer() -> None:
    """As many as wanted, different, without a target, and none of them true or open."""
    asked = false_of(SCENE, random.Random(5), 60)
    texts = {query.text for query in asked}
    assert len(asked) == len(texts) == 60
    assert {(query.kind, query.targets) for query in asked} == {("none", ())}
    verdicts = {ask.text: ask.judge(SCENE) for ask in diverse(4000, 4)}
    met = texts & set(verdicts)
    assert len(met) > 5 and {verdicts[text] for text in met} == {False}
    assert false_of(SCENE, random.Random(5), 0) == []
