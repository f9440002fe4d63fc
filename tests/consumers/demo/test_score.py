"""Alerts against the truth of a clip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consumers.demo.score import RaisedAlert, percentile, score_query
from consumers.demo.truth import ClipTruth, Episode, Sighting, Target, read_clip_truth
from infra.errors import SettingsError

BOLT = Target(("missing_bolt",))
BOX = (0.2, 0.2, 0.3, 0.3)


def clip(spans: list[tuple[int, int]], length: int = 100, entering: int = 3) -> ClipTruth:
    """A clip at 10 frames/s in which one hole is in sight in each span; ``entering`` frames cut by the border first."""
    frames: list[tuple[Sighting, ...]] = []
    for frame in range(length):
        here = [(a, b) for a, b in spans if a <= frame <= b]
        frames.append(
            tuple(
                Sighting(1, 1, "missing_bolt", None, "ok", BOX, 0.5 if frame < a + entering else 1.0, True)
                for a, _ in here
            )
        )
    return ClipTruth(10.0, tuple(frames))


def alert(raised: int, box: tuple[float, float, float, float] = BOX, id: str = "a") -> RaisedAlert:
    return RaisedAlert(id, raised - 2, raised, (box,))


def test_no_alert_on_an_empty_clip_is_a_pass() -> None:
    """A clip without episodes and without alerts has full recall."""
    score = score_query(clip([]), BOLT, [], played=100)
    assert (score.episodes, score.recall, score.passed) == (0, 1.0, True)


def test_an_alert_within_a_second_of_full_view_finds_the_episode() -> None:
    """The delay counts from the first frame fully in view."""
    score = score_query(clip([(10, 40)]), BOLT, [alert(18)], played=100)
    assert (score.found, score.delays_s, score.false_alerts) == (1, [0.5], 0)


def test_a_late_alert_is_not_found() -> None:
    """An alert later than one second counts as late, and the episode as missed."""
    score = score_query(clip([(10, 60)]), BOLT, [alert(30)], played=100)
    assert (score.found, score.late, score.passed) == (0, 1, False)


def test_an_alert_in_an_empty_scene_is_false() -> None:
    """Nothing in sight when the alert is raised: a false alert."""
    assert score_query(clip([(10, 30)]), BOLT, [alert(70)], played=100).false_alerts == 1


def test_an_alert_that_points_elsewhere_is_false() -> None:
    """A target in sight does not excuse a box that misses it."""
    score = score_query(clip([(10, 30)]), BOLT, [alert(18, (0.7, 0.7, 0.8, 0.8))], played=100)
    assert (score.false_alerts, score.misplaced, score.found) == (1, 1, 0)


def test_two_alerts_in_one_episode_find_it_once() -> None:
    """A doubled alert cannot raise the recall of another episode."""
    score = score_query(clip([(10, 30), (60, 80)]), BOLT, [alert(15, id="a"), alert(17, id="b")], played=100)
    assert (score.episodes, score.found) == (2, 1)


def test_an_episode_cut_off_by_the_end_is_not_asked() -> None:
    """Where the clip stops before the second is over, the episode is left out."""
    assert score_query(clip([(10, 30), (60, 80)]), BOLT, [alert(15)], played=65).episodes == 1


def test_defects_in_sight_at_once_have_an_episode_each() -> None:
    """An alert about one of two plates does not stand for the other, in whatever order they are raised."""
    near, far = BOX, (0.6, 0.6, 0.7, 0.7)
    first, second = (Sighting(id, id, "missing_bolt", None, "ok", box, 1.0, True) for id, box in ((1, near), (2, far)))
    seen = [(first,) * (10 <= k < 60) + (second,) * (15 <= k < 60) for k in range(100)]
    both = ClipTruth(10.0, tuple(seen))
    assert both.episodes(BOLT) == [Episode(id=1, first=10, due=10, last=59), Episode(id=2, first=15, due=15, last=59)]
    assert (one := score_query(both, BOLT, [alert(18, near)], played=100)).found == 1 and one.episodes == 2
    twice = score_query(both, BOLT, [alert(18, near, id="a"), alert(19, near, id="b")], played=100)
    assert (twice.found, twice.false_alerts) == (1, 0)
    assert score_query(both, BOLT, [alert(18, far, id="a"), alert(19, near, id="b")], played=100).found == 2


def test_short_gaps_stay_one_episode() -> None:
    """Sightings a few frames apart are one episode, as for the off-delay."""
    assert clip([(10, 20), (23, 40)]).episodes(BOLT) == [Episode(id=1, first=10, due=13, last=40)]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([3.0], 0.99, 3.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([float(i) for i in range(1, 101)], 0.99, 99.0),
    ],
    ids=["empty", "one", "median", "p99"],
)
def test_percentile_is_nearest_rank(values: list[float], share: float, expected: float | None) -> None:
    """Percentiles are values that were measured."""
    assert percentile(values, share) == expected


def test_a_truth_file_is_read_with_normalised_boxes(tmp_path: Path) -> None:
    """Pixels of the clip become shares of the frame."""
    path = tmp_path / "demo.json"
    instance = {
        "id": 4,
        "kind": "cap",
        "plate": 1,
        "color": "red",
        "box": [64, 48, 128, 96],
        "visible": 1,
        "clear": True,
    }
    path.write_text(
        json.dumps({"fps": 10, "width": 640, "height": 480, "frames": [{"index": 0, "instances": [instance]}]})
    )
    sighting = read_clip_truth(path).frames[0][0]
    assert (sighting.box, sighting.state) == ((0.1, 0.1, 0.2, 0.2), "ok")


@pytest.mark.parametrize("name", ["fps", "width", "height"])
@pytest.mark.parametrize("value", [0, -1, "nan"])
def test_a_truth_file_whose_numbers_cannot_be_is_named(tmp_path: Path, name: str, value: object) -> None:
    """Boxes are divided by the size, frame numbers by the rate."""
    path = tmp_path / "demo.json"
    path.write_text(json.dumps({"fps": 10, "width": 640, "height": 480, "frames": []} | {name: value}))
    with pytest.raises(SettingsError, match=rf"demo\.json is no clip truth .*{name} {value}.*each must be above 0"):
        read_clip_truth(path)


def test_a_broken_truth_file_is_named(tmp_path: Path) -> None:
    """The message names the file and what writes it."""
    path = tmp_path / "demo.json"
    path.write_text("{}")
    with pytest.raises(SettingsError, match=r"demo\.json is no clip truth .*simvg line clip"):
        read_clip_truth(path)
