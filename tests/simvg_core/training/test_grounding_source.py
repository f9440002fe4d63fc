"""Data sets of expressions as batches."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError
from simvg_core.training.data import DataError
from simvg_core.training.grounding_source import GroundingSource, SampleBatchMaker
from simvg_core.training.jitter import JitterSettings
from simvg_core.training.sets.open import open_set
from simvg_core.training.settings import SetSettings, TrainSettings
from simvg_core.training.tokenizer import build_tokenizer
from simvg_core.words import FastPieces

PIECES = FastPieces(build_tokenizer())


def config(**fields: Any) -> SimVGConfig:
    """A toy with our tokenizer."""
    return SimVGConfig.tiny(tokenizer="fast", vocab_size=PIECES.tokenizer.get_vocab_size(), **fields)


def source(folder: Path, step_size: int = 4, **fields: Any) -> GroundingSource:
    """Over a set on disk."""
    settings = TrainSettings(sets=(SetSettings(path=str(folder)),), max_steps=1)
    return GroundingSource([open_set(folder)], config(**{"num_queries": 3, **fields}), PIECES, settings, step_size)


def test_an_epoch_asks_for_every_thing_once(worded_set: Path) -> None:
    """In an order of its own, the same for the same seed."""
    one = source(worded_set, step_size=3)
    first, second = one.round(0, 0.0), one.round(1, 0.0)
    names = [name for _, part in first for name in part]
    assert len(set(names)) == len(names) == one.epoch_steps * 3  # type: ignore[operator]
    assert first != second and first == source(worded_set, step_size=3).round(0, 0.0)


def test_a_thing_is_asked_for_in_other_words_over_the_epochs(worded_set: Path) -> None:
    """Each of its expressions comes up, in no other epoch's order."""
    one = source(worded_set)
    several = next(index for index, group in enumerate(one.things) if len(group) > 1)
    texts = {one.sample(several, epoch).text for epoch in range(30)}
    assert texts == {sample.text for sample in one.things[several]}


def test_expressions_without_a_target_stand_alone(worded_set: Path) -> None:
    """Two absent things are not one thing."""
    one = source(worded_set)
    empty = [group for group in one.things if not group[0].boxes_xyxy_px]
    assert len(empty) == 8 and all(len(group) == 1 for group in empty)


@pytest.mark.parametrize(("overflow", "unread"), [("error", 1), ("truncate", 0)])
def test_what_the_model_cannot_read_is_left_out_and_counted(
    overflow: str, unread: int, worded_set: Path, tmp_path: Path
) -> None:
    """What is too long where the model refuses that; a run goes through the others, as an evaluation does."""
    document = json.loads((worded_set / "annotations.json").read_text())
    document["expressions"][0]["text"] = "red cap " * 30
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    (tmp_path / "images").symlink_to(worded_set / "images")
    one = source(tmp_path, text_overflow=overflow)
    assert one.left_out["text the model cannot read"] == unread
    assert sum(map(len, one.things)) == len(document["expressions"]) - unread
    for samples in one.things:
        one.make((samples, 0))


@pytest.mark.parametrize(("answers", "over"), [(2, 5), (4, 1), (5, 0)])
def test_targets_that_no_answer_is_left_for_are_counted(
    answers: int, over: int, worded_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are taught as far as the answers go; a set whose boxes are alternatives asks for one at a time."""
    document = json.loads((worded_set / "annotations.json").read_text())
    one = document["annotations"][0]
    document["annotations"] += [one | {"id": f"more-{number}"} for number in range(4)]
    several = next(row for row in document["expressions"] if len(row["annotation_ids"]) == 2)
    several["annotation_ids"] = [0, *(f"more-{number}" for number in range(3))]  # 4 targets
    document["expressions"].append(
        several | {"id": "another", "annotation_ids": [*several["annotation_ids"], "more-3"]}
    )
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    (tmp_path / "images").symlink_to(worded_set / "images")
    made = source(tmp_path, num_queries=answers)
    name = "target beyond the num_queries answers of its expression"
    assert made.left_out == ({name: over} if over else {})
    assert sum(map(len, made.things)) == len(document["expressions"])
    assert (f"(num_queries={answers}; the first: " in caplog.text) == bool(over)


def test_sets_without_a_usable_sample_are_refused(worded_set: Path, tmp_path: Path) -> None:
    """With what was left out."""
    document = json.loads((worded_set / "annotations.json").read_text())
    document["expressions"] = [document["expressions"][0] | {"text": "red cap " * 30}]
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    (tmp_path / "images").symlink_to(worded_set / "images")
    with pytest.raises(
        DataError, match=r"no usable sample \(left out: 1 text the model cannot read\); check their paths"
    ):
        source(tmp_path, text_overflow="error")


def test_a_small_set_fills_a_step_by_repeating(worded_set: Path) -> None:
    """A step is never smaller than asked for."""
    one = source(worded_set, step_size=1000)
    assert one.epoch_steps == 1
    assert len(one.round(0, 0.0)[0][1]) == 1000


@pytest.mark.parametrize("jitter", [None, JitterSettings()], ids=["plain", "jittered"])
def test_a_batch_fits_together(worded_set: Path, jitter: JitterSettings | None) -> None:
    """Pictures, texts and boxes agree in number; boxes lie in the picture; the maker works in another process."""
    samples = open_set(worded_set).samples()[:5]
    maker = pickle.loads(pickle.dumps(SampleBatchMaker(config(), PIECES, jitter, 1)))
    batch = maker((samples, 0))
    assert batch.pixels.shape == (5, 96, 96, 3)
    assert batch.input_ids.shape == (5, 20)
    for boxes, sample in zip(batch.boxes, samples, strict=True):
        assert boxes.shape == (len(sample.boxes_xyxy_px), 4)
        assert (boxes[:, :2] - boxes[:, 2:] / 2 >= -1e-6).all() and (boxes[:, :2] + boxes[:, 2:] / 2 <= 1 + 1e-6).all()


def test_boxes_follow_the_picture_to_the_network(tmp_path: Path) -> None:
    """A bright square stays under its box through reading, jitter and resizing."""
    frame = np.zeros((60, 90, 3), np.uint8)
    frame[20:40, 30:60] = 255
    cv2.imwrite(str(tmp_path / "square.png"), frame)
    from simvg_core.training.sets.sample import Sample

    sample = Sample(
        id="a", image=tmp_path / "square.png", image_id="1", text="label", boxes_xyxy_px=((30, 20, 60, 40),), width=90,
        height=60,
    )  # fmt: skip
    maker = SampleBatchMaker(config(), PIECES, JitterSettings(), 1)
    for epoch in range(20):
        batch = maker(([sample], epoch))
        cx, cy, w, h = batch.boxes[0][0] * 96
        bright = batch.pixels[0, :, :, 0] > 127
        rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        np.testing.assert_allclose([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], seen, atol=4)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"no picture"),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: cv2.imwrite(str(path), np.zeros((60, 90, 3), np.uint8)),
    ],
    ids=["missing", "garbage", "cut off", "another size"],
)
def test_expressions_of_a_broken_picture_are_left_out_and_counted(
    harm: Callable[[Path], object], worded_set: Path, tmp_path: Path
) -> None:
    """The run goes on with the others, as docs/data.md says."""
    folder = shutil.copytree(worded_set, tmp_path / "mine")
    harm(sorted((folder / "images").iterdir())[2])
    one = source(folder)
    assert one.left_out == {"image missing, broken or of another size": 4}
    assert sum(map(len, one.things)) == 7 * 4
    for samples in one.things:
        one.make((samples, 0))


def test_a_picture_of_another_size_than_its_boxes_are_for_is_refused(worded_set: Path) -> None:
    """Also one that changed after the set was opened: the boxes would be scaled wrongly."""
    sample = replace(open_set(worded_set).samples()[0], width=90, height=60)
    with pytest.raises(DataError, match=r"sample .* its annotation says 90×60; use the picture that the boxes were"):
        SampleBatchMaker(config(), PIECES, None, 1)(([sample], 0))


def test_a_missing_picture_names_the_sample(worded_set: Path) -> None:
    """And the file."""
    sample = replace(open_set(worded_set).samples()[0], image=Path("gone.jpg"))
    with pytest.raises(DataError, match=r"sample .*: gone\.jpg cannot be read \(No such file.*simvg data check"):
        SampleBatchMaker(config(), PIECES, None, 1)(([sample], 0))


def test_several_boxes_need_a_model_with_several_answers(worded_set: Path) -> None:
    """One answer cannot say two things."""
    with pytest.raises(ConfigurationError, match="a model with num_queries=1 gives one; use more"):
        source(worded_set, num_queries=1)
