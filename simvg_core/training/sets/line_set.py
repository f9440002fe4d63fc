"""Reads a line set, or any COCO file with expressions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TypeVar

from simvg_core.training.sets.collect import Collector, SampleSet, corners
from simvg_core.training.sets.line import (
    DOCUMENT,
    IMAGES,
    Id,
    LineAnnotation,
    LineCategory,
    LineImage,
    decoded,
    parse_document,
)
from simvg_core.training.sets.pictures import Picture, find_images
from simvg_core.training.sets.sample import BoxXyxyPx

_OWN_ID = "give each {} an id of its own"
Row = TypeVar("Row", LineImage, LineAnnotation, LineCategory)


def read_line_set(path: Path, *, split: str | None = None, images: Path | None = None) -> SampleSet:
    """Reads `annotations.json` (or the folder that holds it); the one split is the document's `info.split`.

    Raises:
        SetFormatError: the file is broken, or no such document.
        SetNotFoundError: its images are nowhere.
        SetSplitError: another split was asked for.
    """
    file = path / DOCUMENT if path.is_dir() else path
    document, problems = parse_document(decoded(file), file)
    own_split = document.info.split or "unnamed"
    # boxes of ours end at the edge of the image, not at its last pixel
    collector = Collector(file.parent.name, split, margin_px=0.0)
    for problem in problems:
        collector.lost(problem)
    folders = [file.parent / IMAGES, file.parent] if images is None else [images]
    folder = find_images((image.file_name for image in document.images), folders)

    pictures = {}
    images_by_id, unsure_images = _unique(document.images, "image", collector)
    for image in images_by_id:
        name = PurePath(image.file_name)
        if name.is_absolute() or ".." in name.parts:
            remedy = "write file_name relative to the folder of images"
            collector.problem(f"image {image.id}", f"file_name {image.file_name!r} leaves the folder", remedy)
            continue
        picture = Picture(str(image.id), folder / name, image.width, image.height)
        pictures[image.id] = picture
        collector.use(picture)
    nouns = {category.id: category.name for category in _unique(document.categories, "category", collector)[0]}
    boxes: dict[Id, tuple[LineAnnotation, BoxXyxyPx]] = {}
    annotations, unsure_annotations = _unique(document.annotations, "annotation", collector)
    for annotation in annotations:
        record = f"annotation {annotation.id}"
        seen_in = pictures.get(annotation.image_id)
        if nouns and annotation.category_id is not None and annotation.category_id not in nouns:
            what = f"its category {annotation.category_id} is unknown"
            collector.problem(record, what, "correct category_id, or add the category")
        if seen_in is None:
            what = f"its image {annotation.image_id} is unknown"
            collector.problem(record, what, "correct image_id, or add the image")
        elif (box := collector.cut(record, corners(annotation.bbox), seen_in)) is not None:
            boxes[annotation.id] = (annotation, box)

    spoken: Counter[Id] = Counter()
    for expression in document.expressions:
        spoken[expression.image_id] += 1
        if not collector.wants(own_split):
            continue
        record = f"expression {expression.id}"
        picture_of = pictures.get(expression.image_id)
        unknown = [one for one in expression.annotation_ids if one not in boxes]
        meant = [boxes[one] for one in expression.annotation_ids if one in boxes]
        unsure = [one for one in expression.annotation_ids if one in unsure_annotations]
        if expression.image_id in unsure_images:
            collector.broken(record, f"several images have its image_id {expression.image_id}", _OWN_ID.format("image"))
        elif unsure:
            what = f"several annotations have the id {unsure[0]} that it names"
            collector.broken(record, what, _OWN_ID.format("annotation"))
        elif picture_of is None:
            collector.broken(
                record, f"its image {expression.image_id} is unknown", "correct image_id, or add the image"
            )
        elif unknown:
            what = f"its annotation {unknown[0]} is unknown or broken"
            collector.broken(record, what, "correct annotation_ids, or the annotation")
        elif twice := [one for one, times in Counter(expression.annotation_ids).items() if times > 1]:
            collector.broken(record, f"it names annotation {twice[0]} more than once", "name each annotation once")
        elif strays := [one.id for one, _ in meant if one.image_id != expression.image_id]:
            what = f"its annotation {strays[0]} is of another image"
            collector.broken(record, what, "correct annotation_ids or image_id")
        else:
            named = {nouns.get(one.category_id) for one, _ in meant if one.category_id is not None}
            collector.add(
                id=str(expression.id),
                picture=picture_of,
                text=expression.text,
                boxes_xyxy_px=[box for _, box in meant],
                kind=expression.kind,
                noun=expression.noun or (named.pop() if len(named) == 1 else None),
                lure=expression.lure,
            )
    for image_id in pictures:
        if not spoken[image_id]:
            collector.problem(f"image {image_id}", "no expression is about it", "add one, or remove the image")
    return collector.finish()


def _unique(rows: Iterable[Row], what: str, collector: Collector) -> tuple[list[Row], set[Id]]:
    """The rows with the first use of each id, and the ids that other rows have as well, which therefore name nothing.
    Every further use is reported, also that of the same row written twice."""
    found: dict[Id, Row] = {}
    unsure = set()
    for row in rows:
        if row.id in found:
            collector.problem(f"{what} {row.id}", "its id is used before", _OWN_ID.format(what))
            if row != found[row.id]:
                unsure.add(row.id)
        else:
            found[row.id] = row
    return list(found.values()), unsure
