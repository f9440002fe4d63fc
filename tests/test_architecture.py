"""The rooms know only whom they may know."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = ("simvg_core", "infra", "producers", "consumers")
PARTS = ("consumers/grounding", "consumers/demo")  # rooms inside another one's folder
DEEP_LEARNING = {"torch", "torchvision", "transformers"}

ALLOWED: dict[str, set[str]] = {
    "simvg_core": set(),
    "infra": set(),
    "producers": {"infra"},
    "consumers": {"infra"},
    "consumers/grounding": {"infra"},
    "consumers/demo": {"infra"},
}
DOORS: dict[str, set[str]] = {
    # the only door from the line to the model
    "consumers/grounding/engine.py": {"simvg_core"},
    # what operators and the worker both do: read topics, write actions, read alerts, say a moment
    "consumers/grounding/actions.py": {"consumers/actions.py"},
    "consumers/grounding/restore.py": {"consumers/reading.py"},
    "consumers/grounding/replay.py": {"consumers/reading.py"},
    "consumers/grounding/replay_cli.py": {"consumers/alerts.py", "consumers/alerts_cli.py", "consumers/moments.py"},
    # which cameras the worker keeps alarms of, is told by its own states alone
    "consumers/cameras.py": {"consumers/grounding/alarm.py", "consumers/grounding/restore.py"},
}
"""File → rooms and files that it may import beyond its room's."""

TORCH_FREE = ("infra/", "producers/", "consumers/", "simvg_core/edge/", "simvg_core/lineworld/")
"""What an edge box, a camera and a renderer run: with all that it imports it does without deep-learning libraries, but
for what a function imports when it is called for."""


def _room(file: str) -> str:
    return next((part for part in PARTS if file.startswith(f"{part}/")), file.split("/")[0].removesuffix(".py"))


def _file_of(module: str) -> str | None:
    """A module's file in this repository; None of any other module."""
    path = module.replace(".", "/")
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if (REPOSITORY / file).is_file()), None)


def _imports(file: str, at_import: bool = False) -> Iterator[str]:
    """Full names of the modules that a file imports, wherever in it, or (`at_import`) when it is imported itself."""
    nodes: list[ast.AST] = [ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if at_import and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_types(node)):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"{file}: relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from {name if _file_of(name) else node.module for name in inner}
        nodes.extend(ast.iter_child_nodes(node))


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def _pulled_in(file: str) -> frozenset[str]:
    """Our files and the top-level names of others that importing a file imports, from one to the next."""
    found: set[str] = set()
    files = [file]
    while files:
        for module in _imports(files.pop(), at_import=True):
            ours = _file_of(module)
            if ours is None:
                found.add(module.split(".")[0])
            elif ours not in found:
                found.add(ours)
                files.append(ours)
    return frozenset(found)


def _files(*under: str) -> list[str]:
    every = (str(path.relative_to(REPOSITORY)) for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))
    return sorted(file for file in every if file.startswith(under or FOLDERS))


@pytest.mark.parametrize("file", _files())
def test_file_imports_only_rooms_it_may_know(file: str) -> None:
    """Nothing but its own room, the allowed ones and its doors; nobody imports the command line."""
    room = _room(file)
    ours = {ours for module in _imports(file) if (ours := _file_of(module)) and _room(ours) != room}
    doors = DOORS.get(file, set())
    assert not {ours for ours in ours if not {_room(ours), ours} & (ALLOWED[room] | doors)}


@pytest.mark.parametrize("file", DOORS)
def test_a_door_is_in_use(file: str) -> None:
    """What is not imported any more may not be imported again unseen."""
    ours = {ours for module in _imports(file) if (ours := _file_of(module))}
    assert DOORS[file] <= ours | {_room(file) for file in ours}


@pytest.mark.parametrize("file", _files("infra/", "producers/"))
def test_both_ends_do_without_torch(file: str) -> None:
    """A camera needs no deep-learning library, whatever it is called for."""
    assert not {module.split(".")[0] for module in _imports(file)} & DEEP_LEARNING


@pytest.mark.parametrize("file", _files(*TORCH_FREE))
def test_importing_needs_no_torch(file: str) -> None:
    """Nor does any file that it imports, of whatever room."""
    assert not _pulled_in(file) & DEEP_LEARNING


@pytest.mark.parametrize("file", _files())
def test_file_is_of_readable_length(file: str) -> None:
    """One noun per file, under 400 lines."""
    assert len((REPOSITORY / file).read_text(encoding="utf-8").splitlines()) <= 400
