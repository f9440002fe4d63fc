"""What makes trainings comparable: the same pictures, the same encoder, and as many steps as the page tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.distillation import check_encoder, check_steps, link_pictures


def _set(folder: Path, count: int) -> Path:
    for number in range(count):
        for part in (f"images/{number}.jpg", f"truth/{number}.json"):
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            (folder / part).write_text("{}")
    return folder


def test_pictures_are_linked_once(tmp_path: Path) -> None:
    """The other training finds them there."""
    source = _set(tmp_path / "set", 3)
    for _ in range(2):
        linked = link_pictures(source, tmp_path / "pictures", 2)
    assert sorted(path.name for path in (linked / "images").iterdir()) == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize(
    ("name", "count", "words"), [("other", 3, "of another set"), ("set", 2, "holds 3 pictures, 2")]
)
def test_pictures_of_an_earlier_training_are_not_mixed_in(tmp_path: Path, name: str, count: int, words: str) -> None:
    """Neither of another set, nor more of them than the page would tell."""
    for own in ("set", "other"):
        _set(tmp_path / own, 3)
    link_pictures(tmp_path / "set", tmp_path / "pictures", 3)
    with pytest.raises(SystemExit, match=words):
        link_pictures(tmp_path / name, tmp_path / "pictures", count)


def test_a_training_of_other_steps_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """The page would tell of 3,000 steps where 700 were trained."""
    check_steps(tmp_path, 3000)
    (tmp_path / "log.jsonl").write_text(json.dumps({"what": "settings", "max_steps": 700}) + "\n")
    check_steps(tmp_path, 700)
    with pytest.raises(SystemExit, match="a training of 700 steps, not of 3000; name another folder with --runs"):
        check_steps(tmp_path, 3000)


def test_trainings_from_two_encoders_are_not_compared(tmp_path: Path) -> None:
    """New weights in the model's folder between two trainings."""
    model, kept = tmp_path / "model", tmp_path / "encoder.txt"
    model.mkdir()
    for content in ("one", "one", "two"):
        (model / "model.safetensors").write_text(content)
        if content == "one":
            check_encoder(kept, model)
    with pytest.raises(SystemExit, match="earlier trainings began from"):
        check_encoder(kept, model)
