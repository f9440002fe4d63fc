"""Truth records: what is read, and what each broken record says."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest

from simvg_core.lineworld.truth import TruthError, parse_truth, read_truth, seen_in

RECORD: dict[str, Any] = {
    "image": "000012.jpg", "width": 384, "height": 288, "seed": 812, "split": "train",
    "held_out": {"material": False, "light": True},
    "instances": [
        {"id": 7, "kind": "hex_bolt", "plate": 1, "color": "steel", "material": "steel", "size": "large", "state": "ok",
         "box": [96, 72, 192, 144], "pixels": 412, "visible": 0.97, "clear": True, "angle_deg": 3.0},
    ],
}  # fmt: skip


def test_a_record_is_read_with_its_types() -> None:
    """Every field of the contract arrives."""
    truth = parse_truth(RECORD, "here")
    bolt = truth.instances[0]
    assert (truth.image, truth.width, truth.held_out["light"]) == ("000012.jpg", 384, True)
    assert (bolt.kind, bolt.plate, bolt.color, bolt.size, bolt.clear) == ("hex_bolt", 1, "steel", "large", True)


def test_boxes_are_normalised_for_the_grammar() -> None:
    """The grammar sees fractions of the picture."""
    assert seen_in(parse_truth(RECORD, "here"))[0].box == (0.25, 0.25, 0.5, 0.5)


def test_the_ways_of_a_rectangle_are_those_of_the_normalised_picture() -> None:
    """A diagonal of the wide picture is one of the square, and an axis stays an axis."""
    diagonal = math.degrees(math.atan2(288, 384))
    record = {**RECORD, "instances": [{**RECORD["instances"][0], "axes_deg": [diagonal, 90.0]}]}
    assert seen_in(parse_truth(record, "here"))[0].axes == pytest.approx((math.pi / 4, math.pi / 2))
    assert seen_in(parse_truth(RECORD, "here"))[0].axes is None


def test_a_picture_without_instances_is_read() -> None:
    """An empty belt is a picture too."""
    assert parse_truth({**RECORD, "instances": []}, "here").instances == ()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "hexbolt", "kind='hexbolt' is not known"),
        ("color", "pink", "color='pink' is not known"),
        ("state", "bent", "state='bent' is not known"),
        ("size", "huge", "size='huge' is not known"),
        ("box", [10, 10, 10, 20], "is empty or leaves"),
        ("box", [10, 10, 500, 20], "is empty or leaves"),
        ("visible", 1.5, r"visible=1.5 must lie in"),
    ],
)
def test_a_broken_instance_names_file_instance_and_value(field: str, value: Any, message: str) -> None:
    """The error says where and what."""
    raw = copy.deepcopy(RECORD)
    raw["instances"][0][field] = value
    with pytest.raises(TruthError, match=rf"set/000012.json, instance 0: .*{message}"):
        parse_truth(raw, "set/000012.json")


def test_a_missing_field_is_named() -> None:
    """The error says which one."""
    raw = copy.deepcopy(RECORD)
    del raw["instances"][0]["clear"]
    with pytest.raises(TruthError, match="field 'clear' is missing"):
        parse_truth(raw, "here")


def test_ids_are_unique() -> None:
    """Two things with one id could not be told apart."""
    raw = copy.deepcopy(RECORD)
    raw["instances"].append(raw["instances"][0])
    with pytest.raises(TruthError, match="share an id"):
        parse_truth(raw, "here")


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    """The path is in the message."""
    path = tmp_path / "000001.json"
    path.write_text("{")
    with pytest.raises(TruthError, match=r"000001\.json cannot be read"):
        read_truth(path)
