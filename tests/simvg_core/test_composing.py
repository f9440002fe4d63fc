"""Answers to parts become answers to whole texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simvg_core import asking
from simvg_core.calibration import calibrated
from simvg_core.composing import Plan, changed, rows_of
from simvg_core.edge.grounder import EdgeGrounder
from simvg_core.grounder import Grounder
from simvg_core.odd_color import COLORS
from simvg_core.training.metrics import summary
from simvg_core.training.rendered import open_for_scoring
from simvg_core.training.scoring import ask_model
from simvg_core.training.sets.sample import Sample

MODEL, VAL = Path("models/line-small"), Path("benchmarks/line/val")
SIDE = 0.06
TEXTS = ["missing bolt", "leftmost cap", "red cap left of the gear", "cap at the top", "gear", "cap next to the label"]
LABELS = ("label",)
"""Kinds whose states cells tell."""
STATES = ["crooked label", "label", "leftmost straight label", "gear next to the crooked label", "the label is crooked"]
ODD = ["cap of the wrong colour", "red cap", "leftmost cap of the wrong colour", "gear next to the wrong color cap"]


def answers(*things: tuple[float, float, float], count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Scores (count,) and boxes (count, 4) of a part: (score, x, y) each, the rest improbable and far off."""
    rows = [*things, *[(0.01, 0.95, 0.95)] * (count - len(things))]
    return np.float32([row[0] for row in rows]), np.float32([[x, y, SIDE, SIDE] for _, x, y in rows])


def composed(
    text: str, *parts: tuple[np.ndarray, np.ndarray], cells: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (Q,) and boxes (Q, 4) of one text, best first; `cells` (P,) log-odds that a label on them lies crooked."""
    plan = Plan.of([text], () if cells is None else LABELS)
    assert plan is not None
    assert len(plan.rows) == len(parts), "answers to each row"
    scores, boxes = (np.stack(group)[None] for group in zip(*parts, strict=True))
    states = None if cells is None else np.float32(cells)[None, None, :, None]
    found, places = (part[0, 0] for part in plan.compose(scores, boxes, 0.3, cells=states))
    order = np.argsort(-found, kind="stable")
    return found[order], places[order]


NOTHING = answers()


def test_the_utmost_is_the_one_that_none_lies_beyond() -> None:
    """Each further thing takes from those behind it; one below even odds takes nothing."""
    caps = answers((0.9, 0.5, 0.5), (0.8, 0.2, 0.7), (0.4, 0.1, 0.1))
    scores, boxes = composed("leftmost cap", caps, NOTHING)
    np.testing.assert_allclose(boxes[0, :2], [0.2, 0.7])
    assert scores[0] == pytest.approx(0.8)
    assert scores[2] == pytest.approx(0.9 * 2 * (1 - 0.8))
    for how, place in {"rightmost": (0.5, 0.5), "topmost": (0.5, 0.5), "lowest": (0.2, 0.7)}.items():
        np.testing.assert_allclose(composed(f"{how} cap", caps, NOTHING)[1][0, :2], place)


def test_large_and_small_are_areas() -> None:
    """Of the boxes."""
    scores, boxes = answers((0.9, 0.3, 0.3), (0.9, 0.6, 0.6))
    boxes[1, 2:] *= 2
    np.testing.assert_allclose(composed("largest cap", (scores, boxes), NOTHING)[1][0, :2], [0.6, 0.6])
    np.testing.assert_allclose(composed("smallest cap", (scores, boxes), NOTHING)[1][0, :2], [0.3, 0.3])


def test_a_place_counts_in_full_inside_and_not_outside() -> None:
    """Between lies a border where a thing is half there."""
    caps = answers((0.9, 0.1, 0.2), (0.9, 0.9, 0.2), (0.8, 0.485, 0.2))
    scores, boxes = composed("cap on the left", caps, NOTHING)
    np.testing.assert_allclose(scores[:3], [0.9, 0.4, 0.0], atol=0.01)
    np.testing.assert_allclose(boxes[0, :2], [0.1, 0.2])
    scores, _ = composed("cap in the upper right corner", caps, NOTHING)
    np.testing.assert_allclose(scores[:2], [0.9, 0.215], atol=0.01)
    scores, _ = composed("cap in the middle", answers((0.9, 0.5, 0.6), (0.9, 0.5, 0.8)), NOTHING)
    np.testing.assert_allclose(scores[:2], [0.9, 0.0], atol=0.01)


@pytest.mark.parametrize(
    ("how", "place"),
    [("left of", (0.3, 0.5)), ("right of", (0.7, 0.5)), ("above", (0.5, 0.3)), ("below", (0.5, 0.7))],
)
def test_a_relation_holds_on_one_side(how: str, place: tuple[float, float]) -> None:
    """The score is at most the thing's own, and the root of the anchor's; what lies on the other sides has none."""
    around = [(0.81, 0.3, 0.5), (0.81, 0.7, 0.5), (0.81, 0.5, 0.3), (0.81, 0.5, 0.7)]
    for anchor, score in ((0.49, 0.7), (0.95, 0.81)):
        scores, boxes = composed(f"red cap {how} the gear", answers(*around), answers((anchor, 0.5, 0.5)))
        np.testing.assert_allclose(boxes[0, :2], place)
        assert scores[0] == pytest.approx(score)
        assert scores[1] <= 0.1  # of the gears that are improbable


def test_any_of_several_anchors_will_do() -> None:
    """ "left of a bolt" is true beside the second bolt as well."""
    scores, _ = composed("cap left of a bolt", answers((0.9, 0.5, 0.5)), answers((0.9, 0.2, 0.5), (0.9, 0.8, 0.5)))
    assert scores[0] == pytest.approx(0.9)


def test_next_to_is_the_nearest_within_reach() -> None:
    """Not one behind another, none at the other end of the frame, and nothing beside itself."""
    caps = answers((0.9, 0.4, 0.5), (0.9, 0.3, 0.5), (0.9, 0.9, 0.9))
    scores, boxes = composed("cap next to the gear", caps, answers((0.9, 0.5, 0.5)))
    np.testing.assert_allclose(boxes[0, :2], [0.4, 0.5])
    np.testing.assert_allclose(scores[:2], [0.9, 0.18], atol=0.01)
    scores, _ = composed("cap near the gear", answers((0.9, 0.1, 0.1)), answers((0.9, 0.9, 0.9)))
    assert scores[0] <= 0.1
    bolts = answers((0.9, 0.5, 0.5), (0.8, 0.6, 0.5))
    scores, boxes = composed("bolt next to the loose bolt", bolts, answers((0.9, 0.5, 0.5)))
    np.testing.assert_allclose(boxes[0, :2], [0.6, 0.5])


def test_a_place_on_a_plate_is_one_of_its_halves() -> None:
    """Wherever the plate lies and however tall it is; beside the plate is not on it."""
    plate = np.float32([0.9, *NOTHING[0][1:]]), np.concatenate([np.float32([[0.3, 0.5, 0.4, 0.9]]), NOTHING[1][1:]])
    bolts = answers((0.9, 0.14, 0.1), (0.8, 0.2, 0.9), (0.7, 0.45, 0.5), (0.6, 0.05, 0.5))
    scores, boxes = composed("bolt on the left side of the plate", bolts, plate)
    np.testing.assert_allclose(scores[:3], [0.9, 0.8, 0.0], atol=0.01)
    np.testing.assert_allclose(boxes[:2, 0], [0.14, 0.2])
    scores, boxes = composed("bolt at the bottom left of the plate", bolts, plate)
    np.testing.assert_allclose((scores[0], boxes[0, 0]), (0.8, 0.2), atol=0.01)
    assert scores[1] <= 0.01


def test_the_utmost_that_is_so_is_the_utmost_of_all() -> None:
    """ "The leftmost cap is red" is not true of a red cap that another lies left of; the box is the red one's."""
    text, rows = "the leftmost cap is red", answers((0.8, 0.2, 0.5), (0.9, 0.7, 0.5))
    scores, boxes = composed(text, rows, answers((0.9, 0.205, 0.5), (0.9, 0.7, 0.5)), NOTHING)
    assert scores[0] == pytest.approx(0.8)
    np.testing.assert_allclose(boxes[0, :2], [0.2, 0.5])
    scores, _ = composed(text, rows, answers((0.9, 0.1, 0.1), (0.9, 0.2, 0.5), (0.9, 0.7, 0.5)), NOTHING)
    assert scores[0] < 0.5


def test_an_extreme_of_what_is_related_or_placed() -> None:
    """The relation first: the topmost cap of all may lie right of the gear."""
    caps = answers((0.9, 0.8, 0.1), (0.9, 0.2, 0.4), (0.9, 0.2, 0.6))
    scores, boxes = composed("topmost cap left of the gear", caps, answers((0.9, 0.5, 0.5)))
    np.testing.assert_allclose(boxes[0, :2], [0.2, 0.4])
    assert scores[0] == pytest.approx(0.9, abs=0.01)
    _, boxes = composed("topmost cap on the left", caps, NOTHING)
    np.testing.assert_allclose(boxes[0, :2], [0.2, 0.4])


def test_where_there_are_more_parts_than_answers_the_whole_is_believed() -> None:
    """Five probable holes: a sixth, further left, would have had no answer."""
    holes = answers(*[(0.9, 0.2 + place / 10, 0.5) for place in range(5)])
    whole = answers((0.7, 0.05, 0.5))
    scores, boxes = composed("leftmost hole", holes, whole)
    np.testing.assert_allclose(boxes[0, :2], [0.05, 0.5])
    assert scores[0] == pytest.approx(0.7)
    holes[0][4] = 0.49
    assert composed("leftmost hole", holes, whole)[0][0] == pytest.approx(0.9)


def test_one_thing_with_two_boxes_is_no_rival_to_itself() -> None:
    """The worse box of a thing counts for nothing."""
    caps = answers((0.9, 0.5, 0.5), (0.8, 0.49, 0.5))
    scores, boxes = composed("leftmost cap", caps, NOTHING)
    assert scores[0] == pytest.approx(0.9)
    np.testing.assert_allclose(boxes[0, :2], [0.5, 0.5])


def test_what_is_no_number_stays_none() -> None:
    """It must not pass for absent."""
    broken = np.float32([np.nan] * 5), np.zeros((5, 4), np.float32)
    for text, parts in {
        "leftmost cap": (broken, NOTHING),
        "cap left of the gear": (NOTHING, broken),
        "cap on the left": (broken, NOTHING),
    }.items():
        assert np.isnan(composed(text, *parts)[0]).any()
    for place in range(len(COLORS) + 1):
        parts = [broken if number == place else NOTHING for number in range(len(COLORS) + 1)]
        assert np.isnan(composed("cap of the wrong colour", *parts)[0]).any()


def test_texts_without_parts_cost_nothing() -> None:
    """No plan at all, and each text is its own row; likewise of models that do not compose."""
    assert Plan.of(["missing bolt", "red cap", "crooked label"], ()) is None
    assert Plan.of(["missing bolt", "red cap", "label"], LABELS) is None
    assert Plan.of(TEXTS, None) is None
    assert rows_of(TEXTS, None) == TEXTS


def test_rows_and_floors_of_several_texts() -> None:
    """An anchor is asked from the square of the floor on. Wholes come last: they are not asked at first."""
    plan = Plan.of(TEXTS[:4], ())
    assert plan is not None
    assert plan.rows == ["missing bolt", "cap", "red cap", "gear", "leftmost cap", "cap at the top"]
    assert plan.first == 4
    assert [rows.tolist() for rows in plan.places] == [[0], [1, 4], [2, 3], [1, 5]]
    floors = plan.floors(np.float32([0.5, 0.8, 0.7, 0.6]))
    np.testing.assert_allclose(floors, [[0.5, 0.8, 0.7, 0.6], [0.25, 0.64, 0.49, 0.36]])
    warm = np.float32([0.1, 0.7, 0.9, 0.4])  # a cap that is warm enough for one of two texts; no gear
    assert plan.reaching(warm, floors).tolist() == [False, False, False, True]
    assert plan.needed(warm, floors).tolist() == [False, True, False, False]
    warm = np.stack([warm, np.float32([0.1, 0.5, 0.7, 0.49])])
    assert plan.reaching(warm, floors)[1].tolist() == [False, False, True, False]
    assert plan.needed(warm, floors).tolist() == [[False, True, False, False], [False, False, True, True]]
    assert plan.reaching(np.full(4, np.nan, np.float32), floors).all()
    apart = Plan.of(TEXTS[:4], (), shared=False)
    assert apart is not None
    assert [rows.tolist() for rows in apart.places] == [[0], [1, 2], [3, 4], [5, 6]]


def test_a_whole_is_asked_where_its_part_may_be_there_more_often() -> None:
    """Only where all answers to the part are likelier than not; of the texts that have the part each its own."""
    plan = Plan.of(TEXTS[:4], ())
    assert plan is not None
    rows = np.array([3, 1])  # gear, cap
    scores = np.float32([[0.9, 0.9, 0.9], [0.9, 0.6, 0.4]])
    assert plan.doubted(scores, rows).tolist() == [], "a gear has no whole, a cap is there twice"
    scores[1, 2] = 0.5
    assert plan.doubted(scores, rows).tolist() == [4, 5]
    assert plan.doubted(scores[:0], rows[:0]).tolist() == []


def test_only_new_rows_are_compiled() -> None:
    """Whatever the order in which texts come and go."""
    assert changed(["cap", "gear"], ["gear", "cap", "bolt"]) == (["bolt"], [1, 0, 2])
    assert changed([], ["cap", "cap"]) == (["cap"], [0, 0])
    assert changed(["cap", "cap", "gear"], ["cap"]) == ([], [1])


unit = st.floats(1 / 64, 63 / 64, width=32)


EACH = [(TEXTS, ()), (ODD, ()), (STATES, LABELS)]
boxes_of = arrays(np.float32, (2, 10, 4, 4), elements=unit)
"""As many rows as the texts of either list have at most."""


@pytest.mark.parametrize(("texts", "kinds"), EACH, ids=["parts", "odd", "states"])
@settings(max_examples=60, deadline=None)
@given(scores=arrays(np.float32, (2, 10, 4), elements=unit), boxes=boxes_of, data=st.data())
def test_texts_do_not_meddle_with_each_other(
    texts: list[str], kinds: tuple[str, ...], scores: np.ndarray, boxes: np.ndarray, data: st.DataObject
) -> None:
    """Each text's answers are those that it has alone, whatever the order and company; and none scores above what its
    rows allow, which is what a gate relies on."""
    plan = Plan.of(texts, kinds)
    assert plan is not None
    count = len(plan.rows)
    scores, boxes = scores[:, :count], boxes[:, :count]
    cells = np.linspace(-3, 3, 50, dtype=np.float32).reshape(2, 1, 25, 1)
    chosen = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, unique=True))
    found, places = plan.compose(scores, boxes, 0.3, chosen, cells)
    for column, text in enumerate(chosen):
        own = plan.places[text]
        alone = Plan(plan.readings[text : text + 1], cells=kinds)
        assert alone.rows == [plan.rows[row] for row in own]
        first, second = alone.compose(scores[:, own], boxes[:, own], 0.3, cells=cells)
        np.testing.assert_array_equal(first[:, 0], found[:, column])
        np.testing.assert_array_equal(second[:, 0], places[:, column])
        best = scores[:, own].max(axis=-1)
        related = "left of" in texts[text] or "next" in texts[text]
        if "wrong" in texts[text]:
            odd = np.partition(best[:, -9:-1], -2, axis=-1)[:, -2]
            allowed = np.minimum(best[:, 0], np.sqrt(odd)) if related else odd
        else:
            allowed = np.minimum(best[:, 0], np.sqrt(best[:, 1])) if related else best.max(axis=1)
        assert (found[:, column].max(axis=-1) <= allowed + 1e-6).all()


@pytest.mark.parametrize(("texts", "kinds"), EACH, ids=["parts", "odd", "states"])
@settings(max_examples=60, deadline=None)
@given(
    scores=arrays(np.float32, (10, 2), elements=unit),
    boxes=arrays(np.float32, (10, 2, 4), elements=unit),
    floors=arrays(np.float32, (6,), elements=unit),
)
def test_what_does_not_matter_scores_less_than_its_floor(
    texts: list[str], kinds: tuple[str, ...], scores: np.ndarray, boxes: np.ndarray, floors: np.ndarray
) -> None:
    """So its answers need not be put together: one part of it is too improbable, and no whole is asked in its place."""
    plan = Plan.of(texts, kinds)
    assert plan is not None
    scores, boxes, floors = scores[: len(plan.rows)], boxes[: len(plan.rows)], floors[: len(texts)]
    matter = plan.matter(scores, np.arange(len(scores)), plan.floors(floors))
    cells = np.linspace(-3, 3, 25, dtype=np.float32).reshape(1, 1, 25, 1)
    best = plan.compose(scores[None], boxes[None], 0.3, cells=cells)[0][0].max(axis=-1)
    assert (best[~matter] < floors[~matter] * (1 + 1e-6)).all()
    assert plan.matter(np.full_like(scores, np.nan), np.arange(len(scores)), plan.floors(floors)).all()


def test_a_part_that_is_there_too_often_matters_for_its_whole() -> None:
    """Though no single answer to it reaches the floor: the whole's may."""
    plan = Plan.of(["leftmost cap"], ())
    assert plan is not None
    least = plan.floors(np.float32([0.7]))
    assert plan.matter(np.float32([[0.6, 0.5]]), np.array([0]), least).tolist() == [True]
    assert plan.matter(np.float32([[0.6, 0.4]]), np.array([0]), least).tolist() == [False]
    assert plan.matter(np.float32([[0.7, 0.4], [0.9, 0.9]]), np.array([0, 1]), least).tolist() == [True]
    assert plan.matter(np.zeros((0, 2), np.float32), np.zeros(0, np.intp), least).tolist() == [False]


@pytest.fixture(scope="module")
def faces() -> tuple[Grounder, EdgeGrounder]:
    """The shipped model, with torch and without."""
    return Grounder.from_pretrained(MODEL), EdgeGrounder(MODEL, threads=1)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [cv2.imread(str(path)) for path in sorted((VAL / "images").iterdir())[:8]]


def test_both_engines_compose_alike(faces: tuple[Grounder, EdgeGrounder], frames: list[np.ndarray]) -> None:
    """Scores within 1e-3, the same boxes, in the order of the texts."""
    texts = [*TEXTS, *ODD, *STATES]
    first, second = (face.ground(frames, texts, 0.05) for face in faces)
    for row, other in zip(first, second, strict=True):
        for one, two in zip(row, other, strict=True):
            assert one.score == pytest.approx(two.score, abs=1e-3)
            assert one.state == two.state
            np.testing.assert_allclose(one.boxes_xyxy_px, two.boxes_xyxy_px, atol=0.5)


@pytest.mark.parametrize("face", [0, 1], ids=["torch", "graphs"])
def test_texts_come_and_go_with_their_parts(
    face: int, faces: tuple[Grounder, EdgeGrounder], frames: list[np.ndarray]
) -> None:
    """After additions and removals the answers are those of a set compiled at once."""
    grounder = faces[face]
    compiled = grounder.compile(TEXTS[:3])
    compiled.add(TEXTS[3:]).remove(["leftmost cap", 0]).add("lowest hole")
    assert list(compiled.texts) == [*TEXTS[2:], "lowest hole"]
    anew = grounder.compile(compiled.texts)
    for row, other in zip(grounder.ground(frames, compiled, 0.3), grounder.ground(frames, anew, 0.3), strict=True):
        assert [one.state for one in row] == [one.state for one in other]
        np.testing.assert_allclose([one.score for one in row], [one.score for one in other], atol=1e-5)
    compiled.remove(compiled.texts)
    assert len(compiled) == 0
    assert compiled.num_bytes < anew.num_bytes
    assert grounder.ground(frames[:1], compiled) == [[]]


@pytest.mark.parametrize("gate_queries", [1, 64], ids=["gate", "no gate"])
@pytest.mark.parametrize("face", [0, 1], ids=["torch", "graphs"])
def test_wholes_are_asked_of_the_frames_that_need_them(
    face: int,
    gate_queries: int,
    faces: tuple[Grounder, EdgeGrounder],
    frames: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Answers are those that come of all rows, though most frames are asked no whole."""
    grounder, texts = faces[face], ["hole at the top", "leftmost hole", "red cap", "lowest bolt", "bolt on the left"]
    plan = Plan.of(texts, grounder.config.composing)
    assert plan is not None
    wholes: list[int] = []

    def told(plan: Plan, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        found = doubted(plan, scores, rows)
        wholes.append(len(found))
        return found

    doubted = Plan.doubted
    monkeypatch.setattr(Plan, "doubted", told)
    if isinstance(grounder, Grounder):
        monkeypatch.setattr(grounder.config, "gate_queries", gate_queries)
    else:
        monkeypatch.setattr(grounder, "_config", replace(grounder.config, gate_queries=gate_queries))
    answers = grounder.ground(frames, texts, 0.3)
    assert len(wholes) == len(frames)
    assert 0 < sum(map(bool, wholes)) <= len(frames) / 2
    if isinstance(grounder, Grounder):
        with torch.inference_mode():
            seen = asking.see(grounder.model, grounder.processor.frames(frames).pixel_values)
            found = asking.ask(grounder.model, grounder.compile_rows(plan.rows).texts, seen)
        scores, boxes = calibrated(found.logits, grounder.config).numpy(), found.boxes.numpy()
    else:
        scores, boxes = grounder._together.ask(grounder.encode_frames(frames), grounder.compile_rows(plan.rows))
    expected = plan.compose(scores, boxes, grounder.config.nms_iou)[0].max(axis=-1)
    given = np.array([[one.score for one in row] for row in answers])
    sure = expected > 0.3
    assert sure.sum() > 8
    np.testing.assert_allclose(given[sure], expected[sure], atol=1e-4)
    assert (given[~sure] < 0.3).all()


def test_the_gate_changes_no_composed_answer(faces: tuple[Grounder, EdgeGrounder], frames: list[np.ndarray]) -> None:
    """A hundred texts of which the gate lets a few pass: whatever reaches a floor has the same boxes without it, in
    both engines."""
    nouns = ["cap", "bolt", "gear", "label", "connector", "washer", "hole", "nut", "stain", "scratch"]
    texts = [f"{noun} {how}" for noun in nouns for how in ("left of the label", "at the top", "next to the gear")]
    texts += [f"{how} {noun}" for noun in nouns for how in ("leftmost", "largest", "lowest")] + nouns + ODD + STATES
    present = asked = 0
    for face in faces:
        gated = face.compile(texts)
        assert face.gate_texts is not None
        assert len(texts) >= face.gate_texts
        for frame in frames[:4]:
            row = face.ground([frame], gated, 0.5)[0]
            alone = face.ground([frame], texts[:60], 0.5)[0] + face.ground([frame], texts[60:], 0.5)[0]
            for one, two in zip(row, alone, strict=True):
                assert one.state == two.state
                np.testing.assert_allclose(one.boxes_xyxy_px, two.boxes_xyxy_px, atol=0.5)
                present, asked = present + (one.state == "present"), asked + one.asked
    assert present > 40
    assert asked < 2 * 4 * len(texts)


def test_words_that_only_the_rules_know_may_be_used(faces: tuple[Grounder, EdgeGrounder]) -> None:
    """ "beside" was never said in training, and need not be; a part must be of known words."""
    for face in faces:
        assert face.complaint("red cap beside the gear") is None
        assert face.unknown_words("uppermost cap in the lower part of the image") == []
        assert face.unknown_words("red flux left of the gizmo") == ["flux", "gizmo"]
        assert "flux" in (face.complaint("red cap beside the flux") or "")
        assert face.cut_words("red cap left of the gear") == ""


def test_the_shipped_model_finds_what_places_relations_and_extremes_mean(faces: tuple[Grounder, EdgeGrounder]) -> None:
    """Better in parts than whole, on the benchmark's own questions about 60 pictures."""
    whole, in_parts = whole_and_in_parts(faces[0], lambda one: one.kind in ("relation", "superlative"))
    assert in_parts["p_at_05"] > whole["p_at_05"] + 3
    assert in_parts["pr_f1"] > whole["pr_f1"] + 10


def test_the_shipped_model_finds_the_wrong_colour(faces: tuple[Grounder, EdgeGrounder]) -> None:
    """Far more often by comparing colours than by the text as a whole, on the benchmark's own questions."""
    whole, in_parts = whole_and_in_parts(faces[0], lambda one: one.noun == "wrong_cap")
    assert in_parts["pr_f1"] > whole["pr_f1"] + 20
    assert in_parts["t_acc"] > whole["t_acc"] + 30
    assert in_parts["n_acc"] > 90


def test_the_shipped_model_tells_crooked_labels_by_cells(faces: tuple[Grounder, EdgeGrounder]) -> None:
    """More of them than by their texts, with fewer false ones, on the benchmark's own questions."""
    whole, in_parts = whole_and_in_parts(faces[0], lambda one: one.noun in ("crooked_label", "straight_label"))
    assert in_parts["pr_f1"] > whole["pr_f1"] + 3
    assert in_parts["auc"] > whole["auc"] + 0.01
    assert in_parts["n_acc"] >= whole["n_acc"]


def whole_and_in_parts(grounder: Grounder, wanted: Callable[[Sample], bool]) -> list[dict[str, Any]]:
    """Scores on the questions about 60 pictures of which a model is asked texts whole, and in parts."""
    opened = open_for_scoring(VAL)
    samples = [one for one in opened.samples() if wanted(one)]
    images = sorted({one.image for one in samples})[:60]
    samples = [one for one in samples if one.image in images]
    found = []
    for composes in (False, True):
        grounder.config.composed_answers = composes
        outcomes = ask_model(grounder.model, grounder.processor, samples, opened.task, branches=["token"])
        found.append(summary(outcomes.outcomes["token"], grounder.config.score_threshold))
    return found
