"""What an engine is asked about a batch, and how its answers are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from consumers.grounding.decode import DecodePool, in_full
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from consumers.grounding.plan import Plan
from consumers.grounding.scoring import Question, Scorer
from infra.contracts import StandingQuery, State
from tests.consumers.grounding.colour import ColourEngine
from tests.consumers.grounding.conftest import HEIGHT, WIDTH, picture
from tests.consumers.grounding.test_asking import PIXELS
from tests.consumers.grounding.test_mailbox import frame, shown

LEFT = (0.0, 0.0, 0.5, 1.0)


class Gated(ColourEngine):
    """Its gate answers for "green"; tells what it was asked."""

    asked: Sequence[Mapping[str, float]] = ()
    gate_texts = 2

    def ground(self, views: Sequence[Pixels], texts: Sequence[Mapping[str, float]]) -> list[dict[str, Finding]]:
        self.asked = texts
        gated = Finding(State.ABSENT, 0.05, asked=False)
        return [
            {text: gated if text == "green" else one for text, one in row.items()}
            for row in super().ground(views, texts)
        ]


def looks(*queries: Mapping[str, Any]) -> Any:
    now = datetime.now(UTC)
    made = [StandingQuery(id=f"q-{n}", created=now, changed=now, **fields) for n, fields in enumerate(queries)]
    return Plan(1, {query.id: query for query in made}).looks("line-1")


def pairs(outcome: str) -> float:
    return REGISTRY.get_sample_value("simvg_worker_pairs_total", {"outcome": outcome}) or 0.0


def test_a_text_is_asked_from_the_lowest_score_on_that_any_query_cares_for() -> None:
    """Per view; what an alarm clears below, by default a tenth under what raises it."""
    engine = Gated()
    engine.compile(["red", "green"])
    asked = looks(
        {"text": "red", "raise_threshold": 0.9},
        {"text": "red", "raise_threshold": 0.95, "clear_threshold": 0.3},
        {"text": "red", "raise_threshold": 0.6, "region": LEFT},
        {"text": "green"},
    )
    Scorer(engine).score([Question(shown(PIXELS), asked)])
    whole, left = engine.asked
    assert whole == {"red": 0.3, "green": pytest.approx(0.4)}
    assert left == {"red": pytest.approx(0.5)}


def test_what_the_gate_answered_is_counted_and_costs_no_pair() -> None:
    """The prices of queries are those of the ones that were asked."""
    engine = Gated()
    engine.compile(["red", "green"])
    before = pairs("asked"), pairs("gated")
    asked = looks({"text": "red"}, {"text": "green"})
    scores = Scorer(engine).score([Question(shown(PIXELS, n), asked) for n in range(2)])
    assert (scores.views, scores.pairs, scores.gate) == (2, 2, (2, 4))
    assert (pairs("asked") - before[0], pairs("gated") - before[1]) == (2, 2)
    assert [row["q-1"].state for row in scores.answers if isinstance(row, dict)] == [State.ABSENT] * 2


def test_frames_looked_at_as_a_whole_are_kept_as_large_as_the_model_sees_them() -> None:
    """Queries with regions get every pixel, also where they came after the frame was decoded."""
    engine = ColourEngine()
    engine.halves = True
    pool = DecodePool(1, 10_000_000, engine.reduced)
    engine.compile(["red"])
    large = replace(frame("line-1", 0, size=(WIDTH, HEIGHT)), image=picture(("red", (40, 30, 60, 50))))
    asked = looks({"text": "red"}, {"text": "red", "region": LEFT})
    try:
        full, small = (pool.submit(large, whole).result(10) for whole in (False, True))
    finally:
        pool.close()
    assert (full.pixels.shape, small.pixels.shape) == ((HEIGHT, WIDTH, 3), (HEIGHT // 2, WIDTH // 2, 3))
    np.testing.assert_array_equal(full.sample, small.sample)  # noise tells a living camera: no mean of it
    np.testing.assert_array_equal(in_full(small), full.pixels)
    assert in_full(full) is full.pixels
    for given, views in ((asked[:1], [(WIDTH // 2, HEIGHT // 2)]), (asked, [(WIDTH, HEIGHT), (WIDTH // 2, HEIGHT)])):
        engine.views.clear()
        (answer,) = Scorer(engine).score([Question(small, given)]).answers
        assert isinstance(answer, dict)
        assert engine.views == views
        assert answer["q-0"].state is State.PRESENT


def test_a_view_of_a_few_pixels_is_unknown_and_says_why() -> None:
    """The other queries of the frame are answered."""
    engine = ColourEngine()
    engine.compile(["red"])
    asked = looks({"text": "red"}, {"text": "red", "region": (0.5, 0.5, 0.5001, 0.5001)})
    (answer,) = Scorer(engine).score([Question(shown(PIXELS), asked)]).answers
    assert isinstance(answer, dict)
    assert answer["q-0"].state is State.PRESENT
    assert (answer["q-1"].state, answer["q-1"].score) == (State.UNKNOWN, None)
    assert "view of 1×1 pixels is too small" in (answer["q-1"].reason or "")
