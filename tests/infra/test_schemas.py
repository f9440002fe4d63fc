"""The published JSON Schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import infra.contracts
from infra.contracts import SCHEMAS, json_schemas

FOLDER = Path(infra.contracts.__file__).parent / "schemas"


def test_published_schemas_are_those_of_the_types() -> None:
    """Files and types agree; `make schemas` writes the files anew."""
    published = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}
    assert published == json_schemas()


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_one(name: str) -> None:
    """Every published schema is valid by itself."""
    Draft202012Validator.check_schema(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))
