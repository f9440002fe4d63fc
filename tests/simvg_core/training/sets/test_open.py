"""What a folder is, and what is said of one that is nothing."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from simvg_core.training.sets.errors import SetFormatError, SetNotFoundError
from simvg_core.training.sets.open import FORMATS, RENDERED, find_format, open_set


@pytest.mark.parametrize(
    ("fixture", "file", "format"),
    [
        ("line_folder", "annotations.json", "line"),
        ("refer_folder", "refs(unc).p", "refer"),
        ("grefs_folder", "grefs(unc).json", "grefcoco"),
        ("official_folder", "instances.json", "official"),
        ("flickr_folder", None, "flickr30k"),
    ],
    ids=list(FORMATS),
)
def test_format_is_found_from_the_files(
    fixture: str, file: str | None, format: str, request: pytest.FixtureRequest
) -> None:
    """The folder will do, and so will the file with the records; naming the format gives the same set."""
    folder: Path = request.getfixturevalue(fixture)
    assert find_format(folder) == format
    opened = open_set(folder)
    assert open_set(folder, format=format).samples() == opened.samples()
    if file is not None:
        assert find_format(folder / file) == format
        assert open_set(folder / file).samples() == opened.samples()
    assert set(FORMATS) >= {format}


def test_folder_of_nothing_names_what_was_looked_for(tmp_path: Path) -> None:
    """Every format, with its files."""
    with pytest.raises(SetNotFoundError) as raised:
        open_set(tmp_path)
    for name, what in FORMATS.items():
        assert f"{name}: {what}" in str(raised.value)
    assert "rendered: images/ and truth/" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", "x"), ("a.json", "3"), ("a.json", '{"train": 5}'), ("instances.json", '{"images": []}')],
    ids=["text", "number", "object", "COCO without references"],
)
def test_file_of_nothing_is_refused(name: str, content: str, tmp_path: Path) -> None:
    """A file that is no set of records is not guessed at."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(SetNotFoundError, match="no data set of a known format"):
        open_set(tmp_path / name)


def test_missing_path_is_named(tmp_path: Path) -> None:
    """A misspelt path."""
    with pytest.raises(SetNotFoundError, match=r"there is no .*refcocoo"):
        open_set(tmp_path / "refcocoo")


def test_unknown_format_names_the_known_ones(line_folder: Path) -> None:
    """A misspelt format."""
    with pytest.raises(SetFormatError, match="format 'coco' is not known; use one of line, refer"):
        open_set(line_folder, format="coco")


def test_rendered_set_has_no_expressions_of_its_own(drawn_set: Path) -> None:
    """It is recognised, and the message says what to do with it."""
    assert find_format(drawn_set) == RENDERED
    with pytest.raises(SetFormatError, match="simvg line benchmark"):
        open_set(drawn_set)


def test_garbage_collection_goes_on_after_reading(line_folder: Path) -> None:
    """Reading pauses it, also when it fails."""
    open_set(line_folder)
    assert gc.isenabled()
    (line_folder / "annotations.json").write_text("{", encoding="utf-8")
    with pytest.raises(SetFormatError):
        open_set(line_folder)
    assert gc.isenabled()
