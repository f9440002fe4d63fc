"""Model folders are changed whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simvg_core.configuration import SimVGConfig
from simvg_core.edge.settings import EdgeConfig
from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.model import SimVGForGrounding
from simvg_core.model_folder import rewriting, settle

OLD, NEW = {"config.json": "old", "model.safetensors": "old"}, {"config.json": "new", "model.safetensors": "new"}

# A writer that is killed, as by `kill -9`, at its Nth move of a file or folder.
KILLED = """
import os, signal, sys
from pathlib import Path
from simvg_core.model_folder import rewriting

last, folder, moves = int(sys.argv[1]), Path(sys.argv[2]), 0
for name in ("rename", "replace"):
    def moved(self, target, inner=getattr(Path, name)):
        global moves
        if moves == last:
            os.kill(os.getpid(), signal.SIGKILL)
        moves += 1
        return inner(self, target)
    setattr(Path, name, moved)
with rewriting(folder, anew=True) as part:
    for name in ("config.json", "model.safetensors"):
        (part / name).write_text("new")
"""


def said(folder: Path) -> dict[str, str]:
    """What lies there, hidden folders apart."""
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An old model's, with words that the new one does not have, and a file of the user's."""
    found = tmp_path / "model"
    found.mkdir()
    for name, text in (OLD | {"words.json": "old", "notes.txt": "mine"}).items():
        (found / name).write_text(text)
    return found


@pytest.mark.parametrize("moves", range(4))
def test_a_killed_writer_leaves_all_of_the_old_or_all_of_the_new(moves: int, folder: Path) -> None:
    """Whoever reads the folder next ends what was decided; the user's file stays."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(moves), str(folder)], timeout=100)
    assert killed.returncode == (-signal.SIGKILL if moves < 3 else 0)
    settle(folder)
    wanted = NEW if moves else OLD | {"words.json": "old"}
    assert said(folder) == wanted | {"notes.txt": "mine"}
    with rewriting(folder) as part:
        assert not list(part.iterdir()), "what a killed writer left"
        (part / "config.json").write_text("newer")
    assert said(folder) == wanted | {"config.json": "newer", "notes.txt": "mine"}
    assert not [file for file in folder.iterdir() if file.is_dir()]


def test_what_fails_while_it_is_written_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """Of a folder that was not there, nothing is left."""

    def interrupted(place: Path) -> None:
        with rewriting(place) as part:
            (part / "config.json").write_text("new")
            raise KeyboardInterrupt

    before = said(folder)
    for place in (folder, tmp_path / "none"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(place)
    assert said(folder) == before and not (tmp_path / "none").exists() and len(list(folder.iterdir())) == len(before)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match=r"file/model cannot be written \(.*free space"),
        rewriting(tmp_path / "file" / "model"),
    ):
        pass


def left_half_way(folder: Path) -> None:
    """As a writer that was killed after its first move leaves a model of other weights."""
    new = folder / ".new"
    SimVGForGrounding(SimVGConfig.tiny(score_bias=0.5)).save_pretrained(new)
    (new / "config.json").replace(folder / "config.json")


def test_every_reader_ends_what_was_begun(tmp_path: Path) -> None:
    """Config and weights are of one model, whichever is read first."""
    for number, read in enumerate((SimVGConfig.from_pretrained, SimVGForGrounding.from_pretrained)):
        folder = tmp_path / str(number)
        SimVGForGrounding(SimVGConfig.tiny()).save_pretrained(folder)
        old = (folder / "model.safetensors").read_bytes()
        left_half_way(folder)
        new = (folder / ".new" / "model.safetensors").read_bytes()
        assert old != new
        read(folder)
        assert (folder / "model.safetensors").read_bytes() == new and not (folder / ".new").exists()
    (folder / ".new").mkdir()
    (folder / ".new" / "config.json").write_text(json.dumps({"tokenizer": "xlm_roberta"}))
    with pytest.raises(ConfigurationError, match="without torch only"):
        EdgeConfig.read(folder)
    assert not (folder / ".new").exists()


def test_what_cannot_be_ended_is_refused_with_the_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a mount that is read-only: half a model answers for no model."""
    left_half_way(folder)

    def refused(self: Path, target: Path) -> None:
        raise OSError(30, os.strerror(30), str(target))

    monkeypatch.setattr(Path, "replace", refused)
    for read in (SimVGConfig.from_pretrained, SimVGForGrounding.from_pretrained, EdgeConfig.read):
        with pytest.raises(CheckpointError, match=r"half rewritten.*Read-only file system.*move all files of .*\.new"):
            read(folder)


def test_nothing_writes_into_a_model_folder_by_itself() -> None:
    """File by file a kill would leave a folder that is half old, half new, and that loads."""
    root = Path(__file__).parents[2] / "simvg_core"
    lines = {
        f"{file.relative_to(root)}: {line.strip()}"
        for file in root.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if ".save_pretrained(" in line and "save_pretrained(part)" not in line
    }
    assert lines == {
        "processing.py: self.config.save_pretrained(folder)",  # of `SimVGProcessor.save_pretrained` itself
        "text.py: self.tokenizer.save_pretrained(folder)",  # of `Pieces.save`
    }


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)], ids=oct)
def test_weights_are_as_readable_as_any_new_file(umask: int, mode: int, tmp_path: Path) -> None:
    """safetensors writes for its own user alone; a worker that runs as another one has to read them as well."""
    before = os.umask(umask)
    try:
        with rewriting(tmp_path / "model") as part:
            SimVGForGrounding(SimVGConfig.tiny()).save_pretrained(part)
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "model").iterdir()}
    assert modes == {"config.json": mode, "model.safetensors": mode}
