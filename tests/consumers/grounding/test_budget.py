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

    def ground(self, views: Sequence[Pixels], texts: Sequence[Mapping[str, float]]) -> list[dict[str, Finding]]:
        self.now += sum(0.02 + 0.001 * len(words) for words in texts) + (1.0 if self.slow_rounds > 0 else 0.0)
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
    book.learn(1, 2, 6, 0.1, saturated=False)
    assert book.prices == Prices(pass_s=0.05, pair_s=0.0)


@given(st.floats(0.3, 3.0), st.floats(0.0, 0.05))
def test_real_batches_correct_the_prices(truth: float, frame_s: float) -> None:
    """In a worker that never waits they end at what a batch really takes, frames and views told apart."""
    book = PriceBook(PRICES)
    for number in range(150):
        frames, views, pairs = 1 + number % 2, 1 + number % 4 + number % 2, 7
        took = frames * frame_s + truth * PRICES.seconds(0, views, pairs)
        book.learn(frames, views, pairs, took, saturated=True)
    assert book.prices is not None
    assert book.prices.pass_s == pytest.approx(truth * PRICES.pass_s, rel=0.1)
    assert book.prices.seconds(2, 4, 7) == pytest.approx(2 * frame_s + truth * PRICES.seconds(0, 4, 7), rel=0.05)


def test_batches_that_do_not_tell_leave_the_model_as_calibrated() -> None:
    """When all are alike what they take more than expected is shared out, and their own cost is right."""
    book = PriceBook(PRICES)
    for _ in range(100):
        book.learn(2, 2, 2, 0.1, saturated=True)
    assert book.prices is not None and book.prices.seconds(2, 2, 2) == pytest.approx(0.1, rel=0.02)
    assert PRICES.pass_s < book.prices.pass_s < 0.05 and book.prices.frame_s > 0.0


def test_a_worker_that_waits_learns_only_downward() -> None:
    """A batch that is not full is no measure of what a full one costs, unless it is cheaper even so."""
    book = PriceBook(PRICES)
    book.learn(1, 1, 1, 10 * PRICES.seconds(1, 1, 1), saturated=False)
    assert book.prices == PRICES
    for _ in range(20):
        book.learn(1, 1, 1, 0.5 * PRICES.seconds(1, 1, 1), saturated=False)
    assert book.prices is not None and book.prices.pass_s == pytest.approx(0.5 * PRICES.pass_s, rel=0.05)


def test_one_stalled_batch_says_little() -> None:
    """Among others, one of minutes counts as one that took a few times longer; one without a look teaches nothing."""
    book = PriceBook(PRICES)
    for _ in range(50):
        book.learn(1, 1, 1, PRICES.seconds(1, 1, 1), saturated=True)
    book.learn(1, 1, 1, 600.0, saturated=True)
    book.learn(1, 0, 0, 1.0, saturated=True)
    assert book.prices is not None
    assert book.prices.seconds(1, 1, 1) == pytest.approx(PRICES.seconds(1, 1, 1), rel=0.05 * JUMP)


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
