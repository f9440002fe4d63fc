"""Pickles run nothing."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simvg_core.training.sets.errors import SetFormatError, UnsafePickleError
from simvg_core.training.sets.plain_pickle import read_plain_pickle

PLAIN = [{"ref_id": 1, "sent": "ünï", "boxes": (1.5, -2), "none": None, "yes": True, "ids": {1, 2}, "raw": b"x"}]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_read(protocol: int, tmp_path: Path) -> None:
    """Of every protocol but what Python itself stores as calls (sets and bytes of old protocols)."""
    plain = [{key: value for key, value in PLAIN[0].items() if protocol > 3 or key not in ("ids", "raw")}]
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps(plain, protocol=protocol))
    assert read_plain_pickle(path) == plain


def test_texts_of_python_2_are_read(tmp_path: Path) -> None:
    """The published files were written by Python 2, whose texts are bytes."""
    path = tmp_path / "refs(unc).p"
    path.write_bytes(b"\x80\x02]q\x00(U\x04sentU\x05caf\xc3\xa9e.")
    assert read_plain_pickle(path) == ["sent", "café"]


class _Call:
    """What an attacker writes."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "among references"])
def test_code_is_not_run(wrapped: bool, protocol: int, tmp_path: Path) -> None:
    """A file that would write another one is refused by name, and nothing is written."""
    mark = tmp_path / "mark"
    attack = _Call(Path.touch, mark)
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps([{"ref_id": attack}] if wrapped else attack, protocol=protocol))
    with pytest.raises(UnsafePickleError, match=r"refs\(unc\)\.p is not read: it asks for"):
        read_plain_pickle(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists(), "the attack is real"


@pytest.mark.parametrize(
    "value", [OrderedDict(a=1), np.int64(3), np.zeros(2), print, complex(1, 2)], ids=lambda value: type(value).__name__
)
def test_other_objects_are_refused(value: object, tmp_path: Path) -> None:
    """Only plain containers, texts and numbers are references."""
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps([value]))
    with pytest.raises(UnsafePickleError, match="plain"):
        read_plain_pickle(path)


def test_object_from_outside_is_refused(tmp_path: Path) -> None:
    """A persistent id would be looked up by the reader."""
    path = tmp_path / "refs(unc).p"
    path.write_bytes(b"Pmine\n.")
    with pytest.raises(UnsafePickleError, match="from outside, 'mine'"):
        read_plain_pickle(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x02]q\x00", b"no pickle", b"\x80\x09.", b"(lp0\nI12x\na.", b"U\xffab", pickle.dumps(PLAIN)[:-9]],
    ids=["empty", "no end", "text", "protocol", "number", "short", "cut off"],
)
def test_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    """Whatever is wrong with the bytes, the error names the file."""
    path = tmp_path / "refs(unc).p"
    path.write_bytes(content)
    with pytest.raises(SetFormatError, match=r"refs\(unc\)\.p cannot be read as a pickle"):
        read_plain_pickle(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """Also when there is none."""
    with pytest.raises(SetFormatError, match=r"refs\(unc\)\.p"):
        read_plain_pickle(tmp_path / "refs(unc).p")
