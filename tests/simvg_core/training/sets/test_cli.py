"""`simvg data …` as its users run it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from simvg_core.errors import SimVGError
from simvg_core.training.sets.cli import app

Change = Callable[[Callable[[Any], None]], Path]


def run(*arguments: object, code: int = 0) -> str:
    """Output of a command that ends with that code."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(
    ("fixture", "shown"),
    [
        ("line_folder", ["line (line, grec)", "test │ 3", "color", "1"]),
        ("refer_folder", ["refcoco unc (refer, rec)", "train │ 2", "testA │ 1"]),
        ("refcoco_plus_folder", ["refcoco+ unc (refer, rec)", "val │ 1", "testB │ 1"]),
        ("grefs_folder", ["grefs unc (grefcoco, grec)", "no target", "several targets"]),
        ("official_folder", ["refcoco-unc (official, rec)", "train │ 3"]),
        ("flickr_folder", ["flickr30k_entities (flickr30k, rec)", "phrase is not visual", "people", "clothing"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whole_set_passes_with_its_counts(fixture: str, shown: list[str], request: pytest.FixtureRequest) -> None:
    """Splits, kinds, what is left out and why; exit code 0."""
    text = " ".join(run("check", request.getfixturevalue(fixture), "--decode").split())
    assert "no broken record" in text
    for part in shown:
        assert part in text


def test_broken_records_are_listed_and_end_with_1(change_line: Change) -> None:
    """One line each: record, what, remedy."""

    def spoil(document: Any) -> None:
        document["expressions"][0]["text"] = ""
        document["images"][1]["file_name"] = "lost.png"

    lines = run("check", change_line(spoil), code=1).splitlines()
    assert lines[-3].startswith("expression 1: its text '' has no word; ")
    assert lines[-2].startswith("image 2: ") and "lost.png is missing; get the image anew" in lines[-2]
    assert lines[-1] == "2 broken records"


def test_what_no_terminal_can_show_is_shown_by_its_number(change_line: Change) -> None:
    """Half a pair of UTF-16, as a broken file has it."""
    lines = run("check", change_line(lambda document: document["images"][1].update(id="\ud800")), code=1).splitlines()
    assert "image \\ud800: no expression is about it; add one, or remove the image." in lines


def test_split_and_images_can_be_named(refer_folder: Path, tmp_path: Path) -> None:
    """Only that split is checked."""
    moved = (tmp_path / "data/images").rename(tmp_path / "pictures")
    text = run("check", refer_folder, "--split", "testA", "--images", moved)
    assert "usable expressions, split testA" in text


def test_rendered_set_is_checked_too(drawn_set: Path, tmp_path: Path) -> None:
    """Pictures against their truth; the format is found."""
    text = " ".join(run("check", drawn_set).split())
    assert "whole pictures" in text and "no broken record" in text
    copy = shutil.copytree(drawn_set, tmp_path / "copy")
    pictures = sorted((copy / "images").iterdir())
    pictures[0].write_bytes(b"no picture")
    (copy / "truth" / f"{pictures[1].stem}.json").unlink()
    lines = run("check", copy, "--format", "rendered", code=1).splitlines()
    assert lines[-1] == "2 broken records"
    assert lines[-3].startswith(f"picture {pictures[0].stem}: ") and lines[-3].endswith("Or render it again.")
    assert lines[-2].startswith(f"picture {pictures[1].stem}: ")


def test_splits_are_listed(refer_folder: Path, drawn_set: Path) -> None:
    """With their numbers of expressions; of a rendered set, of pictures."""
    assert "testB │ 1" in " ".join(run("list", refer_folder).split())
    assert "pictures" in run("list", drawn_set)


def test_expression_is_drawn(line_folder: Path, tmp_path: Path) -> None:
    """Boxes in the picture at their places, words below."""
    out = tmp_path / "out.png"
    assert "'caps' drawn into" in run("show", line_folder, "--record", "2", "--out", out)
    pixels = cv2.imread(str(out))
    assert pixels is not None
    scale = pixels.shape[1] // 40
    assert scale == 12 and pixels.shape[0] > 30 * scale, "enlarged, and a caption below"
    for left, top in ((1, 2), (20, 5)):
        assert np.abs(pixels[top * scale, left * scale : (left + 4) * scale].astype(int) - 90).max() > 60, "an edge"
    assert (pixels[8 * scale, 15 * scale] == 90).all(), "between the boxes nothing"


def test_wrong_requests_are_named(line_folder: Path, tmp_path: Path) -> None:
    """An unknown record, a picture of an unknown kind, a folder that is no set."""
    with pytest.raises(SimVGError, match="no whole expression '9' among 3; the first ids are 1, 2, 3"):
        run("show", line_folder, "--record", "9", "--out", tmp_path / "a.png")
    with pytest.raises(SimVGError, match=r"a\.xyz cannot be written"):
        run("show", line_folder, "--record", "1", "--out", tmp_path / "a.xyz")
    with pytest.raises(SimVGError, match="no data set of a known format"):
        run("check", tmp_path)


def test_flickr_boxes_can_be_kept_apart(flickr_folder: Path) -> None:
    """One more box than when they are merged."""
    merged, apart = (" ".join(run("check", flickr_folder, *extra).split()) for extra in ((), ("--any-box",)))
    assert "all │ 4 │ 2 │ 0 │ 4" in merged
    assert "all │ 4 │ 2 │ 0 │ 6" in apart
