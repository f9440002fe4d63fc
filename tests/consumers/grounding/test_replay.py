"""Frames of the past give the alerts that they gave, or those that other settings would have given."""

from __future__ import annotations

import json
import random
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from consumers.alerts import read_alerts
from consumers.grounding import engine as engine_module
from consumers.grounding.plan import make_plan
from consumers.grounding.replay import Replay, retained_frames, video_frames
from consumers.grounding.replay_cli import replay
from consumers.grounding.replay_diff import Episode, comparable, compare, episodes
from consumers.moments import parse_moment
from infra.contracts import Alert, AlertState, Delay, StandingQuery
from infra.errors import CameraError, QueryNotFound, SettingsError
from infra.queries import QuerySet
from tests.consumers.grounding.colour import COLOURS, ColourEngine
from tests.consumers.grounding.conftest import Line
from tests.consumers.grounding.test_operators_and_blindness import BLACK as BLACK_FRAME
from tests.consumers.test_alerts import make_alert

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("1.5 h", NOW - timedelta(hours=1.5)),
        ("2026-11-27T02:15:00Z", NOW.replace(hour=2, minute=15)),
        ("2026-11-27T02:15:00", NOW.replace(hour=2, minute=15)),
        ("2026-11-27T03:15:00+01:00", NOW.replace(hour=2, minute=15)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    """A time with a zone, one in UTC, or how long ago."""
    assert parse_moment(text, now=NOW) == moment


def test_what_is_no_moment_is_refused() -> None:
    """The error shows how a time is written."""
    with pytest.raises(SettingsError, match="90s, 10m or 2h"):
        parse_moment("yesterday", now=NOW)


def episode(id: str, start: int, end: int | None, query: str = "q") -> Episode:
    at = [None if s is None else NOW + timedelta(seconds=s) for s in (start, end)]
    assert at[0] is not None
    return Episode(id, query, query, at[0], at[0], at[1])


def test_differences_are_named() -> None:
    """The same id is the same alert; an overlapping one of the same query moved; the rest is only then or only now."""
    then = [episode("a", 0, 5), episode("b", 10, 15), episode("c", 30, 31), episode("d", 40, None)]
    now = [episode("a", 0, 6), episode("x", 12, 16), episode("y", 20, 21), episode("z", 41, 42, "other")]
    told = [(one.verdict, (one.then or one.now).id) for one in compare(then, now)]  # type: ignore[union-attr]
    assert told == [
        ("same", "a"), ("moved", "b"), ("only now", "y"), ("only then", "c"), ("only then", "d"), ("only now", "z"),
    ]  # fmt: skip
    assert compare([], []) == []


def raised(id: str, query: str, reason: str, second: float, ended: float | None = None) -> list[Alert]:
    """One alert, as it was raised and, if so, closed."""
    at = NOW + timedelta(seconds=second)
    first = make_alert(1).model_dump() | {"id": id, "reason": reason, "onset_at": at, "raised_at": at}
    first |= {"query": {"id": query, "text": query, "revision": 1}, "timeline": [{"state": "raised", "at": at}]}
    if ended is None:
        return [Alert.model_validate(first)]
    first["timeline"][0]["note"] = reason if reason == GONE else None
    closing = {"state": "closed", "at": NOW + timedelta(seconds=ended)}
    last = first | {"state": "closed", "reason": "it sees again", "timeline": [*first["timeline"], closing]}
    return [Alert.model_validate(first), Alert.model_validate(last)]


BLACK, GONE = "camera sees nothing: frame is black", "no frame for 10 s (limit 10 s)"


@pytest.mark.parametrize(
    ("then", "whole", "why"),
    [
        (raised("b", "camera-blind", BLACK, 5, 9), True, None),
        (raised("b", "camera-blind", BLACK, 5), True, None),
        (raised("b", "camera-blind", GONE, 5, 9), True, "the camera was silent, which no frame tells"),
        (raised("b", "camera-blind", BLACK, -5, 9), True, "the camera was blind when the span began"),
        (raised("b", "camera-blind", BLACK, 5, 9), False, "only some of what its frames were asked is replayed"),
        (raised("b", "camera-blind", GONE, 5, 9)[-1:], True, "the camera was silent, which no frame tells"),
        (raised("a", "camera-blind", GONE, -9, -5) + raised("b", "camera-blind", BLACK, 5, 9), True, None),
    ],
    ids=[
        "black",
        "still black",
        "silent",
        "black from before",
        "some queries",
        "silent and compacted",
        "silent before",
    ],
)
def test_a_blind_camera_is_compared_where_frames_tell_it(then: list[Alert], whole: bool, why: str | None) -> None:
    """Else it is left out on both sides; what else was raised is compared as ever."""
    others = raised("x", "q", "score 0.9", 3)
    before = raised("y", "q", "score 0.9", -3, 1)
    again = raised("b", "camera-blind", BLACK, 5, 9)
    first, second, said = comparable(before + then + others, again + others, start=NOW, whole=whole)
    assert said == why
    left = {"x"} if why is not None else {"x", "b"}
    assert {alert.id for alert in first} == {alert.id for alert in second} == left
    assert comparable(others, others, start=NOW, whole=False) == (others, others, None)


def transitions(line: Line) -> list[Alert]:
    found = read_alerts(line.kafka, from_beginning=True, to_end=True)
    return [one for one in found if isinstance(one, Alert)]


def played(line: Line) -> int:
    """A worker that saw two red episodes and was stopped; when it began, in ns."""
    line.changes["freshness"] = "every"
    line.add("red", id="q-red", episodes="query")
    worker = line.start()
    camera = line.camera()
    began = time.time_ns()
    camera.play("..rrrr......rrrrr.......")
    line.wait_for_alerts(*["raised", "cleared", "closed"] * 2)
    line.stop(worker)
    return began


def test_a_replay_raises_what_was_raised(line: Line) -> None:
    """The same frames and queries give the same alerts: ids, states, scores, boxes, times."""
    began = played(line)
    engine = ColourEngine()
    run = Replay(engine, make_plan(line.registry.snapshot(), engine))
    frames = retained_frames(line.kafka, "line-1", start_ns=began, end_ns=time.time_ns(), tally=run.tally)
    again = list(run.run(frames))
    then = transitions(line)
    facts = [(one.id, one.state, one.score, one.boxes, one.timeline[-1].at) for one in again]
    assert facts == [(one.id, one.state, one.score, one.boxes, one.timeline[-1].at) for one in then]
    assert (run.tally.frames, run.tally.scored) == (24, 24)
    assert {one.verdict for one in compare(episodes(then), episodes(again))} == {"same"}


def test_a_replay_scores_the_frames_that_rates_let_through(line: Line) -> None:
    """The worker's rate and the queries' hold in a replay as they did: what flickers gives the same alerts."""
    at_once = {"on_delay": Delay(value=1), "off_delay": Delay(value=1), "episodes": "query"}
    line.add("red", rate=3.0, **at_once)
    line.add("red", id="red-slow", rate=1.5, **at_once)
    worker = line.start(rate=4.0)
    camera, began, chance = line.camera(), time.time_ns(), random.Random(5)
    # Where the spans of the rates begin is by chance: each of the later blocks is longer than the longest of them.
    flicker, blocks = [chance.random() < 0.5 for _ in range(48)], [number // 12 % 2 == 1 for number in range(48)]
    for number, red in enumerate(flicker + blocks):
        camera.send(*(["red"] if red else []), captured_ns=began + number * 100_000_000)
    line.wait_for_frames(worker, 96)
    line.stop(worker)
    engine = ColourEngine()
    run = Replay(engine, make_plan(line.registry.snapshot(), engine), rate=4.0)
    again = list(run.run(retained_frames(line.kafka, "line-1", start_ns=began, end_ns=2 * began, tally=run.tally)))
    assert {(one.id, one.state, one.frame) for one in again} == {(a.id, a.state, a.frame) for a in transitions(line)}
    assert len({one.id for one in again if one.query.id == "red-slow"}) > 1
    assert (run.tally.scored, run.tally.skipped) == (worker.totals.scored, worker.totals.skipped)


def test_only_the_span_and_the_camera_are_replayed(line: Line) -> None:
    """Frames of another camera and from before or after the span are left out."""
    line.camera("line-2").play("rrr")
    camera = line.camera()
    camera.play("rr")
    start = time.time_ns()
    camera.play("rrrr")
    end = time.time_ns()
    time.sleep(0.01)
    camera.play("r")
    engine = ColourEngine()
    run = Replay(engine, make_plan(QuerySet(1, ()), engine))
    kept = retained_frames(line.kafka, "line-1", start_ns=start, end_ns=end, tally=run.tally)
    assert [frame.header.sequence for frame in kept] == [2, 3, 4, 5]
    assert list(retained_frames(line.kafka, "line-1", start_ns=end, end_ns=end, tally=run.tally)) == []


def test_broken_frames_are_counted(line: Line) -> None:
    """What cannot be read or decoded is in the tally by its reason."""
    camera = line.camera()
    start = time.time_ns()
    camera.play("r")
    camera.send(image=b"noise")
    line.add("red", id="q-red")
    engine = ColourEngine()
    run = Replay(engine, make_plan(line.registry.snapshot(), engine))
    assert (
        list(run.run(retained_frames(line.kafka, "line-1", start_ns=start, end_ns=time.time_ns(), tally=run.tally)))
        == []
    )
    assert (run.tally.frames, run.tally.scored, run.tally.rejected) == (2, 1, {"not_an_image": 1})


def video(path: Path, script: str) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 120))
    noise = np.random.default_rng(3)
    for letter in script:
        pixels = noise.integers(100, 140, (120, 160, 3)).astype(np.uint8)
        if letter == "r":
            pixels[40:70, 40:80] = COLOURS["red"]
        writer.write(pixels)
    writer.release()
    return path


def test_a_video_is_replayed(tmp_path: Path) -> None:
    """A file's frames go through as a camera's: one raised and closed alert per episode."""
    engine = ColourEngine()
    query = StandingQuery(id="q", text="red", created=NOW, changed=NOW, episodes="query")
    run = Replay(engine, make_plan(QuerySet(1, (query,)), engine))
    found = list(run.run(video_frames(video(tmp_path / "a.avi", "..rrrrr........"), "line-9", start_ns=10**18)))
    assert [one.state for one in found] == [AlertState.RAISED, AlertState.CLEARED, AlertState.CLOSED]
    assert found[0].camera == "line-9" and found[0].onset.sequence == 2


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(CameraError, match=r"a\.mp4 cannot be opened"):
        list(video_frames(tmp_path / "a.mp4", "line-1", start_ns=0))


def command(line: Line, *arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(replay)
    where = ["--kafka", line.kafka.bootstrap, "--topic-prefix", line.kafka.prefix, "--redis", line.redis.url]
    environment = {"COLUMNS": "80", "SIMVG_REDIS__PREFIX": line.redis.prefix}
    done = CliRunner().invoke(app, [*arguments, *where], env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_the_command_compares(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """--diff finds nothing for the same settings, and names what another threshold would have changed. A transition is
    one line, however narrow the terminal."""
    played(line)
    monkeypatch.setattr(engine_module, "load_engine", lambda *_, **__: ColourEngine())
    code, shown = command(line, "--camera", "line-1", "--from", "5m", "--diff", "--publish")
    assert code == 0 and "24 frames: 24 scored; 2 alerts" in shown and "2 same" in shown
    assert len(re.findall("^.* closed .* closed with its clearing$", shown, re.MULTILINE)) == 2
    assert len(line.messages("alerts-replay")) == 6
    code, shown = command(line, "--camera", "line-1", "--from", "5m", "--diff", "--threshold", "0.999")
    assert code == 1 and "2 only then" in shown
    monkeypatch.setenv("SIMVG_RATE", "0.01")
    code, shown = command(line, "--camera", "line-1", "--from", "5m")
    monkeypatch.delenv("SIMVG_RATE")
    assert re.search("24 frames: [12] scored, 2[23] rate", shown)
    code, shown = command(line, "--camera", "line-1", "--from", "5m", "--text", "green", "--json")
    assert code == 0 and shown == ""
    code, shown = command(line, "--camera", "line-1", "--from", "5m", "--query", "q-red", "--json")
    assert [json.loads(text)["state"] for text in shown.splitlines()] == ["raised", "cleared", "closed"] * 2


def test_the_command_compares_a_camera_that_was_blind(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Black frames are in the replay as they were; not where one query alone is asked, nor is silence."""
    limits = [{"cameras": "*", "frozen_s": None, "blind_s": 5}]
    line.add("red", id="q-red")
    worker = line.start(camera_limits=limits)
    camera, began = line.camera(), time.time_ns() - 30_000_000_000
    for number in range(20):
        at = began + number * 1_000_000_000
        camera.send(image=BLACK_FRAME if 4 <= number < 12 else None, captured_ns=at, published_ns=at)
    line.until(lambda: [one.state for one in transitions(line)] == ["raised", "cleared", "closed"])
    line.stop(worker)
    monkeypatch.setattr(engine_module, "load_engine", lambda *_, **__: ColourEngine())
    settings = line.folder / "work.yaml"
    settings.write_text(json.dumps({"camera_limits": limits}))
    ask = ["--camera", "line-1", "--from", "5m", "--diff", "--config", str(settings)]
    code, shown = command(line, *ask)
    assert code == 0 and "1 same" in shown, shown
    code, shown = command(line, *ask, "--query", "q-red")
    assert code == 0 and "camera-blind is not compared: only some" in shown, shown
    line.start(camera_limits=limits)
    line.until(lambda: len(transitions(line)) == 4)  # it is silent now
    code, shown = command(line, *ask)
    assert code == 0 and "camera-blind is not compared: the camera was silent" in shown, shown


def test_a_question_without_an_answer_is_refused(line: Line) -> None:
    """A wrong id, a camera that no query watches, nothing to compare with: an error with the remedy."""
    with pytest.raises(QueryNotFound, match="'q-none'"):
        command(line, "--camera", "line-1", "--query", "q-none")
    with pytest.raises(QueryNotFound, match="no standing query watches camera 'line-1'"):
        command(line, "--camera", "line-1")
    with pytest.raises(SettingsError, match="a --video file raised none; leave one of the two away"):
        command(line, "--camera", "line-1", "--video", "a.mp4", "--diff")
    with pytest.raises(SettingsError, match="is not before"):
        command(line, "--camera", "line-1", "--from", "1m", "--to", "2m")
