"""docs/data.md says what the code does."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

from simvg import app
from simvg_core.training.sets.line import parse_document
from simvg_core.training.sets.open import FORMATS, RENDERED

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(simvg .+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_exists_with_its_options(line: str) -> None:
    """Each command of the page parses: its name, its arguments and its options are real."""
    command = typer.main.get_command(app)
    _, *rest = shlex.split(line)
    while isinstance(command, TyperGroup):
        assert rest[0] in command.commands, f"no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    assert isinstance(command, TyperCommand)
    # raises for an option or a number of arguments that the command does not have
    command.make_context(command.name, rest).close()


def test_page_shows_commands() -> None:
    """All three of `simvg data`, and scoring."""
    for name in ("simvg data list", "simvg data check", "simvg data show", "simvg evaluate"):
        assert any(line.startswith(name) for line in COMMANDS)


def test_table_lists_every_format() -> None:
    """And no other."""
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [*FORMATS, RENDERED]


def test_example_of_a_set_of_ones_own_is_whole() -> None:
    """The document of the page has no broken record."""
    (example,) = re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)
    document, problems = parse_document(json.loads(example), Path("annotations.json"))
    assert problems == []
    assert len(document.expressions) == 3
