"""Asking toy models about small sets."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from simvg_core.configuration import SimVGConfig
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.training.data import DataError
from simvg_core.training.metrics import Outcome
from simvg_core.training.rendered import RenderedSet, open_for_scoring
from simvg_core.training.scoring import ask_model, branches_of
from simvg_core.training.sets.errors import SetError
from simvg_core.training.sets.pictures import BROKEN_PICTURE
from simvg_core.training.sets.sample import Sample
from simvg_core.training.tokenizer import build_tokenizer
from simvg_core.words import FastPieces


def toy(attention: str, **fields: object) -> tuple[SimVGForGrounding, SimVGProcessor]:
    """A small model with random weights and the line's words."""
    config = SimVGConfig.tiny(
        attention=attention, vocab_size=1024, tokenizer="fast", num_queries=3, text_overflow="error", **fields
    )
    return SimVGForGrounding(config), SimVGProcessor(config, FastPieces(build_tokenizer()))


@pytest.fixture
def samples(drawn_set: Path) -> list[Sample]:
    """Questions about three pictures, mixed."""
    found = [sample for sample in RenderedSet(drawn_set).samples() if sample.image_id in ("000000", "000001", "000002")]
    return [found[place] for place in np.random.default_rng(0).permutation(len(found))][:12]


def same(first: list[Outcome], second: list[Outcome]) -> None:
    """Both say the same."""
    assert [one.text for one in first] == [one.text for one in second]
    assert [one.image for one in first] == [one.image for one in second]
    for one, other in zip(first, second, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=2e-2)
        np.testing.assert_array_equal(one.truth, other.truth)


@pytest.mark.parametrize("attention", ["joint", "standing"])
def test_many_together_are_answered_as_one_by_one(attention: str, samples: list[Sample]) -> None:
    """Neither the batch nor the order of the samples changes an answer, in either branch."""
    model, processor = toy(attention)
    together = ask_model(model, processor, samples, "grec", batch_size=2).outcomes
    alone = [ask_model(model, processor, [sample], "grec", workers=0).outcomes for sample in samples]
    assert list(together) == branches_of(model) == ["token", "decoder"]
    for branch in together:
        same(together[branch], [one[branch][0] for one in alone])
    assert together["token"][0].score != together["decoder"][0].score


def test_a_model_with_one_branch_answers_by_it(samples: list[Sample]) -> None:
    """No decoder layers, no decoder branch."""
    model, processor = toy("standing", num_decoder_layers=0, loss_weights={"token": 1.0})
    assert list(ask_model(model, processor, samples[:2], "grec").outcomes) == ["token"]


def test_no_samples_give_no_outcomes() -> None:
    """Every branch is there, empty."""
    model, processor = toy("joint")
    assert ask_model(model, processor, [], "rec").outcomes == {"token": [], "decoder": []}


def test_texts_the_model_cannot_read_are_left_out_and_counted(samples: list[Sample]) -> None:
    """The others are answered; progress tells of all."""
    model, processor = toy("standing")
    told: list[tuple[int, int]] = []
    mixed = [replace(samples[0], text="?!"), samples[1], replace(samples[2], text="bolt " * 200)]
    scored = ask_model(model, processor, mixed, "grec", progress=lambda done, total: told.append((done, total)))
    assert [one.text for one in scored.outcomes["token"]] == [samples[1].text]
    assert scored.left_out == {"text the model cannot read": 2}
    assert told[-1] == (3, 3)


def test_samples_of_a_missing_image_are_left_out_and_counted(
    samples: list[Sample], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are asked; the log names the file."""
    model, processor = toy("standing")
    lost = [replace(sample, image=tmp_path / "gone.jpg") for sample in samples[:2]]
    scored = ask_model(model, processor, [*lost, *samples[2:]], "grec")
    assert [one.text for one in scored.outcomes["token"]] == [sample.text for sample in samples[2:]]
    assert scored.left_out == {BROKEN_PICTURE: 2}
    assert "gone.jpg is missing" in caplog.text


def test_an_image_with_broken_pixels_is_named(samples: list[Sample], tmp_path: Path) -> None:
    """What header and end do not show ends with an error; the set is to blame, with the sample's id."""
    model, processor = toy("standing")
    path = tmp_path / "harmed.png"
    frame = np.random.default_rng(0).integers(0, 255, (samples[0].height, samples[0].width, 3), np.uint8)
    cv2.imwrite(str(path), frame)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(2000) + whole[2100:])
    with pytest.raises(DataError, match=r"sample .*harmed\.png is not a picture that OpenCV reads"):
        ask_model(model, processor, [replace(samples[0], image=path)], "grec")


def test_asking_leaves_the_model_in_its_mode(samples: list[Sample]) -> None:
    """Training goes on as it was."""
    model, processor = toy("standing")
    model.train()
    ask_model(model, processor, samples[:1], "grec")
    assert model.training


def test_boxes_of_a_referring_set_are_alternatives(samples: list[Sample]) -> None:
    """Several boxes of a "rec" sample, but not those of a "grec" one."""
    model, processor = toy("standing")
    several = replace(samples[0], boxes_xyxy_px=((0, 0, 5, 5), (9, 9, 20, 20)))
    assert ask_model(model, processor, [several], "rec").outcomes["token"][0].alternatives
    assert not ask_model(model, processor, [several], "grec").outcomes["token"][0].alternatives


def test_a_rendered_set_is_asked_the_same_questions_again(drawn_set: Path) -> None:
    """Opened twice, it gives equal samples with boxes in their pictures."""
    first, second = open_for_scoring(drawn_set).samples(), open_for_scoring(drawn_set).samples()
    assert first == second and len({sample.id for sample in first}) == len(first) > 50
    assert {sample.kind for sample in first} >= {"plain", "standing", "none", "synonym"}
    for sample in first:
        for x0, y0, x1, y1 in sample.boxes_xyxy_px:
            assert -1 <= x0 < x1 <= sample.width + 1 and -1 <= y0 < y1 <= sample.height + 1


def test_a_rendered_set_has_no_part_to_choose(drawn_set: Path) -> None:
    """A split or a folder of images that is named for it would be passed over."""
    with pytest.raises(SetError, match=r"has no split 'test' apart; leave --split out"):
        open_for_scoring(drawn_set, split="test")
    with pytest.raises(SetError, match=r"has its pictures in it; leave --images out"):
        open_for_scoring(drawn_set, images=drawn_set / "images")


def test_a_rendered_set_names_its_broken_records(drawn_set: Path, tmp_path: Path) -> None:
    """Each has its own line, as `simvg data check` shows it; a whole set has none."""
    assert open_for_scoring(drawn_set).check() == []
    broken = shutil.copytree(drawn_set, tmp_path / "broken")
    (broken / "images/000003.jpg").write_bytes(b"no picture")
    (broken / "truth/000005.json").write_text("{}")
    picture, truth = RenderedSet(broken).check()
    assert picture.record == "picture 000003" and str(picture).endswith("Or render it again.")
    assert truth.record == "picture 000005" and "000005.json: field 'width' is missing" in truth.what


def test_the_shipped_benchmark_opens_for_scoring() -> None:
    """As a line set, with every expression usable."""
    data = open_for_scoring(Path(__file__).parents[3] / "benchmarks/line/val")
    assert data.task == "grec" and not data.left_out() and len(data.samples()) > 3000
