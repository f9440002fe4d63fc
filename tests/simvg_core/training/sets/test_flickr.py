"""Flickr30k Entities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simvg_core.training.cli import app
from simvg_core.training.grounding_source import open_grounding_set
from simvg_core.training.sets.errors import SetFormatError, SetNotFoundError, SetSplitError
from simvg_core.training.sets.open import open_set
from simvg_core.training.settings import SetSettings
from tests.simvg_core.training.test_evaluate import toy


@pytest.mark.parametrize(("any_box", "boxes"), [(False, [(1, 1, 30, 20)]), (True, [(1, 2, 10, 20), (20, 1, 30, 19)])])
def test_a_training_takes_the_box_around_a_phrase_or_any_of_its_boxes(
    any_box: bool, boxes: list[tuple[float, ...]], flickr_folder: Path
) -> None:
    """As the settings of the set say."""
    men = open_grounding_set(SetSettings(path=str(flickr_folder), any_box=any_box)).samples()[0]
    assert men.text == "Two men" and list(men.boxes_xyxy_px) == boxes


def test_each_phrase_with_a_box_is_a_sample(flickr_folder: Path) -> None:
    """Pixels count from 0; the boxes of a phrase become the one around them; the kind is the phrase's type."""
    opened = open_set(flickr_folder)
    assert (opened.task, opened.split, opened.splits()) == ("rec", "all", {"train": 7, "test": 1})
    men, again, caps, arm = opened.samples()
    assert (men.id, men.text, men.kind, men.boxes_xyxy_px) == ("11-0-0", "Two men", "people", ((1, 1, 30, 20),))
    assert (again.id, again.text) == ("11-1-0", "Men")
    assert (caps.text, caps.kind, caps.boxes_xyxy_px) == ("red caps", "clothing", ((20, 1, 30, 19),))
    assert (arm.text, arm.kind, arm.boxes_xyxy_px) == ("A man 's arm", "bodyparts", ((0, 0, 39, 29),))
    assert opened.check(decode=True) == []


def test_phrases_without_a_box_are_counted_by_reason(flickr_folder: Path) -> None:
    """None vanishes."""
    opened = open_set(flickr_folder)
    assert opened.left_out() == {
        "phrase names something not in the picture": 1,
        "phrase means the whole scene": 1,
        "phrase is not visual": 1,
        "phrase is not annotated": 1,
    }
    assert len(opened.samples()) + sum(opened.left_out().values()) == sum(opened.splits().values())


def test_boxes_can_be_kept_apart(flickr_folder: Path) -> None:
    """For the protocol where any box of a phrase is right."""
    men = open_set(flickr_folder, merge_boxes=False).samples()[0]
    assert men.boxes_xyxy_px == ((1, 2, 10, 20), (20, 1, 30, 19))


def test_any_box_of_a_phrase_is_right_where_that_is_asked(flickr_folder: Path, tmp_path: Path) -> None:
    """`simvg evaluate --any-box`: the report says of how many phrases; without it there are none."""
    model, processor = toy()
    model.save_pretrained(tmp_path / "toy")
    processor.save_pretrained(tmp_path / "toy")
    command = ["evaluate", tmp_path / "toy", "--data", flickr_folder, "--no-cost", "--out", tmp_path / "out"]
    for option, count in (["--any-box"], 2), ([], 0):
        done = CliRunner().invoke(app, [*map(str, command), *option])
        assert done.exit_code == 0, done.output
        record = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
        assert (record["expressions"], record["alternatives"]) == (4, count)
        assert record["branches"]["token"]["all"]["single_target"] == 4, "alternatives are one target"
        page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
        for text in (done.output, page):
            assert ("any of several boxes is right" in text) == bool(count)


def test_split_is_chosen(flickr_folder: Path) -> None:
    """Of the files train.txt, val.txt, test.txt that are there."""
    assert [sample.id for sample in open_set(flickr_folder, split="test").samples()] == ["12-0-0"]
    with pytest.raises(SetSplitError, match="no split 'val'; it has train, test"):
        open_set(flickr_folder, split="val")


def test_folder_without_split_files_is_one_split(flickr_folder: Path) -> None:
    """The annotations alone are a set as well."""
    for name in ("train.txt", "test.txt"):
        (flickr_folder / name).unlink()
    opened = open_set(flickr_folder)
    assert (opened.split, len(opened.samples())) == ("unsplit", 4)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read"),
        ("<annotation>", "is no annotation"),
        ("<annotation><size><width>40</width></size></annotation>", "size/height is missing"),
        ("<annotation><size><width>40</width><height>x</height></size></annotation>", "invalid literal"),
        (f"<annotation><size><width>{10**400}</width></size></annotation>", "size/width is 1000"),
    ],
    ids=["missing", "no XML", "no size", "no number", "absurd size"],
)
def test_broken_annotation_is_named(content: str | None, what: str, flickr_folder: Path) -> None:
    """Its phrases are left out and counted; the other images are read."""
    file = flickr_folder / "Annotations/12.xml"
    file.unlink() if content is None else file.write_text(content, encoding="utf-8")
    opened = open_set(flickr_folder)
    (problem,) = opened.check()
    assert problem.record == "expression 12-0-0"
    assert what in problem.what and "12.xml" in problem.what
    assert opened.left_out()["broken record"] == 1
    assert len(opened.samples()) == 3


def test_missing_sentences_are_named(flickr_folder: Path) -> None:
    """A listed image without a file of sentences."""
    (flickr_folder / "Sentences/12.txt").unlink()
    (problem,) = open_set(flickr_folder).check()
    assert problem.record == "image 12"
    assert "12.txt cannot be read" in problem.what


@pytest.mark.parametrize("name", ["12\0", "1" * 300], ids=["zero byte", "long"])
def test_name_that_no_file_can_have_is_named(name: str, flickr_folder: Path) -> None:
    """The other images of the list are read."""
    (flickr_folder / "test.txt").write_text(f"12\n{name}\n", encoding="utf-8")
    (problem,) = open_set(flickr_folder).check()
    assert problem.record == f"image {name}"
    assert "cannot be read" in problem.what


def test_list_of_another_encoding_is_named(flickr_folder: Path) -> None:
    """A split cannot be guessed from half of its names."""
    (flickr_folder / "train.txt").write_bytes(b"11\n1\xe9\n")
    with pytest.raises(SetFormatError, match=r"train\.txt is no list of images \('utf-8' codec .*; get the file anew"):
        open_set(flickr_folder)


def test_wrongly_marked_phrase_is_named(flickr_folder: Path) -> None:
    """A bracket that is never closed."""
    (flickr_folder / "Sentences/12.txt").write_text("[/EN#7/people A man's arm .\n", encoding="utf-8")
    (problem,) = open_set(flickr_folder).check()
    assert problem.record == "sentence 12-0"
    assert "marked wrongly" in problem.what


def test_lost_and_wrong_images_are_named(flickr_folder: Path, tmp_path: Path) -> None:
    """A missing file, and one of another size."""
    pictures = tmp_path / "flickr30k-images"
    (pictures / "11.jpg").unlink()
    annotation = flickr_folder / "Annotations/12.xml"
    annotation.write_text(annotation.read_text("utf-8").replace("<width>40", "<width>41"), encoding="utf-8")
    lost, wrong = open_set(flickr_folder).check()
    assert (lost.record, wrong.record) == ("image 11", "image 12")
    assert "is missing" in lost.what and "its annotation says 41×30" in wrong.what


def test_missing_folder_is_named(flickr_folder: Path) -> None:
    """Sentences without annotations."""
    (flickr_folder / "Annotations").rename(flickr_folder / "annotations")
    with pytest.raises(SetFormatError, match="no folder Annotations"):
        open_set(flickr_folder)


def test_images_that_are_nowhere_are_named(flickr_folder: Path, tmp_path: Path) -> None:
    """The message says where was looked."""
    moved = (tmp_path / "flickr30k-images").rename(tmp_path / "elsewhere")
    with pytest.raises(SetNotFoundError, match=r"11\.jpg.*flickr30k-images"):
        open_set(flickr_folder)
    assert open_set(flickr_folder, images=moved).check() == []
