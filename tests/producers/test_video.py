"""Video files as sources."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from threading import Event

import pytest

from infra.errors import CameraError
from producers.frame import EncodedImage, Shot
from producers.image_header import read_image
from producers.sources import open_source

Clip = Callable[..., Path]
Drawn = Callable[[Shot], int | None]


def shots_of(path: Path, **settings: bool) -> list[Shot]:
    return list(open_source(str(path), as_fast_as_possible=True, **settings).shots(Event()))


@pytest.mark.parametrize("b_frames", [0, 2])
def test_index_is_the_frame_s_number_in_the_file(clip: Clip, drawn: Drawn, b_frames: int) -> None:
    """All frames come once, in order of presentation, however the codec reorders them."""
    shots = shots_of(clip(20, b_frames=b_frames))
    assert [shot.index for shot in shots] == list(range(20))
    assert [drawn(shot) for shot in shots] == list(range(20))


@pytest.mark.parametrize("b_frames", [0, 2])
def test_corrupt_frame_keeps_its_number(
    clip: Clip, damage: Callable[[Path, int], None], drawn: Drawn, b_frames: int
) -> None:
    """A frame that cannot be decoded is a shot without image; those around it keep their index."""
    path = clip(30, b_frames=b_frames)
    damage(path, 13)
    shots = shots_of(path)
    assert [shot.index for shot in shots] == list(range(30))
    assert sum(shot.image is None for shot in shots) == 1
    assert all(drawn(shot) in (shot.index, None) for shot in shots[20:])


def test_capture_times_keep_the_recording_s_spacing(clip: Clip) -> None:
    """Frames of a video at 10 a second are 100 ms apart, also when played as fast as possible."""
    times = [shot.captured_ns for shot in shots_of(clip(10, rate=10))]
    assert {round((b - a) / 1e6) for a, b in pairwise(times)} == {100}


def test_own_rate_gives_the_same_frames(clip: Clip, drawn: Drawn) -> None:
    """Playing at the recording's own rate changes when frames come, not which."""
    shots = list(open_source(str(clip(6, rate=30))).shots(Event()))
    assert [shot.index for shot in shots] == list(range(6))
    assert [drawn(shot) for shot in shots] == list(range(6))


def test_loop_plays_on(clip: Clip) -> None:
    """Each playing counts from 0 again, and capture times go on without a jump."""
    source = open_source(str(clip(5, rate=10)), loop=True, as_fast_as_possible=True)
    shots = list(islice(source.shots(Event()), 12))
    assert [(shot.playing, shot.index) for shot in shots] == [(n // 5, n % 5) for n in range(12)]
    gaps = [b.captured_ns - a.captured_ns for a, b in pairwise(shots)]
    assert {round(gap / 1e6) for gap in gaps} == {100}


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("starts", [0, 2, 7200], ids=["anew", "overlapping", "hours-later"])
def test_recording_put_together_of_two_plays_on(clip: Clip, drawn: Drawn, b_frames: int, starts: int) -> None:
    """Time stamps that begin anew or jump are a cut: no frame is lost or told twice, and nobody waits for hours."""
    path = clip(20, name="a.ts", b_frames=2)
    second = clip(15, name="b.ts", b_frames=b_frames, first=5, starts=starts)
    path.write_bytes(path.read_bytes() + second.read_bytes())
    shots = shots_of(path)
    assert [shot.index for shot in shots] == list(range(35))
    assert [drawn(shot) for shot in shots] == [*range(20), *range(5, 20)]
    gaps = [b.captured_ns - a.captured_ns for a, b in pairwise(shots)]
    assert 0 <= min(gaps) <= max(gaps) <= 1_000_000_000 and sum(gaps) > 3_000_000_000


def test_motion_jpeg_passes_through(clip: Clip) -> None:
    """A Motion-JPEG file's pictures are complete JPEGs and are not encoded again."""
    shots = shots_of(clip(4, name="clip.avi", codec="mjpeg"))
    assert len(shots) == 4
    for shot in shots:
        assert isinstance(shot.image, EncodedImage)
        assert read_image(shot.image.data) == shot.image


def test_stop_ends_a_video(clip: Clip) -> None:
    """A stop that comes between two frames ends the iteration."""
    stop = Event()
    shots = open_source(str(clip(10)), loop=True).shots(stop)
    next(shots)
    stop.set()
    assert list(shots) == []


def test_file_that_is_no_video_says_so(tmp_path: Path) -> None:
    """Text in a file named like a video is told apart from a fault of the program."""
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(CameraError, match=r"cannot open .*notes\.mp4: what comes from there is no video"):
        shots_of(path)


def test_file_without_pictures_says_so(clip: Clip, damage: Callable[[Path, int], None]) -> None:
    """A video of which no frame can be decoded does not pass for a short one."""
    path = clip(2, b_frames=0)
    damage(path, 0)
    damage(path, 1)
    with pytest.raises(CameraError, match="there is no picture in it that can be decoded"):
        shots_of(path, loop=True)
