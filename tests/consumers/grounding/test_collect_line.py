"""From a running line's alerts to sets that a model is trained, calibrated and scored on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from consumers import collect_cli
from consumers.collect import set_of
from consumers.plant_set import DEFAULT_SHARES, SETS
from simvg import app
from tests.consumers.grounding.colour import COLOURS
from tests.consumers.grounding.conftest import HEIGHT, SQUARE, WIDTH, Line
from tests.simvg_core.training.conftest import TOY


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def picture(grey: int, shown: bool) -> bytes:
    pixels = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    if shown:
        x0, y0, x1, y1 = SQUARE
        pixels[y0:y1, x0:x1] = COLOURS["red"]
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def moments() -> Iterator[datetime]:
    """One in the time of each set, going up, all within the last two days."""
    at = datetime.now(UTC) - timedelta(days=2)
    for name in SETS:
        while set_of(at, DEFAULT_SHARES) != name or set_of(at + timedelta(seconds=5), DEFAULT_SHARES) != name:
            at += timedelta(minutes=1)
        yield at


def test_verdicts_become_sets_that_are_trained_and_scored_on(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alerts with pictures from a worker; verdicts and sets from the commands; not a broken record in them, and a model
    takes a step on them and is scored."""
    monkeypatch.setattr(collect_cli.console, "width", 200)
    monkeypatch.setenv("SIMVG_REDIS__URL", line.redis.url)
    monkeypatch.setenv("SIMVG_REDIS__PREFIX", line.redis.prefix)
    where = ["--kafka", line.kafka.bootstrap, "--topic-prefix", line.kafka.prefix]
    region = (0.0, 0.0, 0.5, 1.0)
    line.add("red", region=region)
    line.add("green", expect="present")
    line.start()
    camera = line.camera()
    for grey, at in enumerate(moments(), 120):
        for number, shown in enumerate([True] * 4 + [False] * 6):
            captured = int((at + timedelta(seconds=number / 5)).timestamp() * 1e9)
            camera.send(image=picture(grey, shown), captured_ns=captured)
    line.until(lambda: len({alert.id for alert in line.alerts()}) == 4)
    alerts = [alert for alert in line.alerts() if alert.number == 1]
    red = [alert.id for alert in sorted(alerts, key=lambda one: one.raised_at) if alert.query.id == "red"]
    (green,) = [alert.id for alert in alerts if alert.query.id == "green"]
    for alert, said in [(red[0], "true"), (red[1], "false"), (green, "true")]:
        run("alerts", "verdict", alert, said, *where)
    run("alerts", "verdict", red[2], "true", "--box", "0.25,0.25,0.40,0.50", *where)
    out = tmp_path / "plant"
    told = run("alerts", "collect", "--out", str(out), *where)
    assert "4 alerts with a verdict: 4 in the sets (0 of them from before), 0 left out" in told
    said = {}
    for name in SETS:
        document = json.loads((out / name / "annotations.json").read_text())
        boxes = {one["id"]: one["bbox"] for one in document["annotations"]}
        widths = {one["id"]: one["width"] for one in document["images"]}
        said[name] = [
            (one["text"], widths[one["image_id"]], [boxes[id] for id in one["annotation_ids"]])
            for one in document["expressions"]
        ]
        run("data", "check", str(out / name), "--decode")  # ends with 1 if a record is broken
    half, (x0, y0, x1, y1) = WIDTH // 2, SQUARE
    ((text, width, (found,)), *rest) = sorted(said["train"], key=lambda one: one[0], reverse=True)
    assert (text, width) == ("red", half) and found == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=2)
    assert rest == [("green", WIDTH, [])]
    assert said["val"] == [("red", half, [])]
    assert said["test"] == [("red", half, [[40.0, 0.25 * HEIGHT, 24.0, 0.25 * HEIGHT]])]

    file = tmp_path / "plant.yaml"
    sets = {"sets": [{"path": str(out / "train")}], "validation_set": {"path": str(out / "val")}}
    toy = {"model": TOY, "batch_size": 1, "workers": 0, "device": "cpu", "precision": "fp32", "max_epochs": 1}
    file.write_text(json.dumps({**sets, **toy, "output": str(tmp_path / "run")}))
    run("train", str(file), "--steps", "1")
    assert "red" in run("evaluate", str(tmp_path / "run/model"), "--data", str(out / "test"))
