"""RefCOCO, RefCOCO+, RefCOCOg and ReferIt (`refs(unc).p`), and gRefCOCO (`grefs(unc).json`), with `instances.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simvg_core.training.sets.collect import Collector, SampleSet, corners
from simvg_core.training.sets.errors import SetFormatError, SetNotFoundError
from simvg_core.training.sets.instances import Instances, read_instances, read_lean_json
from simvg_core.training.sets.pictures import Picture, find_images
from simvg_core.training.sets.places import image_folders
from simvg_core.training.sets.plain_pickle import read_plain_pickle
from simvg_core.training.sets.sample import BoxXyxyPx

INSTANCES = "instances.json"
REFS = "refs(*).p"
GREFS = "grefs(*).json"
_GET = "get the file anew"


def read_refer(path: Path, *, split: str | None = None, images: Path | None = None) -> SampleSet:
    """Reads a folder of the `refer` layout, or one of its `refs(…).p`.

    Raises:
        SetNotFoundError: a file is missing, several `refs(…).p` are there, or the images are nowhere.
        SetFormatError, UnsafePickleError: a file is broken, or is not plain.
        SetSplitError: there is no such split.
    """
    file = only_file(path, REFS)
    return _read(file, read_plain_pickle, split, images)


def read_grefcoco(path: Path, *, split: str | None = None, images: Path | None = None) -> SampleSet:
    """Reads a folder of gRefCOCO, or its `grefs(…).json`. Raises as `read_refer`."""
    file = only_file(path, GREFS)
    return _read(file, read_lean_json, split, images, several=True)


def only_file(path: Path, pattern: str) -> Path:
    """The file itself, or the one of that pattern in the folder.

    Raises:
        SetNotFoundError: there is none, or several.
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob(pattern))
    if len(found) == 1:
        return found[0]
    if not found:
        raise SetNotFoundError(f"{path} holds no {pattern}; name the folder of the set, or the file.")
    names = ", ".join(file.name for file in found)
    raise SetNotFoundError(f"{path} holds {names}; name the one that you mean, e.g. '{found[0]}'.")


def same_split(wanted: str, given: str) -> bool:
    """As the sets' own reader has it: "test" is every test split, and "testA" is also in "testAB"."""
    if wanted == "test":
        return given.startswith("test")
    if wanted in ("testA", "testB", "testC"):
        return given.startswith("test") and wanted[-1] in given[4:]
    return wanted == given


def _read(
    file: Path, read: Callable[[Path], Any], split: str | None, images: Path | None, several: bool = False
) -> SampleSet:
    # boxes first: the raw file is large, and its memory is used again for the references
    instances = read_instances(file.parent / INSTANCES)
    refs = read(file)
    if not isinstance(refs, list):
        raise SetFormatError(f"{file} holds a {type(refs).__name__}, not a list of references; {_GET}.")
    folder = find_images((row.file_name for row in instances.images.values()), image_folders(file.parent, images))
    pictures = {
        id_: Picture(str(id_), folder / row.file_name, row.width, row.height) for id_, row in instances.images.items()
    }
    by = file.stem[file.stem.find("(") + 1 : -1] if "(" in file.stem else file.stem
    collector = Collector(f"{file.parent.name} {by}", split, matches=same_split)
    for number, ref in enumerate(refs):
        refs[number] = None  # its memory is used again for the samples
        try:
            _take(ref, collector, instances, pictures, several)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            what = f"field {error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            collector.torn(f"reference number {number}", what, _GET)
    return collector.finish("grec" if several else "rec")


def _take(
    ref: dict[str, Any], collector: Collector, instances: Instances, pictures: dict[Any, Picture], several: bool
) -> None:
    ref_id, given, image_id, sentences = ref["ref_id"], ref["split"], ref["image_id"], ref["sentences"]
    if not isinstance(given, str):
        raise ValueError(f"split={given!r} is not a word")
    if not isinstance(sentences, list) or not sentences:
        raise ValueError(f"sentences={sentences!r} is not a list of sentences")
    ann_ids: Sequence[Any] = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
    nothing = several and (bool(ref.get("no_target")) or list(ann_ids) in ([-1], []))
    texts = [(str(sentence["sent_id"]), sentence.get("sent", sentence.get("raw"))) for sentence in sentences]
    texts = [one for one in texts if collector.wants(given)]
    if not texts:
        return
    boxes: list[BoxXyxyPx] = []
    wrong = None if image_id in pictures else f"its image {image_id} is not in {INSTANCES}"
    if image_id in instances.unsure_images:
        wrong = f"several images of {INSTANCES} have its image_id {image_id}"
    nouns = set()
    for ann_id in () if nothing or wrong else ann_ids:
        row = instances.boxes.get(ann_id)
        if row is None:
            wrong = f"its annotation {ann_id} is not in {INSTANCES}"
        elif isinstance(row.bbox_xywh, str):
            wrong = f"annotation {ann_id}: {row.bbox_xywh}"
        elif row.image_id != image_id:
            wrong = f"its annotation {ann_id} is of image {row.image_id}, not of {image_id}"
        else:
            boxes.append(corners(row.bbox_xywh))
            nouns.add(instances.nouns.get(row.category_id))
    kinds = {0: "no target", 1: "one target"}
    for sent_id, text in texts:
        id_ = f"{ref_id}-{sent_id}"
        if wrong is not None:
            collector.broken(f"expression {id_}", wrong, f"get {INSTANCES} that belongs to the references")
            continue
        collector.add(
            id=id_,
            picture=pictures[image_id],
            text=text,
            boxes_xyxy_px=boxes,
            kind=kinds.get(len(boxes), "several targets") if several else "plain",
            noun=nouns.copy().pop() if len(nouns) == 1 else None,
        )
