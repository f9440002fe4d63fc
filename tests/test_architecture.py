"""The rooms know only whom they may know."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ROOMS = ("simvg_core", "infra", "producers", "consumers")

ALLOWED: dict[str, set[str]] = {
    "simvg_core": set(),
    "infra": set(),
    "producers": {"infra"},
    "consumers": {"infra"},
}
ENGINE = "consumers/grounding/engine.py"  # the only door from the line to the model


def _imports(path: Path) -> set[str]:
    """Top-level names that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").split(".")[0])
    return found


def _files() -> list[str]:
    return sorted(str(path.relative_to(REPOSITORY)) for room in ROOMS for path in (REPOSITORY / room).rglob("*.py"))


@pytest.mark.parametrize("file", _files())
def test_file_imports_only_rooms_it_may_know(file: str) -> None:
    """Nothing but the allowed rooms; nobody imports the command line."""
    room = file.split("/")[0]
    allowed = ALLOWED[room] | {room} | ({"simvg_core"} if file == ENGINE else set())
    assert _imports(REPOSITORY / file) & {*ROOMS, "simvg"} <= allowed


@pytest.mark.parametrize("file", [file for file in _files() if file.startswith(("infra/", "producers/"))])
def test_both_ends_do_without_torch(file: str) -> None:
    """A camera needs no deep-learning library."""
    assert not _imports(REPOSITORY / file) & {"torch", "torchvision", "transformers"}


@pytest.mark.parametrize("file", _files())
def test_file_is_of_readable_length(file: str) -> None:
    """One noun per file, under 400 lines."""
    assert len((REPOSITORY / file).read_text(encoding="utf-8").splitlines()) <= 400
