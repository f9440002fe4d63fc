"""From scores and boxes to answers, for any number of texts at once."""

import numpy as np
import pytest

from simvg_core.answers import NO_NUMBER, Grounding, assemble, overlaps


def _greedy(boxes: np.ndarray, scores: np.ndarray, max_iou: float | None) -> list[int]:
    """The rule, box by box: the best one first, and none that overlaps one already taken."""
    taken: list[int] = []
    for place in sorted(range(len(scores)), key=lambda place: -scores[place]):
        crowded = overlaps(boxes)[place]
        if max_iou is None or all(crowded[other] <= max_iou for other in taken):
            taken.append(place)
    return taken


def test_no_texts_and_no_frames() -> None:
    """Nothing in, nothing out."""
    floor = np.zeros((1, 0, 1), np.float32)
    assert assemble(np.zeros((2, 0, 3), np.float32), np.zeros((2, 0, 3, 4)), [(9, 9)] * 2, floor, 0.3) == [[], []]
    assert assemble(np.zeros((0, 0, 3), np.float32), np.zeros((0, 0, 3, 4)), [], floor, None) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["score", "box"])
def test_answer_that_is_no_number_is_unknown_alone(value: float, where: str) -> None:
    """One number of one text that is none makes that text unknown in that frame, not absent, and no other."""
    scores = np.full((2, 3, 2), 0.9, np.float32)
    boxes = np.full((2, 3, 2, 4), 0.5, np.float32)
    (scores if where == "score" else boxes[..., 3])[1, 2, 0] = value
    answers = assemble(scores, boxes, [(10, 10)] * 2, np.full((1, 3, 1), 0.5, np.float32), None)
    states = [[Grounding.of(answer).state for answer in row] for row in answers]
    assert states == [["present"] * 3, ["present", "present", "unknown"]]
    unknown = Grounding.of(answers[1][2])
    assert (unknown.score, unknown.boxes_xyxy_px, unknown.reason) == (None, (), NO_NUMBER)


@pytest.mark.parametrize("max_iou", [None, 0.0, 0.3], ids=["all kept", "none may touch", "some overlap"])
def test_many_texts_are_answered_like_one_after_the_other(max_iou: float | None) -> None:
    """Threshold, merging and order of each text are those of the rule, whatever stands beside it."""
    rng = np.random.default_rng(3)
    scores = rng.random((2, 40, 5)).astype(np.float32)
    boxes = rng.uniform(0.1, 0.7, (2, 40, 5, 4)).astype(np.float32)
    boxes[0, :3, :2, 2:] = 0  # without area
    floor = rng.random((1, 40, 1)).astype(np.float32)
    answers = assemble(scores, boxes, [(100, 200), (50, 50)], floor, max_iou)
    states = set()
    for frame, (height, width) in enumerate([(100, 200), (50, 50)]):
        for text in range(40):
            low = boxes[frame, text, :, :2] - boxes[frame, text, :, 2:] / 2
            corners = np.concatenate([low, low + boxes[frame, text, :, 2:]], axis=1)
            corners = (corners * np.tile([width, height], 2)).clip(0, np.tile([width, height], 2))
            good = (scores[frame, text] >= floor[0, text]) & (boxes[frame, text, :, 2] > 0)
            wanted = _greedy(corners[good], scores[frame, text][good], max_iou)
            answer = answers[frame][text]
            np.testing.assert_allclose(answer.boxes_xyxy_px, corners[good][wanted].reshape(-1, 4), atol=1e-4)
            np.testing.assert_allclose(answer.scores, scores[frame, text][good][wanted])
            assert answer.score == pytest.approx(scores[frame, text].max())
            states.add(len(wanted))
    assert {0, 1} <= states and max(states) > 1


def test_overlaps_of_two_sets_are_those_of_both_together() -> None:
    """Of each with each of others, whatever stands before the last two axes."""
    rng = np.random.default_rng(2)
    low = rng.random((2, 3, 7, 2), dtype=np.float32)
    boxes = np.concatenate([low, low + rng.random((2, 3, 7, 2), dtype=np.float32)], axis=-1)
    assert np.array_equal(overlaps(boxes[..., :3, :], boxes[..., 3:, :]), overlaps(boxes)[..., :3, 3:])
    one, other = np.array([[0, 0, 2, 2]], np.float32), np.array([[1, 1, 3, 3], [5, 5, 6, 6]], np.float32)
    assert overlaps(one, other).tolist() == [[pytest.approx(1 / 7, abs=1e-6), 0]]
