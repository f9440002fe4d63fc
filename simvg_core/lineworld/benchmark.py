"""The line benchmark: a fixed set of rendered pictures with queries that a person can decide, kept in the repository.

Written as COCO annotations with expressions: DIR/images/*.jpg and DIR/annotations.json. Every picture is asked the
same forms of question, so that no kind of query and no crowded picture outweighs the others.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simvg_core.errors import ConfigurationError, InputError
from simvg_core.lineworld.language import Grammar, Query, concepts_in, rng_of, standing_truth
from simvg_core.lineworld.meaning import Meaning, verdict
from simvg_core.lineworld.produce import VERSION, render_set, require_set
from simvg_core.lineworld.truth import ImageTruth, Instance, Seen, read_truth, seen_in
from simvg_core.lineworld.vocabulary import FASTENERS, HOLES, KINDS, SCREWS, Concept
from simvg_core.training.folder import make_folder
from simvg_core.training.sets.line import (
    LineAnnotation,
    LineCategory,
    LineDocument,
    LineExpression,
    LineImage,
    LineInfo,
    write_document,
)

QUERIES_VERSION = 1
"""Raised when the same pictures would be asked other questions."""

STANDING = ("missing bolt", "loose bolt", "crooked label", "red cap")
"""Asked of every picture that decides them, as a line's standing queries are: they give the scores per image."""

# With an answer: kind of query → forms of the grammar that make it.
_ANSWERED: dict[str, tuple[str, ...]] = {
    "plain": ("named",),
    "attribute": ("colored", "colored", "sized", "named"),
    "position": ("placed",),
    "relation": ("related",),
    "superlative": ("superlative",),
    "plural": ("plural",),
    "state": ("named",),
    "synonym": ("named", "named", "colored"),
}
# Without an answer: a look-alike, the right thing elsewhere or in another colour, and anything that is not there.
_NONE: tuple[tuple[str, ...], ...] = (("rival",), ("colored", "placed", "related"), ("any",))
_TRIES = 80


@dataclass(frozen=True, slots=True)
class Split:
    """One part of the benchmark: how many pictures of which set, and the seed of its queries."""

    images: int
    seed: int
    split: str
    samples: int = 4


SPLITS = {
    "val": Split(250, 101, "val"),
    "test": Split(1000, 102, "test"),
    "test_hard": Split(300, 103, "test_hard"),
}


def ask(scene: Sequence[Seen], seed: int, index: int) -> list[Query]:
    """The benchmark's queries about one picture: the same for the same picture, seed and index.

    Kinds are those of the grammar, "standing" for the texts of `STANDING` and "none" for questions without an answer;
    "synonym" (a phrasing that training never sees) is asked once with and once without one.
    """
    rng = rng_of(seed, index, 0)
    found: dict[str, Query] = {}
    for text in STANDING:
        targets = standing_truth(scene, text)
        if targets is not None and len(targets) <= Grammar().max_targets:
            found[text] = _standing(scene, text, targets)
    usual, unheard = Grammar(), Grammar(held_out=True)
    for kind, forms in _ANSWERED.items():
        grammar = unheard if kind == "synonym" else usual
        concepts = _answered(scene, kind)
        query = _first(grammar, forms, scene, rng, concepts, found, _Wanted(kind, True)) if concepts else None
        if query is not None:
            found[query.text] = query
    here = concepts_in(scene)
    for grammar, forms, kind in (
        (unheard, ("rival", "colored", "any"), "synonym"),
        *((usual, forms, "none") for forms in _NONE),
    ):
        query = _first(grammar, forms, scene, rng, here, found, _Wanted(kind, False))
        if query is not None:
            found[query.text] = Query(query.text, kind, query.noun, (), query.lure)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Wanted:
    kind: str
    answered: bool

    def fits(self, query: Query) -> bool:
        if bool(query.targets) != self.answered or (self.kind != "synonym" and query.kind == "synonym"):
            return False
        if " without a " in query.text:  # said of any hole it would be true
            return False
        if self.kind == "none":
            return True
        return query.kind == self.kind or (self.kind == "plural" and query.kind == "count")


def _first(
    grammar: Grammar,
    forms: Sequence[str],
    scene: Sequence[Seen],
    rng: random.Random,
    concepts: Sequence[Concept],
    found: dict[str, Query],
    wanted: _Wanted,
) -> Query | None:
    """The first draw that is wanted and new."""
    for _ in range(_TRIES):
        query = grammar.draw(rng.choice(forms), scene, rng, concepts)
        if (
            query is not None
            and wanted.fits(query)
            and query.text not in found
            and len(query.targets) <= grammar.max_targets
        ):
            return query
    return None


def _answered(scene: Sequence[Seen], kind: str) -> list[Concept]:
    """Concepts worth drawing for a kind: clearly in view and, for single names, with a decided answer."""
    here = concepts_in(scene)
    if kind not in ("plain", "state", "synonym"):
        return here
    chosen = []
    for concept in here:
        if kind == "plain" and concept.state is not None:
            continue
        if kind == "state" and not concept.statements:
            continue
        if kind == "synonym" and not (concept.held_out or concept.statements_held_out):
            continue
        targets, decided = verdict(Meaning(concept), scene)
        if (decided and targets) or (kind == "synonym" and concept.colored):
            chosen.append(concept)
    return chosen


def _standing(scene: Sequence[Seen], text: str, targets: tuple[int, ...]) -> Query:
    noun = {"missing bolt": "missing_bolt", "loose bolt": "loose_bolt", "crooked label": "crooked_label"}.get(
        text, "cap"
    )
    rivals = {
        "missing_bolt": HOLES - {"missing_bolt"},
        "loose_bolt": {"hex_bolt"},
        "crooked_label": {"label"},
        "cap": {"cap"},
    }[noun]
    lure = not targets and any(seen.kind in rivals for seen in scene)
    return Query(text, "standing", noun, tuple(sorted(targets)), lure)


# -- the stored set ----------------------------------------------------------------------------------------------------


def decidable(scene: Sequence[Seen], width: int, height: int) -> list[Seen]:
    """The picture as a person sees it at its own size, width × height pixels: more is unclear than for training.

    At these sizes nobody tells a small black fastener's kind, or that a black or a small one leans.
    """
    return [replace(seen, clear=seen.clear and not _hard_to_tell(seen, width, height)) for seen in scene]


def _hard_to_tell(seen: Seen, width: int, height: int) -> bool:
    if seen.kind not in FASTENERS:
        return False
    short = min((seen.box[2] - seen.box[0]) * width, (seen.box[3] - seen.box[1]) * height)
    if seen.state == "tilted" and (seen.color == "black" or short < 16):
        return True
    if seen.kind in SCREWS:
        return short < (20 if seen.color == "black" else 12)
    return seen.color == "black" and short < 16


def scene_of(document: LineDocument, image: LineImage) -> list[Seen]:
    """What is in one of the benchmark's pictures, as a person sees it; ids are those of `attributes["instance"]`."""
    names = {category.id: category.name for category in document.categories}
    scene = []
    for thing in document.annotations:
        if thing.image_id == image.id:
            x, y, w, h = thing.bbox
            had = thing.attributes
            box = (x / image.width, y / image.height, (x + w) / image.width, (y + h) / image.height)
            kind, plate = names[thing.category_id or 0], had.get("plate")
            scene.append(
                Seen(had["instance"], kind, plate, had.get("color"), had.get("size"), had["state"], box, had["clear"])
            )
    return decidable(scene, image.width, image.height)


def questions(document: LineDocument, image: LineImage) -> list[Query]:
    """Asks the benchmark's queries about one of its pictures anew; targets are the ids of `scene_of`."""
    if document.info.seed is None:
        raise InputError("this line set names no seed, so its queries cannot be asked anew.")
    return ask(scene_of(document, image), document.info.seed, int(image.id) - 1)


def document_of(name: str, truths: Sequence[ImageTruth]) -> LineDocument:
    """Annotations and queries of the first pictures of a split."""
    chosen = SPLITS[name]
    images: list[LineImage] = []
    things: list[LineAnnotation] = []
    expressions: list[LineExpression] = []
    for index, truth in enumerate(truths):
        image_id = index + 1
        images.append(LineImage(id=image_id, file_name=truth.image, width=truth.width, height=truth.height))
        ids: dict[int, int] = {}
        for one in truth.instances:
            ids[one.id] = len(things) + 1
            things.append(_annotation(one, ids[one.id], image_id))
        for query in ask(decidable(seen_in(truth), truth.width, truth.height), chosen.seed, index):
            expressions.append(
                LineExpression(
                    id=len(expressions) + 1,
                    image_id=image_id,
                    text=query.text,
                    annotation_ids=tuple(ids[target] for target in query.targets),
                    kind=query.kind,
                    noun=query.noun,
                    lure=query.lure,
                )
            )
    info = LineInfo(
        version=f"scenes {VERSION}, queries {QUERIES_VERSION}",
        seed=chosen.seed,
        split=name,
        description="SimVG line benchmark: rendered pictures, exact boxes, queries that a person can decide",
    )
    categories = [LineCategory(id=number, name=kind) for number, kind in enumerate(KINDS, 1)]
    return LineDocument(info=info, images=images, annotations=things, expressions=expressions, categories=categories)


def _annotation(one: Instance, number: int, image_id: int) -> LineAnnotation:
    x0, y0, x1, y1 = (int(value) if float(value).is_integer() else value for value in one.box_xyxy_px)
    attributes: dict[str, Any] = {
        "instance": one.id, "plate": one.plate, "color": one.color, "material": one.material, "size": one.size,
        "state": one.state, "visible": one.visible, "clear": one.clear,
    }  # fmt: skip
    return LineAnnotation(
        id=number,
        image_id=image_id,
        bbox=(x0, y0, x1 - x0, y1 - y0),
        category_id=KINDS.index(one.kind) + 1,
        attributes={key: value for key, value in attributes.items() if value is not None},
    )


def build(
    name: str,
    out: Path,
    pictures: Path | None = None,
    *,
    images: int | None = None,
    processes: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LineDocument:
    """Writes one split of the benchmark, OUT/images/ and OUT/annotations.json, and returns the document.

    Args:
        name: of SPLITS.
        pictures: a set rendered with the split's seed by the present version; None = render into OUT/rendered.
        images: only the first so many.

    Raises:
        ConfigurationError: an unknown split; `pictures` is another set (seed, split, version), not complete, or `out`
            itself; nothing can be written into `out`.
        RenderError, TruthError: rendering failed; a truth record is broken.
    """
    if name not in SPLITS:
        raise ConfigurationError(f"the benchmark has no split {name!r}; use one of {', '.join(SPLITS)}.")
    chosen = SPLITS[name]
    count = chosen.images if images is None else min(images, chosen.images)
    source = out / "rendered" if pictures is None else pictures
    if source.resolve() == out.resolve():
        raise ConfigurationError(f"{out} holds the rendered set itself; name another folder with --out.")
    if pictures is None:
        render_set(source, count, chosen.seed, chosen.split, processes, samples=chosen.samples, progress=progress)
    _check(source, chosen, count)
    make_folder(out / "images", "--out")
    truths = [read_truth(source / "truth" / f"{index:06d}.json") for index in range(count)]
    for truth in truths:
        shutil.copyfile(source / "images" / truth.image, out / "images" / truth.image)
    document = document_of(name, truths)
    write_document(document, out)
    if pictures is None:
        shutil.rmtree(source)
    return document


def _check(source: Path, chosen: Split, count: int) -> None:
    wanted = {"version": VERSION, "seed": chosen.seed, "split": chosen.split, "samples": chosen.samples}
    require_set(source, wanted, "name a folder of `simvg line render` with the set that the benchmark needs")
    missing = [index for index in range(count) if not (source / "images" / f"{index:06d}.jpg").is_file()]
    if missing:
        raise ConfigurationError(
            f"{source} lacks {len(missing)} of {count} pictures, first {missing[0]:06d}.jpg; go on rendering it."
        )
