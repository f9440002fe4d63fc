"""RefCOCO, RefCOCO+, RefCOCOg, ReferIt and gRefCOCO in the layout of the `refer` reader."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simvg_core.training.sets.errors import SetFormatError, SetNotFoundError, SetSplitError, UnsafePickleError
from simvg_core.training.sets.open import open_set
from simvg_core.training.sets.refer import same_split
from tests.simvg_core.training.sets.conftest import COCO_NAME, changing

Change = Callable[[Callable[[Any], None]], Path]


def test_each_sentence_is_a_sample(refer_folder: Path) -> None:
    """The box is of `instances.json`, cut as the published results did it; the image is found among COCO's."""
    opened = open_set(refer_folder)
    assert (opened.name, opened.task, opened.split) == ("refcoco unc", "rec", "all")
    assert opened.splits() == {"train": 2, "testA": 1, "testB": 1}
    samples = opened.samples()
    assert [sample.id for sample in samples] == ["5-50", "5-51", "6-60", "7-70"]
    assert [sample.text for sample in samples] == ["left man", "man in red", "the other man", "big car"]
    assert samples[0].boxes_xyxy_px == ((2.5, 3, 12.5, 15),)
    assert samples[3].boxes_xyxy_px == ((0, 0, 39, 29),), "xywh [0, 0, 40, 30] → last pixel 39, 29"
    assert samples[3].noun == "car"
    assert samples[0].image is samples[2].image
    assert samples[0].image.is_file()
    assert opened.check(decode=True) == []


@pytest.mark.parametrize(
    ("split", "ids"), [("train", ["5-50", "5-51"]), ("testA", ["6-60"]), ("test", ["6-60", "7-70"])], ids=str
)
def test_split_is_chosen(split: str, ids: list[str], refer_folder: Path) -> None:
    """Only the wanted split; "test" is both tests."""
    opened = open_set(refer_folder, split=split)
    assert ([sample.id for sample in opened.samples()], opened.split) == (ids, split)
    assert opened.splits() == {"train": 2, "testA": 1, "testB": 1}


@pytest.mark.parametrize(
    ("wanted", "given", "same"),
    [
        ("testA", "testAB", True), ("testC", "testBC", True), ("testC", "testAB", False), ("test", "testA", True),
        ("test", "test", True), ("val", "val", True), ("train", "val", False), ("testA", "train", False),
    ],
)  # fmt: skip
def test_splits_of_referit_overlap(wanted: str, given: str, same: bool) -> None:
    """As the `refer` reader has it, "testAB" belongs to testA and to testB."""
    assert same_split(wanted, given) is same


def test_unknown_split_names_those_there_are(refer_folder: Path) -> None:
    """A misspelt split is not an empty set."""
    with pytest.raises(SetSplitError, match="refcoco unc has no split 'tset'; it has train, testA, testB"):
        open_set(refer_folder, split="tset")


def test_refcoco_plus_is_read(refcoco_plus_folder: Path) -> None:
    """A plus in the folder's name, four splits, of which "test" is two."""
    opened = open_set(refcoco_plus_folder)
    assert (opened.name, opened.task) == ("refcoco+ unc", "rec")
    assert opened.splits() == {"train": 1, "val": 1, "testA": 1, "testB": 1}
    test = open_set(refcoco_plus_folder, split="test").samples()
    assert [(sample.text, sample.noun) for sample in test] == [("red shirt", "person"), ("dark car", "car")]
    assert opened.check(decode=True) == []


def test_refcocog_has_two_divisions_and_one_is_named(refcocog_folder: Path) -> None:
    """Google's and umd's lie in one folder; which is meant nobody can guess."""
    with pytest.raises(SetNotFoundError, match=r"refs\(google\)\.p, refs\(umd\)\.p; name the one"):
        open_set(refcocog_folder)


def test_refcocog_by_umd_is_read(refcocog_folder: Path) -> None:
    """Its one test split is "test", and no part of it is testA; the words are the cleaned ones."""
    opened = open_set(refcocog_folder / "refs(umd).p")
    assert (opened.name, opened.splits()) == ("refcocog umd", {"train": 2, "val": 1, "test": 1})
    (test,) = open_set(refcocog_folder / "refs(umd).p", split="test").samples()
    assert (test.id, test.text, test.noun) == ("2-32", "a grey car that is parked in front of a shop", "car")
    with pytest.raises(SetSplitError, match="no split 'testA'; it has train, val, test"):
        open_set(refcocog_folder / "refs(umd).p", split="testA")
    assert opened.check(decode=True) == []


def test_refcocog_by_google_is_read(refcocog_folder: Path) -> None:
    """It divides things, so that one image is in train and in val; it has no test split."""
    file = refcocog_folder / "refs(google).p"
    train, val = (open_set(file, split=split).samples() for split in ("train", "val"))
    assert {sample.image_id for sample in train} == {"1"} < {sample.image_id for sample in val}
    assert not {sample.boxes_xyxy_px for sample in train} & {sample.boxes_xyxy_px for sample in val}
    with pytest.raises(SetSplitError, match="refcocog google has no split 'test'; it has train, val"):
        open_set(file, split="test")
    assert open_set(file).check(decode=True) == []


def test_referit_is_read(refer_folder: Path, tmp_path: Path) -> None:
    """ReferIt: the same layout as refclef, images saiapr_tc-12."""
    data = tmp_path / "data"
    folder = refer_folder.rename(data / "refclef")
    (folder / "refs(unc).p").rename(folder / "refs(berkeley).p")
    (data / "images/mscoco/images/train2014").rename(data / "images/saiapr_tc-12")
    opened = open_set(folder)
    assert (opened.name, len(opened.samples()), opened.check()) == ("refclef berkeley", 4, [])


def _ref(number: int, **fields: Any) -> Callable[[Any], None]:
    return lambda refs: refs[number].update(fields)


BROKEN: dict[str, tuple[Callable[[Any], None], str, str]] = {
    "unknown annotation": (_ref(1, ann_id=99), "expression 6-60", "its annotation 99 is not in instances.json"),
    "foreign annotation": (_ref(1, ann_id=20), "expression 6-60", "annotation 20 is of image 2, not of 1"),
    "unknown image": (_ref(1, image_id=99), "expression 6-60", "its image 99 is not in instances.json"),
    "empty text": (
        _ref(1, sentences=[{"sent_id": 60, "sent": "", "raw": ""}]), "expression 6-60", "has no word"
    ),
    "no text": (_ref(1, sentences=[{"sent_id": 60}]), "expression 6-60", "its text is a NoneType"),
    "no sentences": (lambda refs: refs[1].pop("sentences"), "reference number 1", "field 'sentences' is missing"),
    "empty list": (_ref(1, sentences=[]), "reference number 1", "sentences=[] is not a list"),
    "no split": (_ref(1, split=None), "reference number 1", "split=None is not a word"),
    "no reference": (lambda refs: refs.__setitem__(1, 3), "reference number 1", "int"),
    "repeated": (lambda refs: refs.append(refs[1]), "expression 6-60", "its id is used before"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_reference_is_named(name: str, change_refs: Change) -> None:
    """Which one, and what is wrong; the others are read."""
    how, record, what = BROKEN[name]
    opened = open_set(change_refs(how))
    problems = opened.check()
    assert [(problem.record, what in problem.what) for problem in problems] == [(record, True)], problems
    assert opened.left_out() == {"broken record": 1}
    assert {"5-50", "5-51", "7-70"} <= {sample.id for sample in opened.samples()}


@pytest.mark.parametrize(
    ("kind", "other", "what"),
    [
        ("images", {"file_name": COCO_NAME.format(1)}, "several images of instances.json have its image_id 2"),
        ("annotations", {"bbox": [1, 1, 3, 3]}, "annotation 20: several annotations have this id"),
    ],
)
def test_references_to_an_id_that_is_not_unique_are_broken(
    kind: str, other: dict[str, Any], what: str, refer_folder: Path
) -> None:
    """The last use would win, with another picture or box; the same row written twice does no harm."""
    change = changing(refer_folder / "instances.json")
    place = {"images": 1, "annotations": 2}[kind]
    assert open_set(change(lambda document: document[kind].append(document[kind][place]))).left_out() == {}
    opened = open_set(change(lambda document: document[kind].append(document[kind][place] | other)))
    assert opened.left_out() == {"broken record": 1}
    assert [(one.record, one.what) for one in opened.check()] == [("expression 7-70", what)]


def test_text_of_another_encoding_is_named(refer_folder: Path) -> None:
    """Bytes that are no UTF-8 are found, not guessed at."""
    file = refer_folder / "refs(unc).p"
    file.write_bytes(file.read_bytes().replace(b"big car", b"big c\xe9r").replace(b"X\x07\0\0\0big", b"U\x07big"))
    problems = open_set(refer_folder).check()
    assert [problem.record for problem in problems] == ["expression 7-70"]
    assert "unreadable" in problems[0].what


@pytest.mark.parametrize(
    ("bbox", "what"), [([1, 2, 0, 5], "has no area"), ([50, 2, 5, 5], "outside"), (None, "not a list of four")], ids=str
)
def test_broken_box_is_named(bbox: Any, what: str, refer_folder: Path) -> None:
    """A box of `instances.json` is judged where a reference uses it."""
    file = refer_folder / "instances.json"
    instances = json.loads(file.read_text(encoding="utf-8"))
    instances["annotations"][1]["bbox"] = bbox
    file.write_text(json.dumps(instances), encoding="utf-8")
    (problem,) = open_set(refer_folder).check()
    assert problem.record == "expression 6-60"
    assert what in problem.what


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("instances.json", b"{}", "field 'images' is missing"),
        ("instances.json", b"[1]", "no list of instances"),
        ("instances.json", b"{", "cannot be read as JSON"),
        (
            "instances.json", b'{"images": [{"id": 1, "file_name": "a", "width": Infinity, "height": 1}]}',
            "no list of instances .*infinity",
        ),
        ("refs(unc).p", pickle.dumps({"a": 1}), "holds a dict, not a list of references"),
    ],
    ids=["no images", "list", "no JSON", "endless image", "dict"],
)  # fmt: skip
def test_broken_file_is_named(name: str, content: bytes, what: str, refer_folder: Path) -> None:
    """A whole file that is wrong is one named error."""
    (refer_folder / name).write_bytes(content)
    with pytest.raises(SetFormatError, match=what):
        open_set(refer_folder)


def test_missing_instances_are_named(refer_folder: Path) -> None:
    """References without boxes are of no use."""
    (refer_folder / "instances.json").unlink()
    with pytest.raises(SetFormatError, match=r"instances\.json cannot be read"):
        open_set(refer_folder)


def test_malicious_references_are_refused(refer_folder: Path) -> None:
    """Opening a downloaded folder runs nothing."""
    (refer_folder / "refs(unc).p").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(UnsafePickleError, match=r"it asks for os\.system"):
        open_set(refer_folder)


def test_images_that_are_nowhere_are_named(refer_folder: Path, tmp_path: Path) -> None:
    """The message says which image was looked for, and where."""
    moved = (tmp_path / "data/images").rename(tmp_path / "elsewhere")
    with pytest.raises(SetNotFoundError, match=r"COCO_train2014_000000000001\.jpg.*train2014.*--images DIR"):
        open_set(refer_folder)
    assert open_set(refer_folder, images=moved).check() == []
    assert open_set(refer_folder, images=moved / "mscoco/images/train2014").check() == []


def test_lost_image_is_a_broken_record(refer_folder: Path, tmp_path: Path) -> None:
    """One missing file does not hide the folder of the others."""
    (tmp_path / "data/images/mscoco/images/train2014/COCO_train2014_000000000001.jpg").unlink()
    (problem,) = open_set(refer_folder).check()
    assert problem.record == "image 1"
    assert "is missing" in problem.what


def test_generalised_references_mean_none_one_or_several(grefs_folder: Path) -> None:
    """gRefCOCO: the kind says how many."""
    opened = open_set(grefs_folder)
    several, nothing, one = opened.samples()
    assert (opened.name, opened.task, opened.split) == ("grefs unc", "grec", "val")
    assert (several.kind, several.boxes_xyxy_px) == ("several targets", ((2.5, 3, 12.5, 15), (20, 5, 28, 13)))
    assert (nothing.kind, nothing.boxes_xyxy_px, nothing.noun) == ("no target", (), None)
    assert (one.kind, one.boxes_xyxy_px, one.noun) == ("one target", ((0, 0, 39, 29),), "car")
    assert opened.check() == []


def test_generalised_reference_with_a_lost_box_is_broken(change_grefs: Change) -> None:
    """Half of an answer is none."""
    opened = open_set(change_grefs(lambda refs: refs[0].update(ann_id=[10, 99])))
    assert [sample.id for sample in opened.samples()] == ["2-2", "3-3"]
    (problem,) = opened.check()
    assert (problem.record, problem.what) == ("expression 1-1", "its annotation 99 is not in instances.json")
