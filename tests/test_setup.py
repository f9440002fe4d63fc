"""scripts/setup.sh, as far as it can be tried without installing anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FILES = ("scripts/setup.sh", "pyproject.toml", "constraints.txt", "infra/kafka/pom.xml")

PROGRAM = "#!/bin/sh\nexit 0\n"
PYTHON = """#!/bin/sh
case "$*" in
  *venv\\ .venv) mkdir -p .venv/bin; for name in python uv simvg; do cp "$0" .venv/bin/$name; done ;;
esac
exit 0
"""
"""A Python that makes an environment of itself, and says yes to all else."""


def setup(folder: Path) -> str:
    """What the script says on a machine that has every package of the system."""
    programs = folder.parent / "programs"
    programs.mkdir(exist_ok=True)
    java = "#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n"
    for name, text in {"java": java, "mvn": PROGRAM, "python3.11": PYTHON}.items():
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "scripts/setup.sh", "run"], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout, with as much of it as the script reads, that is set up."""
    folder = tmp_path / "first one"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    assert "creating .venv" in setup(folder)
    return folder


def test_setup_is_done_once(checkout: Path) -> None:
    """The second time there is nothing to say."""
    assert setup(checkout) == ""


@pytest.mark.parametrize("copied", [True, False], ids=["copied", "moved"])
def test_environment_of_another_place_is_made_anew(checkout: Path, copied: bool) -> None:
    """The programs of an environment name its folder: in a copy they would run the code of the first one."""
    other = checkout.with_name("other")
    if copied:
        shutil.copytree(checkout, other)
    else:
        checkout.rename(other)
    said = setup(other)
    assert f"its environment is that of {checkout / '.venv'}, and is made anew" in said
    assert "creating .venv" in said
    assert setup(other) == ""


def test_interrupted_environment_is_completed(checkout: Path) -> None:
    """Ctrl-C while it is created leaves a Python without pip, with which nothing can be installed."""
    shutil.rmtree(checkout / ".venv")
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n", encoding="utf-8")
    (checkout / ".venv/bin/python").chmod(0o755)
    assert "creating .venv" in setup(checkout)
    assert setup(checkout) == ""


def test_environment_that_is_shared_by_a_link_stays(checkout: Path) -> None:
    """Who links the environment of another checkout into this one wants that one."""
    other = checkout.with_name("other")
    shutil.copytree(checkout, other, ignore=shutil.ignore_patterns(".venv"))
    (other / ".venv").symlink_to(checkout / ".venv")
    assert setup(other) == ""
    assert (other / ".venv").is_symlink()
