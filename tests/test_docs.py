"""The documents say what the code does."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", REPOSITORY / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says() -> None:
    """docs/reference.md lists every command, setting, topic and metric; `make docs` writes it anew.

    In a process of its own: metrics that other tests declare are none of the product's.
    """
    script = REPOSITORY / "scripts" / "reference.py"
    made = subprocess.run(
        [sys.executable, str(script), "--print"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8") == made.stdout


def test_commands_of_the_readme_exist(generator: ModuleType) -> None:
    """Each `simvg …` line in a code block of the README names a real command."""
    import typer.main

    from simvg import app

    known = {name for name, _ in generator.commands(typer.main.get_command(app), "simvg")}
    shown = re.findall(r"^(?:\.venv/bin/)?(simvg(?: [a-z][a-z0-9-]*){1,2})", README, re.MULTILINE)
    assert shown, "the README shows commands"
    for line in shown:
        assert line in known or " ".join(line.split()[:2]) in known, line


def test_make_targets_of_the_readme_exist() -> None:
    """Each `make …` of the README is a target."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", README)) | set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/data.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Relative links and pictures of the pages exist."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (REPOSITORY / target).exists(), f"{page} links to {target}"
