"""Stored sets: complete, resumable, and never two in one folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import psutil
import pytest

from simvg_core.errors import ConfigurationError, RenderError
from simvg_core.lineworld.produce import render_one, render_set, whole, write_atomically
from simvg_core.lineworld.tracer import Tracer
from simvg_core.lineworld.truth import read_truth

BUSY_SECONDS = 120.0
"""Waited for what takes two seconds on an idle machine; a loaded one has been seen to take 30."""


def test_a_set_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Pictures on disk are kept; what is missing is rendered as it would have been."""
    calls: list[tuple[int, int]] = []
    new = render_set(tmp_path, 2, 9, "train", 1, samples=1, progress=lambda done, total: calls.append((done, total)))
    first, second = sorted((tmp_path / "images").iterdir())
    kept, lost = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    assert new == 2
    assert calls[-1] == (2, 2)
    assert render_set(tmp_path, 2, 9, "train", 1, samples=1) == 1
    assert first.stat().st_mtime_ns == kept
    assert second.read_bytes() == lost
    assert render_set(tmp_path, 2, 9, "train", 1, samples=1) == 0


def test_rendering_ends_when_its_command_is_killed(tmp_path: Path, until: Callable[..., None]) -> None:
    """Its processes would else go on with their share, for hours and unseen."""
    out = tmp_path / "set"
    command = [sys.executable, "-m", "simvg", "line", "render", "--out", str(out), "--images", "500", "--samples", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            until(lambda: len(_rendering(running.pid)) == 2, BUSY_SECONDS)
            started = _rendering(running.pid)
        finally:
            running.kill()
    _, alive = psutil.wait_procs(started, timeout=BUSY_SECONDS)
    for one in alive:
        one.kill()
    assert not alive and len(list(out.glob("images/*.jpg"))) < 500


def _rendering(pid: int) -> list[psutil.Process]:
    """The processes that a command has started to render, without the one that looks after shared memory."""
    return [one for one in psutil.Process(pid).children() if "spawn_main" in " ".join(one.cmdline())]


def test_a_picture_has_its_truth_beside_it(tracer: Tracer, tmp_path: Path) -> None:
    """The truth names the picture, its size and what is in it, as the readers expect."""
    for folder in ("images", "truth"):
        (tmp_path / folder).mkdir()
    render_one(tracer, tmp_path, 9, 4, "val")
    image = cv2.imread(str(tmp_path / "images" / "000004.jpg"))
    truth = read_truth(tmp_path / "truth" / "000004.json")
    assert image is not None
    assert image.shape[:2] == (truth.height, truth.width)
    assert (truth.image, truth.split) == ("000004.jpg", "val")
    assert any(instance.kind == "plate" for instance in truth.instances)


@pytest.mark.timeout(600)
def test_a_failed_rendering_process_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Processes that cannot start their renderer end the command with an error, not with a short set."""
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(tmp_path / "nothing.so"))
    with pytest.raises(RenderError, match="exit codes"):
        render_set(tmp_path / "set", 2, 1, "train", 2, samples=1)


@pytest.mark.parametrize(("seed", "split"), [(2, "train"), (1, "val")])
def test_a_folder_of_another_set_is_refused(tmp_path: Path, seed: int, split: str) -> None:
    """Sets of another seed or split are never mixed."""
    render_set(tmp_path, 0, 1, "train")
    with pytest.raises(ConfigurationError, match="choose another folder"):
        render_set(tmp_path, 0, seed, split)
    assert json.loads((tmp_path / "set.json").read_text())["seed"] == 1


@pytest.mark.parametrize("card", ["", "{", "[]", "\udcff"], ids=["empty", "cut off", "a list", "no text"])
def test_a_folder_whose_set_is_not_known_is_refused(tmp_path: Path, card: str) -> None:
    """A card that a power cut has left half written is named, with what to do."""
    render_set(tmp_path, 0, 1, "train")
    (tmp_path / "set.json").write_bytes(card.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError, match=r"set.*choose another folder with --out"):
        render_set(tmp_path, 1, 1, "train")


def test_pictures_of_no_known_set_are_refused(tmp_path: Path) -> None:
    """They would count as rendered, whatever they show."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "000000.jpg").touch()
    with pytest.raises(ConfigurationError, match=r"no set\.json that says of which set; choose another folder"):
        render_set(tmp_path, 1, 1, "train")
    assert not (tmp_path / "set.json").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The message says which, and how to name another."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"nothing can be written into .*file.*--out"):
        render_set(tmp_path / "file", 1, 1, "train")


def test_a_full_disk_ends_with_what_to_do() -> None:
    """The file that could not be written is named, and what is finished is kept."""

    def fill() -> None:
        with whole(Path("/dev/full")):
            Path("/dev/full").write_bytes(b"{}")

    with pytest.raises(ConfigurationError, match=r"/dev/full cannot be written \(No space left on device\); make room"):
        fill()


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    """The message names the splits there are."""
    with pytest.raises(ConfigurationError, match="val_hard"):
        render_set(tmp_path, 1, 1, "validation")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """No partial file stays beside the finished one."""
    write_atomically(tmp_path / "a.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
