"""The JSON files of the SimVG and SeqTR code."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simvg_core.training.sets.collect import Collector, corners
from simvg_core.training.sets.errors import SetFormatError, SetNotFoundError
from simvg_core.training.sets.open import open_set
from simvg_core.training.sets.pictures import Picture

Change = Callable[[Callable[[Any], None]], Path]
REFERENCE = Path(__file__).resolve().parents[3] / "data" / "reference" / "image_pipeline_io.npz"


def test_each_expression_is_a_sample(official_folder: Path) -> None:
    """Boxes are x y w h and cut at the last pixel; COCO's image is found from its number."""
    opened = open_set(official_folder)
    assert (opened.name, opened.task) == ("refcoco-unc", "rec")
    assert opened.splits() == {"train": 3, "val": 1}
    samples = opened.samples()
    assert [sample.id for sample in samples] == ["train-0-0", "train-0-1", "train-1-0", "val-0-0"]
    assert samples[1].text == "man in red"
    assert samples[0].boxes_xyxy_px == ((2.5, 3, 12.5, 15),)
    assert samples[2].boxes_xyxy_px == ((0, 0, 39, 29),)
    assert samples[0].image is samples[3].image
    assert samples[0].image.name == "COCO_train2014_000000000001.jpg"
    assert opened.check(decode=True) == []
    assert [sample.id for sample in open_set(official_folder / "instances.json", split="val").samples()] == ["val-0-0"]


def test_boxes_are_those_of_the_official_code() -> None:
    """Its own numbers: x y w h in, clipped corners out."""
    arrays = np.load(REFERENCE, allow_pickle=False)
    for number in (0, 1):
        height, width = arrays[f"raw_bgr_{number}"].shape[:2]
        picture = Picture("1", Path("1.jpg"), width, height)
        box = Collector("set", None).cut("record", corners(arrays[f"ann_xywh_{number}"].ravel().tolist()), picture)
        assert box == pytest.approx(arrays[f"gt_loaded_xyxy_{number}"].ravel().tolist())


@pytest.fixture
def generalised(change_official: Change) -> Path:
    """gRefCOCO as the authors of SimVG converted it: boxes and their annotations for each expression."""

    def convert(file: Any) -> None:
        file.clear()
        file["val"] = [
            {
                "image_id": 1, "width": 40, "height": 30, "expressions": ["both men", "the dog", "left man"],
                "bbox": [[[2.5, 3, 10, 12], [20, 5, 8, 8]], [[0, 0, 0, 0]], [[2.5, 3, 10, 12]]],
                "annotations": [[{"category_id": 1}, {"category_id": 1}], [{"category_id": -1}], [{"category_id": 1}]],
            }
        ]  # fmt: skip

    return change_official(convert)


def test_generalised_expressions_mean_none_one_or_several(generalised: Path) -> None:
    """The row of category -1 is no box."""
    opened = open_set(generalised)
    several, nothing, one = opened.samples()
    assert opened.task == "grec"
    assert (several.kind, len(several.boxes_xyxy_px)) == ("several targets", 2)
    assert (nothing.kind, nothing.boxes_xyxy_px) == ("no target", ())
    assert (one.kind, one.boxes_xyxy_px) == ("one target", ((2.5, 3, 12.5, 15),))
    assert opened.check() == []


def _mixed(file: Any) -> None:
    size = {"width": 40, "height": 30, "bbox": [1, 1, 5, 5], "expressions": ["it"]}
    file.clear()
    sources = ["coco", "saiaprtc12", "flickr", "vg"]
    file["train"] = [{"image_id": 1, "data_source": source, **size} for source in sources]
    file["val_flickr30k"] = [{"image_id": 1, "data_source": "flickr", **size}]


def test_mixed_file_takes_each_source_from_its_folder(
    change_official: Change, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    """The same number is another image in each source; a source without images is counted and reported."""
    folder = change_official(_mixed).rename(tmp_path / "data/annotations/mixed")
    for name in ("saiaprtc12", "visual-genome"):
        write_image(tmp_path / "data/images" / name / "1.jpg")
    opened = open_set(folder)
    assert [sample.image.parent.name for sample in opened.samples()] == ["train2014", "saiaprtc12", "visual-genome"]
    assert [sample.image_id for sample in opened.samples()] == ["1", "saiaprtc12/1", "vg/1"]
    assert opened.left_out() == {"images of source flickr not found": 2}
    (problem,) = opened.check()
    assert problem.record == "images of source flickr"
    write_image(tmp_path / "data/images/flickr30k/1.jpg")
    assert open_set(folder).check() == []
    assert open_set(folder).left_out() == {}


@pytest.mark.parametrize(
    ("name", "images"), [("referitgame-berkeley", "saiaprtc12"), ("flickr30k", "flickr30k")], ids=str
)
def test_source_is_known_from_the_folder(name: str, images: str, official_folder: Path, tmp_path: Path) -> None:
    """ReferIt and Flickr30k name images by their bare number."""
    data = tmp_path / "data"
    folder = official_folder.rename(data / "annotations" / name)
    place = (data / "images/mscoco/train2014").rename(data / "images" / images)
    for file in place.iterdir():
        file.rename(place / f"{int(file.stem[-12:])}.jpg")
    assert open_set(folder).check() == []


def test_folder_of_another_name_is_tried_both_ways(official_folder: Path, tmp_path: Path) -> None:
    """Nothing but the images says whose they are."""
    folder = official_folder.rename(tmp_path / "data/annotations/mine")
    assert open_set(folder).check() == []


def test_boxes_that_can_only_be_corners_are_read_so(change_official: Change, caplog: pytest.LogCaptureFixture) -> None:
    """Some converted files hold x0 y0 x1 y1; it is said aloud."""

    def convert(file: Any) -> None:
        for entry in (*file["train"], *file["val"]):
            x, y, width, height = entry["bbox"]
            entry["bbox"] = [x, y, x + width, y + height]

    with caplog.at_level(logging.WARNING):
        opened = open_set(change_official(convert))
    assert [sample.boxes_xyxy_px for sample in opened.samples()][2:] == [((0, 0, 39, 29),), ((20, 5, 28, 13),)]
    assert "read as corners" in caplog.text


def test_size_comes_from_the_image_where_the_file_has_none(change_official: Change) -> None:
    """Converted files may lack width and height."""

    def strip(file: Any) -> None:
        for entry in (*file["train"], *file["val"]):
            del entry["width"], entry["height"]

    opened = open_set(change_official(strip))
    assert {(sample.width, sample.height) for sample in opened.samples()} == {(40, 30)}


def _val(**fields: Any) -> Callable[[Any], None]:
    return lambda file: file["val"][0].update(fields)


BROKEN: dict[str, tuple[Callable[[Any], None], str, str]] = {
    "no box": (lambda file: file["val"][0].pop("bbox"), "record val-0", "field 'bbox' is missing"),
    "box of words": (_val(bbox="1 2 3 4"), "record val-0", "not a list of four numbers"),
    "no expressions": (_val(expressions=[]), "record val-0", "expressions=[]"),
    "no image": (lambda file: file["val"][0].pop("image_id"), "record val-0", "field 'image_id' is missing"),
    "image of letters": (_val(image_id="x"), "record val-0", "invalid literal"),
    "image of 5000 digits": (_val(image_id="9" * 5000), "record val-0", "Exceeds the limit"),
    "source that is no name": (_val(data_source=["coco"]), "record val-0", "data_source=['coco'] is not a name"),
    "image without end": (_val(image_id=float("inf")), "record val-0", "infinity"),
    "lost image": (_val(image_id=3), "image 3", "is missing"),
    "no record": (lambda file: file["val"].__setitem__(0, 5), "record val-0", "int"),
    "empty text": (_val(expressions=["-"]), "expression val-0-0", "has no word"),
    "no area": (_val(bbox=[1, 1, 0, 3]), "expression val-0-0", "has no area"),
    "outside": (_val(bbox=[90, 1, 5, 3]), "expression val-0-0", "is outside"),
    "lists of another length": (_val(bbox=[[[1, 1, 2, 2]], []]), "record val-0", "1 expressions and 2 lists of boxes"),
    "annotations of another length": (
        _val(bbox=[[[1, 1, 2, 2]]], annotations=[[]]), "record val-0", "1 boxes and 0 annotations"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_record_is_named(name: str, change_official: Change) -> None:
    """Which one, and what is wrong; the others are read."""
    how, record, what = BROKEN[name]
    opened = open_set(change_official(how))
    problems = opened.check()
    assert [(problem.record, what in problem.what) for problem in problems] == [(record, True)], problems
    assert len(opened.samples()) >= 3


def test_every_expression_of_a_broken_record_is_counted(generalised: Path) -> None:
    """Those behind the place where it breaks, too: what is taken and what is left out are all that there is."""
    file = json.loads((generalised / "instances.json").read_text())
    (split,) = file
    second = json.loads(json.dumps(file[split][0]))
    second["bbox"][1], second["annotations"][1] = [[1, 1, "x", 2]], [{"category_id": 1}]
    file[split].append(second)
    (generalised / "instances.json").write_text(json.dumps(file))
    opened = open_set(generalised)
    assert opened.splits() == {split: 6} and len(opened.samples()) == 4
    assert opened.left_out() == {"broken record": 2}
    assert [problem.record for problem in opened.check()] == [f"record {split}-1"]


@pytest.mark.parametrize("value", [[], {}, {"train": 3}], ids=str)
def test_file_of_another_shape_is_refused(value: Any, official_folder: Path) -> None:
    """A whole file that is wrong is one named error."""
    (official_folder / "instances.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(SetFormatError, match="not an object with a list of records for each split"):
        open_set(official_folder, format="official")


def test_images_that_are_nowhere_are_named(official_folder: Path, tmp_path: Path) -> None:
    """The message says what was looked for."""
    (tmp_path / "data/images").rename(tmp_path / "elsewhere")
    with pytest.raises(SetNotFoundError, match=r"COCO_train2014_000000000001\.jpg"):
        open_set(official_folder)
