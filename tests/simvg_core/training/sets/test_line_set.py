"""Line sets, and any COCO file with expressions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simvg_core.training.sets.errors import SetFormatError, SetNotFoundError, SetSplitError
from simvg_core.training.sets.line import (
    LineAnnotation,
    LineCategory,
    LineDocument,
    LineExpression,
    LineImage,
    LineInfo,
    read_document,
    write_document,
)
from simvg_core.training.sets.open import open_set

Change = Callable[[Callable[[Any], None]], Path]


def test_expressions_become_samples(line_folder: Path) -> None:
    """Words, boxes as corners, kind, noun and lure; a set with lures is a GREC set."""
    opened = open_set(line_folder)
    one, several, lure = opened.samples()
    assert (opened.task, opened.split, opened.splits()) == ("grec", "test", {"test": 3})
    assert (one.id, one.text, one.kind, one.noun, one.lure) == ("1", "the red cap", "color", "cap", False)
    assert one.boxes_xyxy_px == ((1, 2, 11, 14),)
    assert several.boxes_xyxy_px == ((1, 2, 11, 14), (20, 5, 40, 30))
    assert (lure.boxes_xyxy_px, lure.lure) == ((), True)
    assert one.image is several.image
    assert one.image == line_folder / "images/a.jpg"
    assert (lure.width, lure.height) == (20, 10)
    assert opened.check(decode=True) == []
    assert opened.left_out() == {}


def test_plain_coco_with_expressions_is_enough(line_folder: Path, change_line: Change) -> None:
    """A user's own set: no info, categories, attributes, kinds or nouns; images beside the file."""

    def bare(document: Any) -> None:
        del document["info"], document["categories"]
        for annotation in document["annotations"]:
            del annotation["attributes"], annotation["category_id"]
        document["expressions"] = [
            {"id": "x", "image_id": 1, "text": "a cap", "annotation_ids": [2]},
            {"id": "y", "image_id": 2, "text": "a cap", "annotation_ids": [3]},
        ]

    folder = change_line(bare)
    (line_folder / "annotations.json").rename(line_folder / "images" / "mine.json")
    opened = open_set(folder / "images" / "mine.json")
    assert [sample.id for sample in opened.samples()] == ["x", "y"]
    assert opened.task == "rec"
    assert opened.check() == []


def test_written_document_is_read_again(tmp_path: Path) -> None:
    """Writing and reading give the same records, and the same bytes each time."""
    document = LineDocument(
        info=LineInfo(version="2", seed=1, split="val", description="ünïcode"),
        images=[LineImage(id=1, file_name="a.jpg", width=4, height=3)],
        categories=[LineCategory(id=1, name="cap")],
        annotations=[LineAnnotation(id=1, image_id=1, bbox=(0.5, 0, 2, 3), category_id=1, attributes={"color": "red"})],
        expressions=[LineExpression(id=1, image_id=1, text="cap", annotation_ids=(1,), kind="color", noun="cap")],
    )
    path = write_document(document, tmp_path / "set")
    first = path.read_bytes()
    assert read_document(path.parent) == document
    write_document(read_document(path), path.parent)
    assert path.read_bytes() == first


def test_strict_reading_names_the_first_broken_record(change_line: Change) -> None:
    """`read_document` is for documents that must be whole."""
    folder = change_line(lambda document: document["expressions"][1].pop("text"))
    with pytest.raises(SetFormatError, match="expression 2: field 'text' is missing"):
        read_document(folder)


def _set(kind: str, number: int, **fields: Any) -> Callable[[Any], None]:
    return lambda document: document[kind][number].update(fields)


def _repeat(kind: str) -> Callable[[Any], None]:
    return lambda document: document[kind].append(document[kind][0])


BROKEN: dict[str, tuple[Callable[[Any], None], str, str]] = {
    "NaN": (_set("annotations", 2, bbox=[0, 0, float("nan"), 5]), "annotation 3", "not four finite numbers"),
    "no area": (_set("annotations", 2, bbox=[3, 3, 0, 5]), "annotation 3", "has no area"),
    "outside": (_set("annotations", 2, bbox=[30, 3, 5, 5]), "annotation 3", "outside the 20×10 image 2"),
    "reaches out": (_set("annotations", 2, bbox=[15, 3, 9, 5]), "annotation 3", "reaches 4.0 pixels out"),
    "three numbers": (_set("annotations", 2, bbox=[1, 2, 3]), "annotation 3", "not four finite numbers"),
    "true among the numbers": (_set("annotations", 2, bbox=[True, 0, 5, 5]), "annotation 3", "not four finite numbers"),
    "400 digits": (_set("annotations", 2, bbox=[0, 0, 10**400, 5]), "annotation 3", "not four finite numbers"),
    "annotation of unknown image": (_set("annotations", 2, image_id=9), "annotation 3", "its image 9 is unknown"),
    "unknown category": (_set("annotations", 2, category_id=8), "annotation 3", "its category 8 is unknown"),
    "empty text": (_set("expressions", 1, text=" "), "expression 2", "has no word"),
    "only punctuation": (_set("expressions", 1, text="?! - /"), "expression 2", "has no word"),
    "unreadable text": (_set("expressions", 1, text="a \ufffd cap"), "expression 2", "is unreadable"),
    "no text": (_set("expressions", 1, text=None), "expression 2", "text=None is not a text"),
    "unknown annotation": (_set("expressions", 1, annotation_ids=[77]), "expression 2", "its annotation 77 is unknown"),
    "annotation named twice": (
        _set("expressions", 1, annotation_ids=[1, 1]),
        "expression 2",
        "names annotation 1 more",
    ),
    "foreign annotation": (_set("expressions", 1, annotation_ids=[3]), "expression 2", "is of another image"),
    "unknown image": (_set("expressions", 1, image_id=9), "expression 2", "its image 9 is unknown"),
    "lure not a truth value": (_set("expressions", 1, lure="no"), "expression 2", "lure='no'"),
    "repeated expression": (_repeat("expressions"), "expression 1", "its id is used before"),
    "repeated annotation": (_repeat("annotations"), "annotation 1", "its id is used before"),
    "repeated image": (_repeat("images"), "image 1", "its id is used before"),
    "image without expression": (lambda d: d["expressions"].pop(), "image 2", "no expression is about it"),
    "image without size": (lambda d: d["images"][1].pop("width"), "image 2", "field 'width' is missing"),
    "image of no size": (_set("images", 1, height=0), "image 2", "height=0"),
    "image of absurd size": (_set("images", 1, width=10**400), "image 2", "is not a number of pixels that an image"),
    "name that no file can have": (_set("images", 1, file_name="b" * 300), "image 2", "is missing"),
    "image elsewhere": (_set("images", 1, file_name="../../b.png"), "image 2", "leaves the folder"),
    "missing image": (_set("images", 1, file_name="c.png"), "image 2", "c.png is missing"),
    "wrong size": (_set("images", 1, width=21), "image 2", "is 20×10, its annotation says 21×10"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_record_is_named(name: str, change_line: Change) -> None:
    """Which record, what is wrong with it, and what to do."""
    how, record, what = BROKEN[name]
    problems = open_set(change_line(how)).check()
    assert [problem for problem in problems if problem.record == record and what in problem.what], problems
    assert all(problem.remedy for problem in problems)


def test_broken_expressions_are_left_out_and_counted(change_line: Change) -> None:
    """What a model is trained on or scored with holds none of them; the count says so."""

    def spoil(document: Any) -> None:
        document["expressions"][0]["text"] = ""
        document["expressions"][1].pop("annotation_ids")

    opened = open_set(change_line(spoil))
    assert [sample.id for sample in opened.samples()] == ["3"]
    assert opened.left_out() == {"broken record": 2}


@pytest.mark.parametrize(
    ("kind", "other", "left", "what"),
    [
        ("images", {"file_name": "b.png"}, ["3"], "several images have its image_id 1"),
        ("annotations", {"bbox": [1, 1, 3, 3]}, ["3"], "several annotations have the id 1 that it names"),
    ],
)
def test_expressions_of_an_id_that_is_not_unique_are_broken(
    kind: str, other: dict[str, Any], left: list[str], what: str, change_line: Change
) -> None:
    """They would be taught on the wrong picture or box; a row that is written twice names the same, and is used."""
    again = open_set(change_line(_repeat(kind)))
    assert len(again.samples()) == 3 and again.left_out() == {}
    opened = open_set(change_line(lambda document: document[kind].append(document[kind][0] | other)))
    assert [sample.id for sample in opened.samples()] == left
    assert opened.left_out() == {"broken record": 2}
    named = [problem.record for problem in opened.check() if what in problem.what]
    assert named == ["expression 1", "expression 2"]


def test_box_that_reaches_out_is_cut_and_kept(change_line: Change) -> None:
    """The record is reported, and used with the part that is in the image."""
    opened = open_set(change_line(_set("annotations", 0, bbox=[-5, 2, 10, 12])))
    assert opened.samples()[0].boxes_xyxy_px == ((0, 2, 5, 14),)
    assert len(opened.check()) == 1


def test_other_split_is_refused(line_folder: Path) -> None:
    """The document says which split it is."""
    assert len(open_set(line_folder, split="test").samples()) == 3
    with pytest.raises(SetSplitError, match="no split 'train'; it has test"):
        open_set(line_folder, split="train")


def test_images_may_lie_elsewhere(line_folder: Path, tmp_path: Path) -> None:
    """`images` names their folder; without it the message says where was looked."""
    moved = (line_folder / "images").rename(tmp_path / "pictures")
    with pytest.raises(SetNotFoundError, match=r"a\.jpg.*looked in .*line/images.*--images DIR"):
        open_set(line_folder)
    assert open_set(line_folder, images=moved).check() == []


@pytest.mark.parametrize(
    ("text", "what"),
    [("{", "cannot be read as JSON"), ("[]", "holds a list"), (json.dumps({"images": []}), "no list 'annotations'")],
    ids=["no JSON", "list", "list missing"],
)
def test_file_of_another_shape_is_refused(text: str, what: str, line_folder: Path) -> None:
    """A whole file that is wrong is one named error."""
    (line_folder / "annotations.json").write_text(text, encoding="utf-8")
    with pytest.raises(SetFormatError, match=what):
        open_set(line_folder)


def test_order_is_that_of_the_file(line_folder: Path) -> None:
    """Twice the same samples in the same order."""
    assert open_set(line_folder).samples() == open_set(line_folder).samples()
