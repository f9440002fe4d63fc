"""Short names for why a picture cannot be judged, of the sentences that are really said."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from prometheus_client import REGISTRY

from consumers.grounding.findings import Finding
from consumers.grounding.scoring import in_numbers
from consumers.grounding.unknown import OTHER, SAID, count, expect, kind
from consumers.grounding.vision import VisionLimits, look, sample
from infra.contracts import QueryResult, State
from simvg_core.answers import NO_NUMBER
from simvg_core.quality import QualityLimits, frame_problem
from tests.simvg_core.test_quality import Pixels, scene, spoilt

SECOND = 1_000_000_000


def _seen(*captured_s: int, late_s: int = 0) -> str | None:
    """What is said of the last of equal pictures, captured at these seconds and published so much later."""
    sight, said = None, None
    for at in captured_s:
        captured_ns, published_ns = at * SECOND, (at + late_s) * SECOND
        limits = VisionLimits(frozen_s=5.0, stale_s=10.0)
        sight, said = look(sight, sample(scene()), captured_ns=captured_ns, published_ns=published_ns, limits=limits)
    return said


def _spoilt(how: Callable[[Pixels], object]) -> str | None:
    return frame_problem(spoilt(how), QualityLimits(drag=0.1))


SENTENCES: dict[str, Callable[[], str | None]] = {
    "black": lambda: _spoilt(lambda f: f * 0.02),
    "blown_out": lambda: _spoilt(lambda f: f.astype(np.float32) + 240),
    "flat": lambda: _spoilt(lambda f: f * 0.01 + 90),
    "blurred": lambda: _spoilt(lambda f: cv2.GaussianBlur(f, (0, 0), 16)),
    "dragged": lambda: _spoilt(lambda f: cv2.blur(f, (60, 1))),
    "too_small": lambda: _spoilt(lambda f: f[:8]),
    "frozen": lambda: _seen(*range(10)),
    "stale": lambda: _seen(1, late_s=60),
    "no_number": lambda: in_numbers(Finding(State.ABSENT, float("nan"))).reason,
}


@pytest.mark.parametrize("name", SAID)
def test_every_reason_has_its_name(name: str) -> None:
    """By the sentences of the programs that judge pictures; each of them is tried."""
    said = SENTENCES[name]()
    assert said is not None
    assert kind(said) == name


def test_a_model_that_says_so_itself_gave_no_number() -> None:
    """The model's own sentence has the short name of the worker's, which says it of any other engine."""
    assert kind(NO_NUMBER) == "no_number"


def test_reason_that_is_not_known_is_other() -> None:
    """A model's own words make no series of their own."""
    assert kind("lens fell off at 12:03") == kind(None) == OTHER


def test_frame_counts_once_a_reason() -> None:
    """However many queries were unknown for it; every series of a camera begins at 0."""
    expect("u-1")
    said = ("frame is black (99 % …)", "frame is black (98 % …)", "frame is stale (…)")
    results = [QueryResult(query_id="q", revision=1, state=State.UNKNOWN, score=None, reason=one) for one in said]
    count("u-1", [QueryResult(query_id="q", revision=1, state=State.ABSENT, score=0.1), *results])
    count("u-1", [])
    names = (*SAID, OTHER)
    found = [
        REGISTRY.get_sample_value("simvg_worker_frames_unknown_total", {"camera": "u-1", "reason": name})
        for name in names
    ]
    assert dict(zip(names, found, strict=True)) == dict.fromkeys(names, 0.0) | {"black": 1.0, "stale": 1.0}
