"""Flickr30k Entities."""

from __future__ import annotations

from pathlib import Path

import pytest

from simvg_core.training.sets.errors import SetFormatError, SetNotFoundError, SetSplitError
from simvg_core.training.sets.open import open_set


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
    ],
    ids=["missing", "no XML", "no size", "no number"],
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
