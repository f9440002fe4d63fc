"""What a worker measures of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.grounding.budget import JUMP, PriceBook, Rates, calibrate
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from infra.contracts import State
from infra.cost import Prices
from tests.consumers.grounding.colour import ColourEngine

SECOND = 1_000_000_000
PRICES = Prices(pass_s=0.02, pair_s=0.001)


class Priced(ColourEngine):
    """Takes any text, and says on its own clock how long it worked: 20 ms a view and 1 ms a text on it."""

    now = 0.0
    slow_rounds = 1

    def compile(self, texts: Sequence[str]) -> Mapping[str, str]:
        return {}

    def ground(self, views: Sequence[Pixels], texts: Sequence[Sequence[str]]) -> list[dict[str, Finding]]:
        self.now += sum(0.02 + 0.001 * len(words) for words in texts) + (2.0 if self.slow_rounds > 0 else 0.0)
        self.slow_rounds -= len(texts[0]) > 1
        return [{text: Finding(State.ABSENT, 0.0) for text in words} for words in texts]


@pytest.mark.parametrize("batch", [1, 4])
def test_calibration_finds_both_prices(batch: int) -> None:
    """Of a view in a full batch, and of one more text on it; the first round, which is slow, does not count."""
    engine = Priced()
    found = calibrate(engine, batch, clock=lambda: engine.now)
    assert found is not None and (found.pass_s, found.pair_s) == pytest.approx((0.02, 0.001))


def test_an_engine_that_takes_no_text_is_not_calibrated() -> None:
    """Nothing is made up: the first real batch says what it costs."""

    class Deaf(Priced):
        def compile(self, texts: Sequence[str]) -> Mapping[str, str]:
            return dict.fromkeys(texts, "deaf")

    assert calibrate(Deaf(), 1) is None
    book = PriceBook()
    book.learn(2, 6, 0.1, saturated=False)
    assert book.prices == Prices(pass_s=0.05, pair_s=0.0)


@given(st.floats(0.3, 3.0))
def test_real_batches_correct_the_prices(truth: float) -> None:
    """In a worker that never waits the running mean ends at what batches really take."""
    book = PriceBook(PRICES)
    for number in range(200):
        views, pairs = 1 + number % 4, 7
        book.learn(views, pairs, truth * PRICES.seconds(views, pairs), saturated=True)
    assert book.prices is not None and book.prices.pass_s == pytest.approx(truth * PRICES.pass_s, rel=0.01)


def test_a_worker_that_waits_learns_only_downward() -> None:
    """A batch that is not full is no measure of what a full one costs, unless it is cheaper even so."""
    book = PriceBook(PRICES)
    book.learn(1, 1, 10 * PRICES.seconds(1, 1), saturated=False)
    assert book.prices == PRICES
    book.learn(1, 1, 0.5 * PRICES.seconds(1, 1), saturated=False)
    assert book.prices.pass_s == pytest.approx(0.95 * PRICES.pass_s)


def test_one_stalled_batch_says_little() -> None:
    """A batch of minutes counts as one that took a few times longer than it should."""
    book = PriceBook(PRICES)
    book.learn(1, 1, 600.0, saturated=True)
    assert book.prices is not None and book.prices.pass_s == pytest.approx(PRICES.pass_s * (1 + 0.1 * (JUMP - 1)))
    book.learn(0, 0, 1.0, saturated=True)  # frames that could not be judged cost no pass and teach nothing
    assert book.prices.pass_s == pytest.approx(PRICES.pass_s * (1 + 0.1 * (JUMP - 1)))


@pytest.mark.parametrize("fps", [0.2, 1.0, 5.0, 30.0])
def test_rates_are_those_of_capture(fps: float) -> None:
    """Whether frames come one by one or as a backlog in one moment."""
    rates = Rates()
    for number in range(round(50 * fps)):
        rates.seen("line-1", round(number * SECOND / fps), 77 * SECOND)
    assert rates.rates(78 * SECOND)["line-1"] == pytest.approx(fps, rel=0.15)


def test_a_camera_is_forgotten_after_a_minute() -> None:
    """One frame is no rate yet; a silent camera costs nothing any more."""
    rates = Rates()
    rates.seen("line-1", 0, 0)
    assert rates.rates(0) == {}
    for number in range(30):
        rates.seen("line-1", number * SECOND // 10, number * SECOND // 10)
    assert rates.rates(50 * SECOND) == {"line-1": pytest.approx(10.0)}
    assert rates.rates(70 * SECOND) == {}


def test_a_clock_set_back_begins_anew() -> None:
    """The camera's rate is known again two seconds later."""
    rates = Rates()
    for start in (3600, 0):
        for number in range(30):
            rates.seen("line-1", start * SECOND + number * SECOND // 10, SECOND)
    assert rates.rates(SECOND) == {"line-1": pytest.approx(10.0)}
