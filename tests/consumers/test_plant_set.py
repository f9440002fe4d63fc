"""Sets that grow, with what people have corrected in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers import plant_set
from consumers.plant_set import DEFAULT_SHARES, Became, BoxPx, Expression, PlantSet, alone
from infra.errors import SettingsError

BOX: BoxPx = (4.0, 3.0, 10.0, 12.5)


def expression(
    text: str = "missing bolt", *boxes: BoxPx, image: str = "i1", alerts: tuple[str, ...] = ("a-1",)
) -> Expression:
    return Expression(image, f"{image}.jpg", b"jpeg of " + image.encode(), 40, 30, text, boxes, "q", alerts)


def document(out: Path, name: str = "train") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / name / "annotations.json").read_text("utf-8"))
    return found


def write(out: Path, content: dict[str, Any], name: str = "train") -> None:
    (out / name / "annotations.json").write_text(json.dumps(content), "utf-8")


def files(out: Path) -> dict[str, bytes]:
    """All but those that a stop has left half-written, under names that nobody reads."""
    paths = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder with one expression in its training set."""
    sets = PlantSet(tmp_path, None)
    assert sets.put("train", expression("missing bolt", BOX)) is Became.NEW
    sets.save()
    return tmp_path


def test_an_empty_folder_stays_without_sets(tmp_path: Path) -> None:
    """Nothing is said of a set in which nothing is."""
    sets = PlantSet(tmp_path, None)
    sets.save()
    assert sets.figures() == dict.fromkeys(("train", "val", "test"), (0, 0, 0))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["collected.json"]


def test_what_is_put_in_is_written_as_documented(begun: Path) -> None:
    """COCO's lists with expressions, and the picture; the same again changes nothing, not a byte."""
    found = document(begun)
    assert found["info"]["split"] == "train"
    assert found["images"] == [{"id": "i1", "file_name": "i1.jpg", "width": 40, "height": 30}]
    (said,), (box,) = found["expressions"], found["annotations"]
    assert (said["text"], said["kind"], said["alerts"], said["annotation_ids"]) == (
        "missing bolt",
        "q",
        ["a-1"],
        [box["id"]],
    )
    assert (box["image_id"], box["bbox"]) == ("i1", list(BOX)) and "lure" not in said
    assert (begun / "train/images/i1.jpg").read_bytes() == b"jpeg of i1"
    before = files(begun)
    again = PlantSet(begun, None)
    assert again.put("train", expression("missing bolt", BOX)) is Became.SAME
    again.save()
    assert files(begun) == before


def test_one_picture_has_several_expressions(begun: Path) -> None:
    """Of several queries; ids stay."""
    sets = PlantSet(begun, None)
    assert sets.home_of("i1") == "train" and sets.home_of("i2") is None
    assert sets.put("train", expression("red cap", alerts=("a-2",))) is Became.NEW
    sets.save()
    found = document(begun)
    assert [one["text"] for one in found["expressions"]] == ["missing bolt", "red cap"] and len(found["images"]) == 1
    assert found["expressions"][0]["id"] == expression("Missing Bolt").id != found["expressions"][1]["id"]
    assert PlantSet(begun, None).figures()["train"] == (1, 1, 1)


def test_what_a_person_corrected_stays(begun: Path) -> None:
    """Another box, other words, fields of their own, a removed expression; unless they are to be overwritten."""
    found = document(begun)
    found["annotations"][0]["bbox"] = [1, 2, 3, 4]
    found["licenses"] = ["ours"]
    write(begun, found)
    sets = PlantSet(begun, None)
    assert sets.put("train", expression("missing bolt")) is Became.CORRECTED
    assert sets.take_back({"a-1"}) == 0
    sets.save()
    assert document(begun) == found
    found["expressions"], found["annotations"] = [], []
    write(begun, found)
    sets = PlantSet(begun, None)
    assert sets.put("train", expression("missing bolt", BOX)) is Became.REMOVED
    assert sets.put("train", expression("missing bolt", BOX), overwrite=True) is Became.CHANGED
    sets.save()
    assert document(begun)["annotations"][0]["bbox"] == list(BOX)


def test_a_tool_that_writes_numbers_otherwise_corrects_nothing(begun: Path) -> None:
    """4.0 and 4 are the same; a field of a person's own stays with what has changed beside it."""
    found = document(begun)
    found["annotations"][0]["bbox"] = [4, 3, 10, 12.5]
    found["expressions"][0]["lure"] = True
    write(begun, found)
    sets = PlantSet(begun, None)
    assert sets.put("train", expression("missing bolt")) is Became.CHANGED
    sets.save()
    (said,) = document(begun)["expressions"]
    assert said["annotation_ids"] == [] and said["lure"] is True and document(begun)["annotations"] == []


def test_what_a_verdict_takes_back_goes_with_its_picture(begun: Path) -> None:
    """Unless others speak of it; it may come again."""
    sets = PlantSet(begun, None)
    sets.put("train", expression("red cap", BOX, alerts=("a-2",)))
    sets.learned("k", "said", ["a-1"])
    assert sets.take_back({"a-1", "a-9"}) == 1 and sets.said_of("k") is None
    sets.save()
    assert [one["text"] for one in document(begun)["expressions"]] == ["red cap"]
    assert len(document(begun)["annotations"]) == 1 and (begun / "train/images/i1.jpg").exists()
    sets = PlantSet(begun, None)
    assert sets.take_back({"a-2"}) == 1
    sets.save()
    assert document(begun)["images"] == [] and not (begun / "train/images/i1.jpg").exists()
    sets = PlantSet(begun, None)
    sets.take_back({"a-1"})
    assert sets.put("train", expression("missing bolt", BOX)) is Became.NEW
    sets.save()
    assert (begun / "train/images/i1.jpg").exists()


def test_a_picture_taken_back_and_said_of_again_stays(begun: Path) -> None:
    """In one run, as when a verdict changes."""
    sets = PlantSet(begun, None)
    assert sets.take_back({"a-1"}) == 1
    assert sets.put("train", expression("missing bolt")) is Became.NEW
    sets.save()
    assert (begun / "train/images/i1.jpg").exists() and document(begun)["annotations"] == []


def test_what_a_person_writes_meanwhile_is_not_written_over(begun: Path) -> None:
    """Pictures take a while to fetch. A file that nothing is put into is not written at all."""
    sets, other = PlantSet(begun, None), PlantSet(begun, None)
    theirs = document(begun) | {"licenses": ["ours"]}
    write(begun, theirs)
    other.save()
    sets.put("train", expression("red cap"))
    with pytest.raises(SettingsError, match=r"annotations\.json was changed by somebody else meanwhile"):
        sets.save()
    assert document(begun) == theirs


@pytest.mark.parametrize("name", ["../../kept.jpg", "/kept.jpg"])
def test_a_picture_that_a_person_keeps_elsewhere_is_theirs(begun: Path, name: str) -> None:
    """It is not removed with what is said of it."""
    found = document(begun)
    found["images"][0]["file_name"] = name
    write(begun, found)
    (begun / "kept.jpg").touch()
    sets = PlantSet(begun, None)
    assert sets.take_back({"a-1"}) == 1
    sets.save()
    assert (begun / "kept.jpg").exists() and document(begun)["images"] == []


def test_what_was_learned_is_kept(begun: Path) -> None:
    """By its key, with its alerts."""
    sets = PlantSet(begun, None)
    sets.learned("line-1/q/t", "digest", ["a-1", "a-2"])
    sets.save()
    sets = PlantSet(begun, None)
    assert (sets.said_of("line-1/q/t"), sets.said_of("x"), sets.alerts) == ("digest", None, {"a-1", "a-2"})


def test_a_stop_at_any_point_leaves_whole_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each file that is written: the next run takes the folder and ends with the same."""

    class Stopped(Exception):
        pass

    real = plant_set._replace

    def fill(out: Path) -> None:
        sets = PlantSet(out, None)
        for image in ("i1", "i2"):
            sets.put("train" if image == "i1" else "val", expression("missing bolt", BOX, image=image))
        sets.save()

    fill(tmp_path / "whole")
    whole = files(tmp_path / "whole")
    for count in range(6):
        out, left = tmp_path / str(count), [count]
        out.mkdir()

        def stopping(path: Path, content: bytes, left: list[int] = left) -> None:
            if not left[0]:
                path.with_name(f".{path.name}.part").write_bytes(content[:3]) if path.parent.is_dir() else None
                raise Stopped
            left[0] -= 1
            real(path, content)

        monkeypatch.setattr(plant_set, "_replace", stopping)
        with pytest.raises(Stopped):
            fill(out)
        monkeypatch.setattr(plant_set, "_replace", real)
        fill(out)
        assert files(out) == whole


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("annotations.json", "{}", r"holds 'annotations.json' and no collected.json"),
        ("collected.json", "{", r"collected.json cannot be read as JSON"),
        ("collected.json", "[]", r"collected.json cannot be read"),
        ("collected.json", '{"version": 2}', r"is of version 2, known is 1"),
        ("collected.json", '{"version": 1, "shares": {}}', r"cannot be read \(KeyError\('train'\)\)"),
    ],
    ids=["another-set", "cut-off", "list", "later", "half"],
)
def test_a_folder_that_is_none_of_ours_is_left_alone(tmp_path: Path, name: str, content: str, says: str) -> None:
    """The file is named."""
    (tmp_path / name).write_text(content)
    with pytest.raises(SettingsError, match=says):
        PlantSet(tmp_path, None)


@pytest.mark.parametrize("content", ["[", "[]", '{"images": [], "annotations": [], "expressions": [{}]}'])
def test_a_set_that_a_person_broke_is_named(begun: Path, content: str) -> None:
    """Nothing is written over it."""
    (begun / "train/annotations.json").write_text(content)
    with pytest.raises(SettingsError, match=r"train/annotations.json"):
        PlantSet(begun, None)


def test_other_shares_than_the_folder_was_begun_with_are_refused(begun: Path) -> None:
    """The same ones, or none, are taken."""
    assert PlantSet(begun, DEFAULT_SHARES).shares == DEFAULT_SHARES
    with pytest.raises(SettingsError, match=r"was begun with --val 0\.2 --test 0\.2"):
        PlantSet(begun, {"train": 1.0, "val": 0.0, "test": 0.0})


def test_one_collects_at_a_time(tmp_path: Path) -> None:
    """A second one is refused at once; a folder that cannot be made is named."""
    out, busy = tmp_path / "new", pytest.raises(SettingsError, match="another `simvg alerts collect` writes there")
    with alone(out), busy, alone(out):
        pass
    with pytest.raises(SettingsError, match="--out /proc/plant cannot be written"), alone(Path("/proc/plant")):
        pass
