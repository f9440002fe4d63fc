"""The line benchmark in the repository, and how it is made."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from simvg_core.errors import ConfigurationError
from simvg_core.lineworld.benchmark import SPLITS, STANDING, ask, build, decidable, document_of, questions
from simvg_core.lineworld.draw import draw_scene
from simvg_core.lineworld.language import Grammar, rng_of
from simvg_core.lineworld.picture import render
from simvg_core.lineworld.produce import render_set
from simvg_core.lineworld.tracer import Tracer
from simvg_core.lineworld.truth import Seen
from simvg_core.lineworld.vocabulary import BY_KEY, CONCEPTS
from simvg_core.training.sets.line import LineDocument, read_document

SHIPPED = Path(__file__).parents[3] / "benchmarks" / "line"


@cache
def shipped(split: str) -> LineDocument:
    """A split as it is in the repository, read once."""
    return read_document(SHIPPED / split)


def seen(number: int, kind: str, x: float, y: float, *, side: float = 0.1, **fields: object) -> Seen:
    """A square thing by its centre."""
    known = {"plate": 1, "color": None, "size": None, "state": "ok", "clear": True, **fields}
    half = side / 2
    return Seen(id=number, kind=kind, box=(x - half, y - half, x + half, y + half), **known)  # type: ignore[arg-type]


@pytest.mark.parametrize("split", SPLITS)
def test_the_shipped_pictures_are_those_of_the_annotations(split: str) -> None:
    """No picture is missing or left over, and there are as many as promised."""
    document = shipped(split)
    names = {image.file_name for image in document.images}
    assert names == {path.name for path in (SHIPPED / split / "images").iterdir()}
    assert len(names) == SPLITS[split].images
    assert document.info.seed == SPLITS[split].seed


@pytest.mark.parametrize("split", SPLITS)
def test_asking_shipped_pictures_again_gives_the_shipped_queries(split: str) -> None:
    """Texts, kinds and answers of every twentieth picture are exactly those in the repository."""
    document = shipped(split)
    instance = {thing.id: thing.attributes["instance"] for thing in document.annotations}
    for image in document.images[::20]:
        stored = [
            (one.text, one.kind, one.noun, tuple(sorted(instance[thing] for thing in one.annotation_ids)), one.lure)
            for one in document.expressions
            if one.image_id == image.id
        ]
        again = [(one.text, one.kind, one.noun, one.targets, one.lure) for one in questions(document, image)]
        assert again == stored


def test_the_shipped_pictures_are_small() -> None:
    """Whoever clones the repository loads them: under 40 MB in all."""
    files = [path for split in SPLITS for path in (SHIPPED / split / "images").iterdir()]
    assert sum(path.stat().st_size for path in files) < 40e6


@pytest.mark.parametrize(("split", "index"), [("val", 3), ("test", 7), ("test", 412), ("test_hard", 5)])
def test_a_shipped_picture_rendered_again_is_the_same(split: str, index: int) -> None:
    """Truth exactly, pixels to within rounding of the light and of JPEG."""
    document, image = shipped(split), shipped(split).images[index]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SWIG's types inside the libraries
        tracer = Tracer(samples=SPLITS[split].samples)
    picture, truth = render(tracer, draw_scene(SPLITS[split].seed, index, SPLITS[split].split))
    names = {category.id: category.name for category in document.categories}
    stored = [
        (thing.attributes["instance"], names[thing.category_id or 0], thing.bbox)
        for thing in document.annotations
        if thing.image_id == image.id
    ]
    boxes = [
        (one["box"][0], one["box"][1], one["box"][2] - one["box"][0], one["box"][3] - one["box"][1]) for one in truth
    ]
    assert [(one["id"], one["kind"], box) for one, box in zip(truth, boxes, strict=True)] == stored
    kept = cv2.imread(str(SHIPPED / split / "images" / image.file_name))
    assert kept is not None
    away = np.abs(kept.astype(int) - picture.astype(int))
    assert away.mean() < 3
    assert np.percentile(away, 99) < 16


def test_every_kind_of_query_is_asked_often_enough() -> None:
    """The test split has at least 5,000 queries, 300 of every kind, and about as many without as with an answer."""
    document = shipped("test")
    kinds = Counter("plural" if one.kind == "count" else one.kind for one in document.expressions)
    assert kinds.total() >= 5000
    wanted = {"plain", "attribute", "position", "relation", "superlative", "plural", "state", "synonym", "none"}
    assert set(kinds) == wanted | {"standing"}
    assert min(kinds.values()) >= 300
    without = sum(not one.annotation_ids for one in document.expressions)
    assert 0.4 < without / len(document.expressions) < 0.6
    assert sum(one.text == "missing bolt" for one in document.expressions) >= 800


def test_no_picture_is_asked_the_same_text_twice() -> None:
    """Texts of a picture differ, and answers lie in it."""
    document = shipped("val")
    owner = {thing.id: thing.image_id for thing in document.annotations}
    assert len({(one.image_id, one.text) for one in document.expressions}) == len(document.expressions)
    assert all(owner[thing] == one.image_id for one in document.expressions for thing in one.annotation_ids)


def test_synonyms_are_phrasings_that_training_never_sees() -> None:
    """No held-out word sequence is among the names and sentences of training, nor in what training asks."""
    unheard = {form for one in CONCEPTS for pair in one.held_out for form in pair} | {
        sentence for one in CONCEPTS for sentence in one.statements_held_out
    }
    heard = {form for one in CONCEPTS for pair in one.names for form in pair} | {
        sentence for one in CONCEPTS for sentence in one.statements
    }
    assert not [(new, old) for new in unheard for old in heard if f" {new} " in f" {old} "]
    things = [
        seen(number, kind, 0.1 + 0.04 * number, 0.2 + 0.03 * number, color="red")
        for number, kind in enumerate(sorted({kind for one in CONCEPTS for kind in one.kinds}))
    ]
    asked = {query.text for epoch in range(80) for query in Grammar().ask(things, rng_of(1, 1, epoch), 20)}
    assert len(asked) > 200
    assert not [(new, text) for new in unheard for text in asked if f" {new} " in f" {text} "]
    assert {one.text for one in shipped("val").expressions if one.kind == "synonym"} - asked


def test_an_empty_picture_is_asked_standing_texts_and_what_is_not_there() -> None:
    """Nothing in view: every query is without an answer."""
    queries = ask([], 1, 0)
    assert [query.text for query in queries[: len(STANDING)]] == list(STANDING)
    assert len(queries) > len(STANDING)
    assert not any(query.targets for query in queries)


def test_queries_depend_on_seed_and_index_only() -> None:
    """The same picture gets the same queries again, another index others."""
    scene = [
        seen(1, "cap", 0.2, 0.2, color="red"),
        seen(2, "gear", 0.8, 0.8, color="brass"),
        seen(3, "label", 0.2, 0.7),
    ]
    assert ask(scene, 1, 0) == ask(scene, 1, 0) != ask(scene, 1, 1)


@pytest.mark.parametrize(
    ("thing", "clear"),
    [
        (seen(1, "cross_screw", 0.5, 0.5, side=0.05, color="black"), False),
        (seen(1, "cross_screw", 0.5, 0.5, side=0.05, color="steel"), True),
        (seen(1, "hex_bolt", 0.5, 0.5, side=0.1, color="black", state="tilted"), False),
        (seen(1, "hex_bolt", 0.5, 0.5, side=0.1, color="steel", state="tilted"), True),
        (seen(1, "hex_bolt", 0.5, 0.5, side=0.04, color="black"), False),
        (seen(1, "cap", 0.5, 0.5, side=0.04, color="black"), True),
        (seen(1, "cap", 0.5, 0.5, side=0.1, clear=False), False),
    ],
    ids=["dark screw", "bright screw", "dark and leaning", "bright and leaning", "small and dark", "cap", "unclear"],
)
def test_what_nobody_can_tell_is_unclear(thing: Seen, clear: bool) -> None:
    """Small dark fasteners are not asked for by kind, dark leaning ones not by state."""
    assert decidable([thing], 320, 320)[0].clear is clear


def test_missing_bolt_tells_other_holes_as_look_alikes() -> None:
    """Without a target, the lure says whether any other hole is in view."""
    hole, gap = seen(1, "drilled_hole", 0.3, 0.3), seen(2, "missing_bolt", 0.7, 0.7)
    standing = [ask(scene, 1, 0)[0] for scene in ([], [hole], [hole, gap])]
    assert [(query.text, query.targets, query.lure) for query in standing] == [
        ("missing bolt", (), False),
        ("missing bolt", (), True),
        ("missing bolt", (2,), False),
    ]
    assert standing[0].noun in BY_KEY


def test_a_foreign_set_is_refused(tmp_path: Path) -> None:
    """Pictures of another seed, split or version never become the benchmark."""
    with pytest.raises(ConfigurationError, match="no split 'train'"):
        build("train", tmp_path / "out")
    with pytest.raises(ConfigurationError, match="simvg line render"):
        build("val", tmp_path / "out", tmp_path / "missing")
    (tmp_path / "set.json").write_text(json.dumps({"version": 1, "seed": 101, "split": "val", "samples": 4}))
    with pytest.raises(ConfigurationError, match="the benchmark needs"):
        build("val", tmp_path / "out", tmp_path)


def test_an_unfinished_set_is_refused(tmp_path: Path) -> None:
    """The first missing picture is named."""
    render_set(tmp_path, 0, SPLITS["val"].seed, "val", 1)
    with pytest.raises(ConfigurationError, match=r"lacks 2 of 2 pictures, first 000000\.jpg"):
        build("val", tmp_path / "out", tmp_path, images=2)


def test_a_set_is_not_made_a_benchmark_in_its_own_folder(tmp_path: Path) -> None:
    """Its pictures would be copied onto themselves."""
    render_set(tmp_path, 0, SPLITS["val"].seed, "val", 1)
    with pytest.raises(ConfigurationError, match="holds the rendered set itself"):
        build("val", tmp_path / "images" / "..", tmp_path, images=1)


def test_no_picture_makes_an_empty_document() -> None:
    """A document without pictures is whole."""
    document = document_of("val", [])
    assert document.images == document.annotations == document.expressions == []
