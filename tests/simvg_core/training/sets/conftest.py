"""A tiny hand-made sample of each format: the files that its users have, with real images of a few pixels."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Change = Callable[[Callable[[Any], None]], Path]


def write_image(path: Path, width: int = 40, height: int = 30) -> Path:
    """A grey picture of that size; the suffix says the kind of file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
    return path


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def changing(path: Path) -> Change:
    """Applies a function to the JSON or the pickle in a file, writes it again, and returns its folder."""

    def change(how: Callable[[Any], None]) -> Path:
        is_json = path.suffix == ".json"
        value = json.loads(path.read_text(encoding="utf-8")) if is_json else pickle.loads(path.read_bytes())
        how(value)
        if is_json:
            _json(path, value)
        else:
            path.write_bytes(pickle.dumps(value, protocol=2))
        return path.parent

    return change


COCO_NAME = "COCO_train2014_{:012d}.jpg"


def instances(names: dict[int, str]) -> dict[str, Any]:
    """`instances.json` of two images with two boxes each."""
    return {
        "images": [{"id": id_, "file_name": name, "width": 40, "height": 30} for id_, name in names.items()],
        "annotations": [
            {"id": 10, "image_id": 1, "bbox": [2.5, 3, 10, 12], "category_id": 1, "segmentation": [[1, 2, 3, 4]]},
            {"id": 11, "image_id": 1, "bbox": [20, 5, 8, 8], "category_id": 1, "segmentation": [[1, 2, 3, 4]]},
            {"id": 20, "image_id": 2, "bbox": [0, 0, 40, 30], "category_id": 3, "segmentation": {"counts": [1]}},
            {"id": 21, "image_id": 2, "bbox": [5, 5, 5, 5], "category_id": 3, "segmentation": []},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
    }


def sentence(id_: int, text: str) -> dict[str, Any]:
    return {"sent_id": id_, "sent": text, "raw": text.upper(), "tokens": text.split()}


REFS: list[dict[str, Any]] = [
    {
        "ref_id": 5, "ann_id": 10, "category_id": 1, "image_id": 1, "split": "train", "sent_ids": [50, 51],
        "file_name": "COCO_train2014_000000000001_10.jpg",
        "sentences": [sentence(50, "left man"), sentence(51, "man in red")],
    },
    {
        "ref_id": 6, "ann_id": 11, "category_id": 1, "image_id": 1, "split": "testA", "sent_ids": [60],
        "file_name": "COCO_train2014_000000000001_11.jpg", "sentences": [sentence(60, "the other man")],
    },
    {
        "ref_id": 7, "ann_id": 20, "category_id": 3, "image_id": 2, "split": "testB", "sent_ids": [70],
        "file_name": "COCO_train2014_000000000002_20.jpg", "sentences": [sentence(70, "big car")],
    },
]  # fmt: skip


@pytest.fixture
def refer_folder(tmp_path: Path) -> Path:
    """RefCOCO as its authors' reader wants it: DATA/refcoco and DATA/images/mscoco/images/train2014."""
    return _refer(tmp_path / "data", "refcoco", {"refs(unc).p": REFS})


def _refer(data: Path, name: str, files: dict[str, list[dict[str, Any]]]) -> Path:
    folder = data / name
    names = {1: COCO_NAME.format(1), 2: COCO_NAME.format(2)}
    _json(folder / "instances.json", instances(names))
    for file, refs in files.items():
        (folder / file).write_bytes(pickle.dumps(refs, protocol=2))
    for image in names.values():
        write_image(data / "images/mscoco/images/train2014" / image)
    return folder


def _thing_said(ref_id: int, ann_id: int, split: str, *texts: tuple[int, str]) -> dict[str, Any]:
    """A reference to a thing of `instances`; its sentences as (id, words)."""
    image_id, category_id = (1, 1) if ann_id < 20 else (2, 3)
    return {
        "ref_id": ref_id, "ann_id": ann_id, "category_id": category_id, "image_id": image_id, "split": split,
        "sent_ids": [id_ for id_, _ in texts], "file_name": f"COCO_train2014_{image_id:012d}_{ann_id}.jpg",
        "sentences": [sentence(id_, text) for id_, text in texts],
    }  # fmt: skip


@pytest.fixture
def refcoco_plus_folder(tmp_path: Path) -> Path:
    """RefCOCO+: one file of references, divided by unc; no words of place."""
    refs = [
        _thing_said(0, 10, "train", (0, "bald man")),
        _thing_said(1, 21, "val", (3, "small white car")),
        _thing_said(2, 11, "testA", (6, "red shirt")),
        _thing_said(3, 20, "testB", (9, "dark car")),
    ]
    return _refer(tmp_path / "data", "refcoco+", {"refs(unc).p": refs})


@pytest.fixture
def refcocog_folder(tmp_path: Path) -> Path:
    """RefCOCOg: whole phrases, divided twice. umd divides images, google things; google's test was never published."""
    man = (8, "the man in yellow coat"), (9, "skiing man in a yellow coat and a black cap")
    other, car = (14, "a man who looks at his phone"), (32, "a grey car that is parked in front of a shop")
    umd = [
        _thing_said(0, 10, "train", *man),
        _thing_said(1, 21, "val", (20, "a small car behind the grey one")),
        _thing_said(2, 20, "test", car),
    ]
    google = [
        _thing_said(0, 10, "train", *man),
        _thing_said(3, 11, "val", other),
        _thing_said(2, 20, "val", car),
    ]
    return _refer(tmp_path / "data", "refcocog", {"refs(umd).p": umd, "refs(google).p": google})


@pytest.fixture
def grefs_folder(tmp_path: Path) -> Path:
    """gRefCOCO: one expression for nothing, one for one thing, one for two."""
    folder = tmp_path / "data" / "grefs"
    names = {1: COCO_NAME.format(1), 2: COCO_NAME.format(2)}
    _json(folder / "instances.json", instances(names))
    common = {"split": "val", "file_name": "x.jpg"}
    refs = [
        {"ref_id": 1, "ann_id": [10, 11], "category_id": [1, 1], "image_id": 1, "no_target": False, **common,
         "sentences": [sentence(1, "both men")]},
        {"ref_id": 2, "ann_id": [-1], "category_id": [-1], "image_id": 1, "no_target": True, **common,
         "sentences": [sentence(2, "the dog")]},
        {"ref_id": 3, "ann_id": [20], "category_id": [3], "image_id": 2, "no_target": False, **common,
         "sentences": [sentence(3, "car")]},
    ]  # fmt: skip
    _json(folder / "grefs(unc).json", refs)
    for name in names.values():
        write_image(tmp_path / "data/train2014" / name)
    return folder


@pytest.fixture
def official_folder(tmp_path: Path) -> Path:
    """The SimVG code's file of RefCOCO: DATA/annotations/refcoco-unc/instances.json, DATA/images/mscoco/train2014."""
    folder = tmp_path / "data/annotations/refcoco-unc"
    size = {"width": 40, "height": 30}
    _json(
        folder / "instances.json",
        {
            "train": [
                {"image_id": 1, "bbox": [2.5, 3, 10, 12], "expressions": ["left man", "man in red"], **size},
                {"image_id": 2, "bbox": [0, 0, 40, 30], "expressions": ["big car"], "mask": [[1, 2]], **size},
            ],
            "val": [{"image_id": 1, "bbox": [20, 5, 8, 8], "expressions": ["the other man"], **size}],
        },
    )
    for number in (1, 2):
        write_image(tmp_path / "data/images/mscoco/train2014" / COCO_NAME.format(number))
    return folder


def _thing(ids: list[int], box: tuple[int, int, int, int] | None, scene: int = 0) -> str:
    names = "".join(f"<name>{id_}</name>" for id_ in ids)
    if box is None:
        return f"<object>{names}<scene>{scene}</scene><nobndbox>{1 - scene}</nobndbox></object>"
    sides = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object>{names}<bndbox>{sides}</bndbox></object>"


@pytest.fixture
def flickr_folder(tmp_path: Path) -> Path:
    """Flickr30k Entities with two images; a phrase of the first has two boxes."""
    folder = tmp_path / "flickr30k_entities"
    (folder / "Sentences").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    (folder / "Sentences/11.txt").write_text(
        "[/EN#1/people Two men] hold [/EN#2/other a rope] on [/EN#3/scene the beach] .\n"
        "[/EN#1/people Men] with [/EN#4/clothing red caps] and [/EN#0/notvisual fun] near [/EN#9/other something] .\n",
        encoding="utf-8",
    )
    (folder / "Sentences/12.txt").write_text("[/EN#7/bodyparts/people A man 's arm] .\n", encoding="utf-8")
    start = "<annotation><filename>{}.jpg</filename><size><width>40</width><height>30</height><depth>3</depth></size>"
    (folder / "Annotations/11.xml").write_text(
        start.format(11)
        + _thing([1], (2, 3, 11, 21))
        + _thing([1, 4], (21, 2, 31, 20))
        + _thing([2], None)
        + _thing([3], None, scene=1)
        + "</annotation>",
        encoding="utf-8",
    )
    (folder / "Annotations/12.xml").write_text(
        start.format(12) + _thing([7], (1, 1, 40, 30)) + "</annotation>", "utf-8"
    )
    (folder / "train.txt").write_text("11\n", encoding="utf-8")
    (folder / "test.txt").write_text("12\n", encoding="utf-8")
    for name in ("11", "12"):
        write_image(tmp_path / "flickr30k-images" / f"{name}.jpg")
    return folder


@pytest.fixture
def line_folder(tmp_path: Path) -> Path:
    """A line set of two pictures: one thing, several, a lure."""
    folder = tmp_path / "line"
    _json(
        folder / "annotations.json",
        {
            "info": {"version": "2", "seed": 7, "split": "test", "description": "hand-made"},
            "images": [
                {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30},
                {"id": 2, "file_name": "b.png", "width": 20, "height": 10},
            ],
            "categories": [{"id": 1, "name": "cap"}],
            "annotations": [
                {"id": 1, "image_id": 1, "bbox": [1, 2, 10, 12], "category_id": 1, "attributes": {"color": "red"}},
                {"id": 2, "image_id": 1, "bbox": [20, 5, 20, 25], "category_id": 1, "attributes": {"color": "blue"}},
                {"id": 3, "image_id": 2, "bbox": [0, 0, 5, 5], "category_id": 1, "attributes": {}},
            ],
            "expressions": [
                {"id": 1, "image_id": 1, "text": "the red cap", "kind": "color", "noun": "cap", "lure": False,
                 "annotation_ids": [1]},
                {"id": 2, "image_id": 1, "text": "caps", "kind": "plain", "noun": "cap", "lure": False,
                 "annotation_ids": [1, 2]},
                {"id": 3, "image_id": 2, "text": "the green cap", "kind": "color", "noun": "cap", "lure": True,
                 "annotation_ids": []},
            ],
        },
    )  # fmt: skip
    write_image(folder / "images/a.jpg")
    write_image(folder / "images/b.png", 20, 10)
    return folder


@pytest.fixture
def change_line(line_folder: Path) -> Change:
    """Changes the document of the line set."""
    return changing(line_folder / "annotations.json")


@pytest.fixture
def change_refs(refer_folder: Path) -> Change:
    """Changes the references of RefCOCO."""
    return changing(refer_folder / "refs(unc).p")


@pytest.fixture
def change_official(official_folder: Path) -> Change:
    """Changes the file of the SimVG code."""
    return changing(official_folder / "instances.json")


@pytest.fixture
def change_grefs(grefs_folder: Path) -> Change:
    """Changes the references of gRefCOCO."""
    return changing(grefs_folder / "grefs(unc).json")


@pytest.fixture(name="write_image")
def write_image_fixture() -> Callable[..., Path]:
    """Writes a picture: path, width, height."""
    return write_image
