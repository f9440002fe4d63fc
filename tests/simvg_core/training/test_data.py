"""Rendered sets as batches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError
from simvg_core.lineworld.language import Grammar
from simvg_core.training.augment import AugmentSettings
from simvg_core.training.data import BatchMaker, DataError, LineSet, prefetch
from simvg_core.training.tokenizer import build_tokenizer, write_tokenizer


def maker(folder: Path, augmentation: AugmentSettings | None = None) -> BatchMaker:
    """Batches at 96 pixels."""
    config = SimVGConfig.line_small(image_size=96, vocab_size=build_tokenizer().get_vocab_size())
    return BatchMaker(LineSet(folder), config, augmentation, Grammar(), 6, 1)


def test_a_folder_without_pictures_says_how_to_make_some(tmp_path: Path) -> None:
    """The remedy is a command."""
    with pytest.raises(DataError, match="holds no rendered picture; make some with `simvg line render"):
        LineSet(tmp_path).names()


@pytest.mark.parametrize("augmentation", [None, AugmentSettings()], ids=["plain", "augmented"])
def test_a_batch_fits_together(drawn_set: Path, augmentation: AugmentSettings | None) -> None:
    """Questions, owners, boxes and pictures agree in number; boxes lie in the picture."""
    batch = maker(drawn_set, augmentation)((["000000", "000001"], 0))
    assert batch.pixels.shape == (2, 96, 96, 3)
    assert len(batch.queries) == len(batch.input_ids) == len(batch.image_index) == len(batch.boxes)
    assert all(len(boxes) == len(query.targets) for boxes, query in zip(batch.boxes, batch.queries, strict=True))
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2 for boxes in batch.boxes])
    assert corners.min() >= -1e-6


def test_a_picture_is_asked_false_texts_besides_and_some_texts_carry_a_designation(drawn_set: Path) -> None:
    """The questions are those that are asked without, in the same order."""
    plain = maker(drawn_set)((["000000"], 0)).queries
    more = replace(maker(drawn_set), false_texts=9, designations=1.0)((["000000"], 0))
    assert len(more.queries) == len(plain) + 9 == len(more.boxes)
    for bare, long in zip(plain, more.queries, strict=False):
        assert long.targets == bare.targets and len(long.text.split()) == len(bare.text.split()) + 1
    assert all(query.targets == () for query in more.queries[len(plain) :])


def test_batches_depend_only_on_names_and_epoch(drawn_set: Path) -> None:
    """Two makers agree, two epochs do not."""
    one, two = maker(drawn_set, AugmentSettings()), maker(drawn_set, AugmentSettings())
    task = (["000002", "000004"], 3)
    np.testing.assert_array_equal(one(task).pixels, two(task).pixels)
    assert one(task).queries == two(task).queries
    assert not np.array_equal(one(task).pixels, one((task[0], 4)).pixels)


def test_prefetching_keeps_the_order() -> None:
    """Work ahead comes out as it went in."""
    with ThreadPoolExecutor(3) as executor:
        assert list(prefetch(lambda x: x * x, range(20), executor)) == [x * x for x in range(20)]
    assert list(prefetch(lambda x: x * x, range(5), None)) == [0, 1, 4, 9, 16]


def test_every_word_of_the_grammar_is_one_piece() -> None:
    """And no word whatever is lost: others are spelt from characters."""
    tokenizer = build_tokenizer()
    assert tokenizer.encode("empty bolt hole").tokens == ["empty", "bolt", "hole"]
    assert "<unk>" not in tokenizer.encode("zyklonabscheider naïve 4711").tokens
    assert [tokenizer.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]


def test_a_tokenizer_that_cannot_be_written_names_its_folder(tmp_path: Path) -> None:
    """As every command does that writes into a folder."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"nothing can be written into .*file \(File exists\)"):
        write_tokenizer(tmp_path / "file")
