"""Clips: a video with as many frames as its truth, resumable frame by frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from simvg_core.errors import ConfigurationError
from simvg_core.lineworld.clip import render_clip, write_video
from simvg_core.lineworld.travel import travelling_line


def frames_of(path: Path) -> list[np.ndarray]:
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    video.release()
    return frames


def test_a_clip_and_its_truth_have_the_same_frames(tmp_path: Path) -> None:
    """Every frame has its truth; frames on disk are not rendered again."""
    run = travelling_line(4, ("missing",), width=96, height=72)
    calls: list[tuple[int, int]] = []
    out, work = tmp_path / "clip.mp4", tmp_path / "work"
    settings = {"seconds": 0.3, "fps": 10.0, "work": work, "processes": 1, "samples": 1}
    render_clip(run, out, **settings, progress=lambda done, total: calls.append((done, total)))  # type: ignore[arg-type]
    truth = json.loads(out.with_suffix(".json").read_text())
    assert (truth["fps"], truth["width"], truth["height"]) == (10.0, 96, 72)
    assert [frame["index"] for frame in truth["frames"]] == [0, 1, 2]
    assert len(frames_of(out)) == 3
    with av.open(str(out)) as video:
        assert video.streams.video[0].codec_context.name == "h264"
    assert calls[-1] == (3, 3)
    rendered = {path: path.stat().st_mtime_ns for path in work.iterdir()}
    render_clip(run, out, **settings)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in work.iterdir()} == rendered


@pytest.mark.parametrize(
    "other",
    [{"seed": 5}, {"width": 64}, {"fps": 5.0}, {"samples": 2}, {"faults": ("good",)}],
    ids=lambda other: next(iter(other)),
)
def test_frames_of_another_clip_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    """Else they would be shown as this clip's, beside a truth of another size or rate."""
    render = _rendering(tmp_path)
    render()
    made = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ConfigurationError, match=r"work holds the set .*; choose another folder with --work"):
        render(**other)
    assert sorted(path.name for path in tmp_path.rglob("*")) == made


def test_a_longer_clip_goes_on_with_the_frames_of_the_shorter(tmp_path: Path) -> None:
    """How many frames there are does not change any."""
    render = _rendering(tmp_path)
    render()
    render(seconds=0.2)
    assert len(frames_of(tmp_path / "clip.mp4")) == 2


def _rendering(folder: Path) -> Callable[..., None]:
    def render(
        seed: int = 4, faults: tuple[str, ...] = ("missing",), width: int = 32, seconds: float = 0.1, **changed: Any
    ) -> None:
        run = travelling_line(seed, faults, width=width, height=24)
        settings = {"fps": 10.0, "samples": 1} | changed
        render_clip(run, folder / "clip.mp4", seconds=seconds, work=folder / "work", processes=1, **settings)

    return render


def test_a_frame_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A power cut can leave an empty file; no half a video stays."""
    (tmp_path / "00000.png").touch()
    with pytest.raises(ConfigurationError, match=r"00000\.png cannot be read; remove it, and start again"):
        write_video([tmp_path / "00000.png"], tmp_path / "clip.mp4", 10.0)
    assert [path.name for path in tmp_path.iterdir()] == ["00000.png"]


def test_a_video_shows_its_pictures_in_order(tmp_path: Path) -> None:
    """Colours and order survive the encoder."""
    tones = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    pictures = []
    for k, tone in enumerate(tones):
        pictures.append(tmp_path / f"{k}.png")
        cv2.imwrite(str(pictures[-1]), np.full((72, 96, 3), tone, np.uint8))
    write_video(pictures, tmp_path / "clip.mp4", 10.0)
    seen = [frame.reshape(-1, 3).mean(0) for frame in frames_of(tmp_path / "clip.mp4")]
    assert np.abs(np.array(seen) - tones).max() < 15
