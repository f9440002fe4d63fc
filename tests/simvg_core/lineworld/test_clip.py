"""Clips: a video with as many frames as its truth, resumable frame by frame."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np

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
