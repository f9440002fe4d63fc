"""`simvg why` asks what a running line has written down."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from consumers.actions import publish_action
from consumers.why_cli import why
from infra import query_cli
from infra.contracts import ActionKind
from infra.errors import SettingsError, UnknownAlert
from infra.process import free_port
from tests.consumers.grounding.conftest import Line
from tests.consumers.grounding.test_operators_and_blindness import BLIND, action


def command(line: Line, *arguments: str, redis: str | None = None) -> str:
    app = typer.Typer()
    app.command()(why)
    where = ["--kafka", line.kafka.bootstrap, "--topic-prefix", line.kafka.prefix, "--redis", redis or line.redis.url]
    environment = {"COLUMNS": "200", "SIMVG_REDIS__PREFIX": line.redis.prefix}
    done = CliRunner().invoke(app, [*arguments, *where], env=environment)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_the_running_line_is_asked(line: Line) -> None:
    """An alert, a moment with one, a moment without, from what a worker wrote down."""
    line.changes["freshness"] = "every"
    line.add("red", id="q-red", episodes="query")
    worker = line.start()
    camera = line.camera()
    camera.play("..rrrr")
    (raised,) = line.wait_for_alerts("raised")
    shown = command(line, raised.id)
    assert raised.reason in shown and f"alert {raised.id} was open" in shown and "0.97" in shown
    asked = json.loads(
        command(line, "--camera", "line-1", "--at", raised.onset_at.isoformat(), "--query", "RED", "--json")
    )
    assert "no alert yet" in asked["statements"][-1] or "needed" in asked["statements"][-1]
    assert {frame["result"]["state"] for frame in asked["frames"]} == {"present", "absent"}
    time.sleep(1.2)
    later = datetime.now(UTC).isoformat()
    camera.send(image=b"noise")
    line.until(lambda: worker.totals.rejected == {"not_an_image": 1})
    line.until(
        lambda: "was rejected: not_an_image" in command(line, "--camera", "line-1", "--at", later, "--query", "q-red")
    )


def test_what_operators_did_to_an_alert_is_told_also_after_its_close(line: Line) -> None:
    """A comment that came too late for the timeline is kept, and read here; its words are no markup. The alert is named
    by the beginning of its id."""
    line.add("red")
    line.start()
    line.camera().play("rrr.....")
    raised = line.wait_for_alerts("raised", "cleared", "closed")[0]
    late = action(ActionKind.COMMENT, alert_id=raised.id, comment="lamp [/replaced]")
    publish_action(line.kafka, late)
    line_told = f"{late.at:%Y-%m-%d %H:%M:%S}Z comment by mia: lamp [/replaced]"
    assert line_told in command(line, raised.id[:12])
    as_json = json.loads(command(line, raised.id[:12], "--json"))
    assert as_json["alerts"] == [raised.id]
    (told,) = as_json["actions"]
    nowhere = f"redis://127.0.0.1:{free_port()}"
    assert raised.reason in command(line, raised.id, redis=nowhere)
    at = ["--camera", "line-1", "--at", raised.raised_at.isoformat(), "--query", "RED"]
    assert f"alert {raised.id} was open: raised" in command(line, *at, redis=nowhere)
    assert (told["kind"], told["by"], told["comment"]) == ("comment", "mia", "lamp [/replaced]")


def test_frame_that_was_told_as_skipped_long_after_is_explained(line: Line) -> None:
    """Skipped frames are told with the next one that is scored, which may be captured a minute later; and a moment
    beside a frame that was scored is told by it, whatever digits its camera's clock has."""
    line.add("red", rate=0.01)
    worker = line.start()
    camera, now = line.camera(), time.time_ns() // 100_000_000_000 * 100_000_000_000 - 250_000_000_000
    for number in (0, 1, 2, 12):  # one look in 100 s: the first and the last
        camera.send(captured_ns=now + number * 10_000_000_000 + 123_456_789)
    line.wait_for_frames(worker, 4)
    line.until(lambda: len(line.detections()) == 2)

    def asked(seconds: float) -> str:
        at = datetime.fromtimestamp(now / 1e9 + seconds, tz=UTC).isoformat()
        said = json.loads(command(line, "--camera", "line-1", "--at", at, "--query", "red", "--json"))
        return str(said["statements"][-1])

    assert "frame 1, captured at" in asked(10.0) and "no query was due by its rate" in asked(10.0)
    assert asked(0.1) == asked(0.2) == "no alert: the condition was not there"


def test_alerts_of_a_removed_query_and_of_a_silent_camera_are_told(line: Line) -> None:
    """The registry knows neither any more; what the line wrote down does."""
    query = line.add("red")
    line.start(camera_limits=BLIND)
    line.camera().play("..rrr")
    by_query = {alert.query.id: alert for alert in line.wait_for_alerts("raised", "raised")}
    red, blind = by_query["red"], by_query["camera-blind"]
    shown = command(line, blind.id)
    assert "the last scored one is frame 4" in shown and f"alert {blind.id} was open" in shown
    line.registry.remove("red", query.revision)
    shown = command(line, red.id)
    assert "the query was removed since" in shown and f"alert {red.id} was open" in shown and "0.97" in shown


def test_query_that_the_model_refuses_is_told_by_every_command(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding, listing and asking why name the worker's reason until the query has other words."""
    monkeypatch.setenv("SIMVG_REDIS__URL", line.redis.url)
    monkeypatch.setenv("SIMVG_REDIS__PREFIX", line.redis.prefix)
    monkeypatch.setattr(query_cli.console, "width", 300)

    def query(*arguments: str) -> str:
        done = CliRunner().invoke(query_cli.app, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    worker = line.start()
    line.until(line.registry.workers)
    reason = "the model of worker w0 cannot take it: the model does not know 'flux compensator'"
    added = query("add", "flux compensator", "--id", "strange")
    assert "REFUSED, nobody watches for it: strange" in added and reason in added
    assert "taken by worker w0" in query("add", "red")
    assert reason in query("list")
    told = {one["id"]: one["uptake"] for one in map(json.loads, query("list", "--json").splitlines())}
    assert told["strange"]["refused"] == {"w0": "the model does not know 'flux compensator'"}
    assert told["red"] == {"refused": {}, "taken": ["w0"], "pending": [], "untold": [], "readings": []}
    line.camera().play("r")
    line.wait_for_frames(worker, 1)
    line.until(line.detections)
    at = line.detections()[0].frame.captured_at.isoformat()
    why_not = command(line, "--camera", "line-1", "--at", at, "--query", "strange")
    assert f"frame 0 was scored, but not for this query: {reason}" in why_not
    assert "taken by worker w0" in query("edit", "strange", "--text", "blue")
    assert "REFUSED" not in query("list")


def test_half_a_question_is_refused(line: Line) -> None:
    """What is lacking is named; an alert nobody kept too."""
    with pytest.raises(SettingsError, match="all of --camera, --at and --query"):
        command(line, "--camera", "line-1")
    with pytest.raises(SettingsError, match="not both"):
        command(line, "a-1", "--camera", "line-1")
    with pytest.raises(UnknownAlert, match="'a-1'"):
        command(line, "a-1")
