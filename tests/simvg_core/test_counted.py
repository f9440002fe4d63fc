"""Texts that say how many things they ask for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from simvg_core.answers import assemble
from simvg_core.counted import at_most, limits, uncounted
from simvg_core.edge.grounder import EdgeGrounder
from simvg_core.errors import InputError
from simvg_core.grounder import Grounder

MODEL = Path("models/line-small")
PICTURES = Path("benchmarks/line/val/images")


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("the largest red cap", 1),
        ("Leftmost bolt", 1),
        ("a label closest to the pliers", 1),
        ("the lowest label is crooked", 1),
        ("largest stainless bolt", 1),
        ("two bolts", 2),
        ("both red caps", 2),
        ("the three caps left of the gear", 3),
        ("the two largest caps", 2),
        ("2 bolts", 2),
        ("left-most bolt", 1),
        ("the 10 bolts", 10),
        ("there are two bolts", 2),
        ("are there two bolts?", 2),
        ("are two bolts missing?", 2),
        ("is the largest cap red?", 1),
        ("two six sided bolts", 2),
        ("smallest cap with two holes", 1),
        ("the largest cap left of the gears", 1),
        ("a bolt at an angle nearest to the label", 1),
        ("six sided bolts", None),
        ("six  sided  bolts", None),
        ("a  bolt  at  an  angle  nearest  to  the  label", 1),
        ("alarm if 2 bolts are missing", 2),
        ("is, the largest cap red?", 1),
        ("bolt w/o two washers", None),
        ("label 5", None),
        ("label A 7", None),
        ("bolt left of the largest cap", None),
        ("bolt left of the cap nearest to the gear", None),
        ("missing bolts next to the two caps", None),
        ("missing bolt on the plate with two holes", None),
        ("hole in the largest plate", None),
        ("one bolt is missing", None),
        ("the largest caps", None),
        ("bolts nearest to the plate", None),
        ("missing bolt", None),
        ("red caps", None),
        ("almost closed valve", None),
        ("", None),
    ],
)
def test_words_that_count(text: str, most: int | None) -> None:
    """A number, or an extreme that no plural stands beside; of the thing, not of what it is related to or has."""
    assert at_most(text) == most


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("the two bolts", "the bolts"),
        ("2 bolts", "bolts"),
        ("both of the caps", "caps"),
        ("both  of  the  caps", "caps"),
        ("there are two bolts", "there are bolts"),
        *((text, text) for text in ("Missing bolt", "nearest bolt", "two", "bolt with two holes")),
    ],
)
def test_a_text_without_its_number(text: str, plain: str) -> None:
    """What is looked for where each of several views may show some."""
    assert uncounted(text) == plain


def test_texts_without_a_number_cost_nothing() -> None:
    """None where nobody counts; else a number for each text."""
    assert limits(["missing bolt", "red caps"]) is None
    found = limits(["missing bolt", "two caps", "the largest cap"])
    assert found is not None
    assert found[1:].tolist() == [2, 1]
    assert found[0] > 1_000_000


def test_best_boxes_are_kept() -> None:
    """Of four boxes that do not touch the best one or two; the score of the text stays."""
    boxes = np.array([[[[0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1], [0.3, 0.7, 0.1, 0.1]]] * 3])
    scores = np.array([[[0.6, 0.9, 0.8, 0.2]] * 3], np.float32)
    answers = assemble(
        scores,
        boxes.astype(np.float32),
        [(100, 100)],
        np.float32([[[0.5]]]),
        0.3,
        limits(["cap", "two caps", "largest cap"]),
    )[0]
    assert [answer.scores.tolist() for answer in answers] == [
        pytest.approx([0.9, 0.8, 0.6]), pytest.approx([0.9, 0.8]), pytest.approx([0.9])
    ]  # fmt: skip
    assert answers[2].score == pytest.approx(0.9)
    np.testing.assert_allclose(answers[2].boxes_xyxy_px, [[85, 85, 95, 95]], atol=1e-4)


def test_shipped_model_answers_with_as_many_as_are_asked_for() -> None:
    """With torch and without: one box for an extreme where the boxes of the plain text are several."""
    texts = ["cap", "the largest cap", "two caps"]
    frames = [cv2.imread(str(path)) for path in sorted(PICTURES.iterdir())[:12]]
    told = []
    for grounder in (Grounder.from_pretrained(MODEL), EdgeGrounder(MODEL, threads=1)):
        answers = grounder.ground(frames, texts, thresholds=0.3)
        counts = np.array([[len(one.boxes_xyxy_px) for one in row] for row in answers])
        assert counts[:, 0].max() > 2
        assert counts[:, 1].max() == 1
        assert counts[:, 2].max() == 2
        told.append(counts)
    np.testing.assert_array_equal(*told)


def test_numbers_must_fit_the_texts() -> None:
    """As many as there are texts."""
    grounder = Grounder.from_pretrained(MODEL)
    frame = cv2.imread(str(next(PICTURES.iterdir())))
    pixels = grounder.processor.frames([frame]).pixel_values
    texts = grounder.processor.texts(["cap", "gear"])
    outputs = grounder.model(
        pixels, texts.input_ids, texts.attention_mask, image_index=torch.zeros(2, dtype=torch.long)
    )
    with pytest.raises(InputError, match="3 numbers of boxes for 2 texts"):
        grounder.processor.post_process_grounding(outputs, [(9, 9)] * 2, most=np.ones(3, np.intp))
