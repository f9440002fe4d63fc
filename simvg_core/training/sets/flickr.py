"""Flickr30k Entities: `Sentences/*.txt`, `Annotations/*.xml`, and `train.txt`, `val.txt`, `test.txt`.

Each marked phrase of a sentence is an expression. Phrases without a box are left out and counted: those that are not
visual, that mean the whole scene, or that name something not in the picture.

Where a phrase has several boxes there are two ways to score it. MDETR (arXiv 2104.12763) calls them merged boxes (the
smallest box around all) and any box (one of them suffices). The first is that of the data set's own paper
(arXiv 1505.04870) and of the one-box files that SimVG is trained on, so it is the default.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from simvg_core.training.sets import places
from simvg_core.training.sets.collect import Collector, SampleSet
from simvg_core.training.sets.errors import SetFormatError
from simvg_core.training.sets.line import MOST_PX
from simvg_core.training.sets.pictures import Picture, find_images
from simvg_core.training.sets.sample import BoxXyxyPx

SENTENCES, ANNOTATIONS = "Sentences", "Annotations"
SPLITS = ("train", "val", "test")
UNSPLIT = "unsplit"
_PHRASE = re.compile(r"\[/EN#(\d+)/(\S+)\s+([^\]]*)\]")
_NOT_VISUAL = "0"
_GET = "get the file anew"


@dataclass(slots=True)
class Entities:
    """One annotation file."""

    width: int
    height: int
    boxes: dict[str, list[BoxXyxyPx]] = field(default_factory=dict)
    scene: set[str] = field(default_factory=set)
    nobox: set[str] = field(default_factory=set)

    def reason(self, entity: str) -> str | None:
        """Why an entity has no box; None = it has."""
        if entity in self.boxes:
            return None
        if entity == _NOT_VISUAL:
            return "phrase is not visual"
        if entity in self.scene:
            return "phrase means the whole scene"
        if entity in self.nobox:
            return "phrase names something not in the picture"
        return "phrase is not annotated"


def read_flickr(
    path: Path, *, split: str | None = None, images: Path | None = None, merge_boxes: bool = True
) -> SampleSet:
    """Reads the folder.

    Args:
        merge_boxes: the boxes of a phrase become the one around them; False = each is kept, and any of them is right.

    Raises:
        SetFormatError: a folder is missing, or a file of a split is broken.
        SetNotFoundError: the images are nowhere.
        SetSplitError: there is no such split.
    """
    for name in (SENTENCES, ANNOTATIONS):
        if not (path / name).is_dir():
            raise SetFormatError(f"{path} has no folder {name}; unpack annotations.zip of Flickr30k Entities there.")
    names = _names(path)
    folder = find_images((f"{name}.jpg" for _, name in names), places.image_folders(path, images, places.FLICKR))
    collector = Collector(path.name, split)
    for own_split, name in names:
        phrases = _phrases(path / SENTENCES / f"{name}.txt", collector)
        wanted = [phrase for phrase in phrases if collector.wants(own_split)]
        if not wanted:
            continue
        try:
            entities = read_entities(path / ANNOTATIONS / f"{name}.xml")
        except SetFormatError as error:
            for id_, *_ in wanted:
                collector.broken(f"expression {id_}", str(error).removesuffix(f"; {_GET}."), _GET)
            continue
        picture = Picture(name, folder / f"{name}.jpg", entities.width, entities.height)
        for id_, entity, types, text in wanted:
            reason = entities.reason(entity)
            if reason is not None:
                collector.skip(reason)
                continue
            boxes = entities.boxes[entity]
            collector.add(
                id=id_,
                picture=picture,
                text=text,
                boxes_xyxy_px=[around(boxes)] if merge_boxes else boxes,
                kind=types.partition("/")[0],
            )
    return collector.finish("rec")


def around(boxes: Sequence[BoxXyxyPx]) -> BoxXyxyPx:
    """The smallest box around all."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _names(path: Path) -> list[tuple[str, str]]:
    """(split, image) in the order of the files of the splits; without such files every image that has sentences.

    Raises:
        SetFormatError: a file of a split is unreadable or no UTF-8.
    """
    listed = []
    for split in SPLITS:
        file = path / f"{split}.txt"
        if not file.is_file():
            continue
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SetFormatError(f"{file} is no list of images ({error}); {_GET}.") from error
        listed += [(split, line.strip()) for line in lines if line.strip()]
    return listed or [(UNSPLIT, file.stem) for file in sorted((path / SENTENCES).glob("*.txt"))]


def _phrases(file: Path, collector: Collector) -> list[tuple[str, str, str, str]]:
    """(id, entity, types, words) of every phrase of every sentence."""
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        why = error.strerror if isinstance(error, OSError) else error
        collector.problem(f"image {file.stem}", f"its sentences {file} cannot be read ({why})", _GET)
        return []
    found = []
    for line_number, line in enumerate(text.splitlines()):
        marks = list(_PHRASE.finditer(line))
        if len(marks) != line.count("[/EN#"):
            record = f"sentence {file.stem}-{line_number}"
            collector.problem(record, f"a phrase of it is marked wrongly: {line!r}", f"correct it, or {_GET}")
        for number, mark in enumerate(marks):
            entity, types, words = mark.groups()
            found.append((f"{file.stem}-{line_number}-{number}", entity, types, words))
    return found


def read_entities(file: Path) -> Entities:
    """Reads one annotation file. Its pixels count from 1, ours from 0.

    Raises:
        SetFormatError: it is missing, no XML, or a field is missing.
    """
    try:
        root = ElementTree.parse(file).getroot()
        entities = Entities(_whole(root, "size/width"), _whole(root, "size/height"))
        for thing in root.iterfind("object"):
            ids = [name.text or "" for name in thing.iterfind("name")]
            if thing.find("bndbox") is not None:
                x0, y0, x1, y1 = (_whole(thing, f"bndbox/{side}") - 1 for side in ("xmin", "ymin", "xmax", "ymax"))
                for id_ in ids:
                    entities.boxes.setdefault(id_, []).append((float(x0), float(y0), float(x1), float(y1)))
            elif thing.findtext("scene") == "1":
                entities.scene.update(ids)
            else:
                entities.nobox.update(ids)
    except OSError as error:
        raise SetFormatError(f"{file} cannot be read ({error.strerror}); {_GET}.") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise SetFormatError(f"{file} is no annotation ({error}); {_GET}.") from error
    return entities


def _whole(node: ElementTree.Element, where: str) -> int:
    text = node.findtext(where)
    if text is None:
        raise ValueError(f"{where} is missing")
    value = int(text)
    if abs(value) > MOST_PX:
        raise ValueError(f"{where} is {value}")
    return value
