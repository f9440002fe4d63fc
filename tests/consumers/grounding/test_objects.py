"""Alerts per object: what passes through the view is one episode, the next one is another."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.demo.plan import demo_queries
from consumers.demo.truth import ClipTruth, Target, read_clip_truth
from consumers.grounding.alarm import AlarmState, Sighting, step
from consumers.grounding.tracks import MAX_STEP, cheapest, undisputed
from infra.contracts import Alert, AlertState, Box, Delay, FrameReference, StandingQuery, State, utc_from_ns

START_NS = 1_764_000_000_000_000_000
MADE = datetime(2026, 1, 1, tzinfo=UTC)
QUERY = StandingQuery(id="q", text="missing bolt", created=MADE, changed=MADE, raise_threshold=0.8, clear_threshold=0.5)
ASSETS = Path(str(resources.files("simvg_core.lineworld").joinpath("assets")))

Frames = list[list[tuple[float, Box]]]
"""By frame, the boxes seen with their scores."""
COSTS = st.one_of(st.just(math.inf), st.just(math.inf), st.integers(0, 128).map(lambda cost: cost / 64))


def run(frames: Frames, *, fps: float, query: StandingQuery = QUERY, skip: frozenset[int] = frozenset()) -> list[Alert]:
    """All transitions for these frames; the frames in ``skip`` never reach the alarm."""
    return run_at([number / fps for number in range(len(frames))], frames, query=query, skip=skip)


def run_at(
    seconds: Sequence[float], frames: Frames, *, query: StandingQuery, skip: frozenset[int] = frozenset()
) -> list[Alert]:
    """As :func:`run`, for frames captured at these seconds."""
    state: AlarmState | None = None
    alerts: list[Alert] = []
    for number, boxes in enumerate(frames):
        if number in skip:
            continue
        captured = START_NS + round(seconds[number] * 1e9)
        place = FrameReference(
            topic="frames", partition=0, offset=number, sequence=number, captured_at=utc_from_ns(captured)
        )
        found = sorted(boxes, key=lambda one: -one[0])
        score = found[0][0] if found else 0.02
        present = score >= query.raise_threshold
        shown = [(s, box) for s, box in found if s >= query.clears_below] if present else []
        seen = Sighting(
            place,
            "e1",
            captured,
            State.PRESENT if present else State.ABSENT,
            score,
            tuple(box for _, box in shown),
            tuple(s for s, _ in shown),
        )
        taken = step(query, state, seen, camera="c1")
        state = AlarmState.model_validate_json(taken.state.model_dump_json()) if number % 10 == 0 else taken.state
        alerts += taken.alerts
    return alerts


def raised(alerts: list[Alert]) -> list[Alert]:
    """The first transition of each alert."""
    return [alert for alert in alerts if len(alert.timeline) == 1]


def box_at(x: float, y: float = 0.5, size: float = 0.06) -> Box | None:
    """A box around a middle, cut at the frame's edges; None once less than a quarter of it is in view."""
    x0, x1 = max(0.0, x - size / 2), min(1.0, x + size / 2)
    return (x0, y - size / 2, x1, y + size / 2) if x1 - x0 > size / 4 else None


def belt(
    starts: list[tuple[float, float]], speed: float, frames: int, *, stop: range = range(0), jitter: float = 0.0
) -> Frames:
    """Objects at (x, y) at frame 0 that move right by ``speed`` a frame, except during the frames of ``stop``."""
    noise = random.Random(7)
    rows: Frames = []
    way = 0.0
    for frame in range(frames):
        places = (box_at(x + way + noise.gauss(0, jitter), y) for x, y in starts)
        rows.append([(0.95, box) for box in places if box is not None])
        way += 0.0 if frame in stop else speed
    return rows


@pytest.mark.parametrize(
    ("fps", "speed"), [(10, 0.017), (10, 0.05), (5, 0.1), (5, 0.2), (2, 0.3)], ids=lambda value: str(value)
)
def test_each_plate_raises_once(fps: float, speed: float) -> None:
    """Objects 0.7 apart, with hardly a frame without one, raise one alert each at any speed."""
    starts = [(-0.7 * n, 0.5) for n in range(6)]
    query = QUERY.model_copy(update={"on_delay": Delay(value=2)})
    alerts = run(belt(starts, speed, round((0.7 * 5 + 1.2) / speed)), fps=fps, query=query)
    assert len(raised(alerts)) == 6
    assert len({alert.id for alert in alerts}) == 6


def test_next_plate_in_view_is_another_alert() -> None:
    """Two objects in view at once, without a frame between them, are two alerts with their own boxes."""
    alerts = raised(run(belt([(0.0, 0.5), (-0.5, 0.5)], 0.04, 45), fps=10))
    assert len(alerts) == 2
    assert [len(alert.boxes) for alert in alerts] == [1, 1]
    assert alerts[1].boxes[0][2] < 0.2


def test_two_defects_on_one_plate_are_one_alert() -> None:
    """What moves together within the size of an object is one alert, which is told again with all its boxes."""
    alerts = run(belt([(0.0, 0.4), (-0.25, 0.6)], 0.04, 45), fps=10)
    assert len(raised(alerts)) == 1
    assert alerts[1].reason == "2 objects instead of 1"
    assert len(alerts[1].boxes) == 2
    assert [str(alert.state) for alert in alerts] == ["raised", "raised", "cleared", "closed"]


def test_objects_closer_than_their_size_never_become_one_endless_alert() -> None:
    """Where plates follow each other closer than `object_size` says, two may share an alert, but the row does not."""
    alerts = run(belt([(-0.3 * n, 0.5) for n in range(10)], 0.03, 140), fps=10)
    assert 5 <= len(raised(alerts)) <= 10
    size = QUERY.model_copy(update={"object_size": 0.2})
    alerts = run(belt([(-0.3 * n, 0.5) for n in range(10)], 0.03, 140), fps=10, query=size)
    assert len(raised(alerts)) == 10


def test_stationary_object_raises_once() -> None:
    """A thing that stays, with the jitter of a model's boxes, is one alert without an update."""
    alerts = run(belt([(0.5, 0.5)], 0.0, 200, jitter=0.004), fps=10)
    assert [str(alert.state) for alert in alerts] == ["raised"]


def test_belt_that_stops_keeps_the_episode() -> None:
    """A belt that stops with a defect in view, and starts again, does not make it another case."""
    alerts = run(belt([(0.0, 0.5)], 0.05, 60, stop=range(8, 30)), fps=10)
    assert [str(alert.state) for alert in alerts] == ["raised", "cleared", "closed"]


def test_missed_frames_keep_the_episode() -> None:
    """A box that is not found in a few frames is found again as the same object."""
    rows = belt([(0.0, 0.5)], 0.05, 30)
    for frame in (5, 6, 9, 12, 13, 14):
        rows[frame] = []
    assert [str(alert.state) for alert in run(rows, fps=10)] == ["raised", "cleared", "closed"]


def test_order_of_boxes_does_not_matter() -> None:
    """Equal boxes in another order give the same transitions."""
    rows = belt([(0.0, 0.3), (-0.1, 0.6), (-0.6, 0.5)], 0.04, 50)
    turned = [list(reversed(row)) for row in rows]
    assert [a.model_dump_json() for a in run(rows, fps=10)] == [a.model_dump_json() for a in run(turned, fps=10)]


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(COSTS, min_size=width, max_size=width), min_size=1)))
def test_what_cannot_be_otherwise_needs_no_assignment(costs: list[list[float]]) -> None:
    """Where each track has a cheapest box to itself, the short way gives what the assignment gives: as many pairs at
    the same cost, and where no two costs are equal the same ones. It always does where none has a choice."""
    short, long = undisputed(costs), cheapest(costs)
    alone = all(sum(cost != math.inf for cost in line) <= 1 for line in [*costs, *zip(*costs, strict=True)])
    assert short is not None or not alone
    if short is not None:
        pairs, others = ([(row, at) for at, row in enumerate(found) if row is not None] for found in (short, long))
        assert len(pairs) == len(others)
        assert sum(costs[row][at] for row, at in pairs) == pytest.approx(sum(costs[row][at] for row, at in others))
        finite = [cost for line in costs for cost in line if cost != math.inf]
        assert short == long or len(set(finite)) < len(finite)


def test_objects_that_come_together_have_their_own_ids() -> None:
    """Two objects too far apart for one, first seen on the same frame, raise two alerts with different ids."""
    rows: Frames = [[(0.95, (0.1, 0.1, 0.15, 0.15)), (0.9, (0.8, 0.8, 0.85, 0.85))]] * 6
    first, second = raised(run(rows, fps=5))
    assert first.onset == second.onset
    assert first.id != second.id


def test_one_alert_per_query_where_that_is_asked() -> None:
    """With `episodes: query` the alert lasts as long as anything is seen."""
    query = QUERY.model_copy(update={"episodes": "query"})
    alerts = run(belt([(0.0, 0.5), (-0.5, 0.5)], 0.04, 60), fps=10, query=query)
    assert [str(alert.state) for alert in alerts] == ["raised", "cleared", "closed"]


PLATES, APART, LONGEST_GAP = 4, 0.5, 0.4
gaps = st.lists(st.floats(0.05, LONGEST_GAP), min_size=20, max_size=60)
off_delays = st.builds(Delay, value=st.integers(2, 4)) | st.builds(
    lambda value: Delay(value=value, unit="seconds"), st.floats(0.5, 2.0)
)


@settings(max_examples=150)
@given(gaps, st.floats(0.1, 0.7), off_delays, st.data())
def test_plate_that_is_seen_within_the_off_delay_raises_once(
    gaps: list[float], speed: float, off_delay: Delay, data: st.DataObject
) -> None:
    """Frames at odd times and boxes that are missed now and then, but not for the off-delay nor for further than an
    object is followed between two looks: no plate is two alerts, and none is open once the belt is empty."""
    seconds = [sum(gaps[:number]) for number in range(len(gaps) + 1)]
    rows: Frames = []
    places: list[dict[int, Box]] = []
    seen: dict[int, tuple[int, float]] = {}
    for number, now in enumerate(seconds):
        boxes = {plate: box_at(speed * now - APART * plate) for plate in range(PLATES)}
        places.append({plate: box for plate, box in boxes.items() if box is not None})
        rows.append([])
        for plate, box in places[-1].items():
            before, at = seen.get(plate, (number, now))
            unseen = number - before if off_delay.unit == "frames" else now - at
            way = (now + LONGEST_GAP - at) * speed
            if unseen >= off_delay.value or way > MAX_STEP or data.draw(st.integers(0, 3)) > 0:
                seen[plate] = number, now
                rows[-1].append((0.95, box))
    empty = [seconds[-1] + 0.3 * number for number in range(1, 11)]
    query = QUERY.model_copy(update={"on_delay": Delay(value=2), "off_delay": off_delay})
    alerts = run_at([*seconds, *empty], [*rows, *([] for _ in empty)], query=query)
    plates = [
        plate
        for alert in raised(alerts)
        for plate, box in places[alert.frame.sequence].items()
        if box == alert.boxes[0]
    ]
    assert len(plates) == len(raised(alerts)) == len(set(plates))
    assert {alert.id for alert in alerts if alert.state is AlertState.CLOSED} == {alert.id for alert in alerts}


CLIPS = ["demo.json", *(f"pass_{n}.json" for n in range(1, 5))]


def clip_frames(truth: ClipTruth, target: Target, *, seed: int | None = None) -> Iterator[list[tuple[float, Box]]]:
    """The clip's boxes as a model would give them; with a seed, scores and corners are noisy, boxes get lost."""
    noise = random.Random(seed)
    for frame in range(len(truth.frames)):
        row: list[tuple[float, Box]] = []
        for sighting in truth.targets(frame, target, visible=0.3):
            if seed is None:
                row.append((0.97, sighting.box))
            elif noise.random() > 0.05:
                corners = [min(1.0, max(0.0, value + noise.gauss(0, 0.003))) for value in sighting.box]
                x0, y0, x1, y1 = corners
                box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
                row.append((min(0.99, max(0.0, noise.gauss(0.92, 0.05))), box))
        yield row


@pytest.mark.parametrize("noisy", [False, True], ids=["clean", "noisy"])
@pytest.mark.parametrize("clip", CLIPS)
def test_clip_raises_one_alert_per_plate(clip: str, noisy: bool) -> None:
    """On the shipped clips every plate with a target raises exactly one alert, also with noise and dropped frames."""
    truth = read_clip_truth(ASSETS / clip)
    for wanted in demo_queries():
        rows = list(clip_frames(truth, wanted.target, seed=11 if noisy else None))
        dropped = frozenset(random.Random(5).sample(range(len(rows)), len(rows) // 10)) if noisy else frozenset()
        # Only plates that are in view for long enough to be raised are asked for.
        plates: dict[int | None, int] = {}
        for frame in range(len(rows)):
            for sighting in truth.targets(frame, wanted.target, visible=0.3):
                plates[sighting.plate] = plates.get(sighting.plate, 0) + 1
        expected = sum(count >= 8 for count in plates.values())
        assert len(raised(run(rows, fps=truth.fps, skip=dropped))) == expected, (clip, wanted.id)
