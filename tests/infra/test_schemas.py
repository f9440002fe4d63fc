"""The published JSON Schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import infra.contracts
from infra.cli import schemas
from infra.contracts import SCHEMAS, json_schemas
from infra.errors import SettingsError

FOLDER = Path(infra.contracts.__file__).parent / "schemas"


def test_published_schemas_are_those_of_the_types() -> None:
    """Files and types agree; `make schemas` writes the files anew."""
    published = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}
    assert published == json_schemas()


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_one(name: str) -> None:
    """Every published schema is valid by itself."""
    Draft202012Validator.check_schema(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the place of the folder is told with the option."""
    (tmp_path / "out").touch()
    with pytest.raises(SettingsError, match=r"to --out \S+/out: File exists"):
        schemas(tmp_path / "out")
