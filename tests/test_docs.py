"""The documents say what the code does."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from simvg_core.training.settings import TrainSettings, read_settings

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
TRAINING = (REPOSITORY / "docs/training.md").read_text(encoding="utf-8")
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "benchmarks/line/README.md",
    "models/line-small/README.md",
    "models/line-small/HISTORY.md",
    *(f"docs/{page.relative_to(DOCS)}" for page in DOCS.rglob("*.md")),
)
LAUNCHED = re.compile(r"(?:torchrun|accelerate launch) .*-m simvg_core\.training\.cli (?=train )")


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


def test_the_settings_of_a_run_are_what_the_code_says(generator: ModuleType) -> None:
    """docs/training.md lists every setting with its default and its meaning; `make docs` writes the table anew."""
    assert generator.TABLE.findall(TRAINING) == [generator.training_settings()]
    for one in fields(TrainSettings):
        assert f"\n| `{one.name}` | " in TRAINING


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```", TRAINING, re.MULTILINE | re.DOTALL))
def test_examples_of_settings_are_taken(text: str, tmp_path: Path) -> None:
    """Each YAML file of docs/training.md describes a run, and a command of the page takes it."""
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    assert read_settings(file).output.startswith("data/runs/")
    name = text.split()[1]
    assert re.search(rf"^simvg train {re.escape(name)}$", TRAINING, re.MULTILINE)


def test_commands_of_the_readme_exist(generator: ModuleType) -> None:
    """Each `simvg …` line in a code block of the README names a real command."""
    import typer.main

    from simvg import app

    known = {name for name, _ in generator.commands(typer.main.get_command(app), "simvg")}
    shown = re.findall(r"^(?:\.venv/bin/)?(simvg(?: [a-z][a-z0-9-]*){1,2})", README, re.MULTILINE)
    assert shown, "the README shows commands"
    for line in shown:
        assert line in known or " ".join(line.split()[:2]) in known, line


def shown_commands() -> list[str]:
    """Command lines of the pages; of launchers what they launch."""
    text = re.sub(r"\\\n\s*", " ", "\n".join((REPOSITORY / page).read_text(encoding="utf-8") for page in PAGES))
    lines = [LAUNCHED.sub("simvg ", line.strip()) for line in text.splitlines()]
    return [line for line in lines if re.match(r"(?:\.venv/bin/)?simvg ", line)]


@pytest.mark.parametrize("line", shown_commands())
def test_shown_commands_can_be_typed(line: str) -> None:
    """Each has all that its command requires, and nothing that it does not know: it is parsed, not run."""
    import typer.core
    import typer.main

    from simvg import app

    words = shlex.split(line, comments=True)[1:]
    command, name = typer.main.get_command(app), "simvg"
    while isinstance(command, typer.core.TyperGroup) and words and words[0] in command.commands:
        name = words.pop(0)
        command = command.commands[name]
    command.make_context(name, words)


def test_make_targets_of_the_readme_exist() -> None:
    """Each `make …` of the README is a target."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", README)) | set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", ["README.md", "docs/training.md", "docs/benchmarks/engines.md"])
def test_extras_of_the_pages_exist(page: str) -> None:
    """pip only warns of an extra that it does not know, and installs nothing for it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"(?:\.|simvg-line)\[([a-z,]+)\]", (REPOSITORY / page).read_text(encoding="utf-8"))
    assert named, page
    assert {extra for extras in named for extra in extras.split(",")} <= set(project["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Relative links and pictures of the pages exist, and the headings that they name."""
    file = REPOSITORY / page
    for target in re.findall(r"\]\(([^):]+)\)", file.read_text(encoding="utf-8")):
        path, _, heading = target.partition("#")
        other = file.parent / path if path else file
        assert other.exists(), f"{page} links to {target}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_benchmarks_exist(page: str) -> None:
    """Each `python benchmarks/….py` of a page is a file, and takes the options that are shown."""
    for line in re.findall(r"python (benchmarks/[^`\n]*)", (REPOSITORY / page).read_text(encoding="utf-8")):
        script, *words = line.split()
        text = (REPOSITORY / script).read_text(encoding="utf-8")
        for option in (word for word in words if word.startswith("--")):
            assert f'"{option}"' in text, f"{page}: {script} has no {option}"
