"""At which thresholds the demo's queries pass: every frame of its clip, the worker's alarms, the demo's own score.

    .venv/bin/python benchmarks/thresholds.py

One threshold for all queries is right when one passes for all. Writes docs/benchmarks/thresholds.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import command, machine, write  # noqa: E402  # the repository is on the path only now
from consumers.demo.plan import DemoQuery, demo_queries  # noqa: E402
from consumers.demo.score import QueryScore, RaisedAlert, score_query  # noqa: E402
from consumers.demo.truth import ClipTruth, read_clip_truth  # noqa: E402
from consumers.grounding.alarm import Sighting, step  # noqa: E402
from consumers.grounding.engine import load_engine  # noqa: E402
from consumers.grounding.findings import Finding  # noqa: E402
from consumers.grounding.views import merge  # noqa: E402
from infra.contracts import AlertState, Delay, FrameReference, StandingQuery  # noqa: E402
from infra.regions import WHOLE  # noqa: E402

PAGE = Path("docs/benchmarks/thresholds.md")
CLIP = REPOSITORY / "simvg_core/lineworld/assets/demo.mp4"
THRESHOLDS = (*(round(0.05 * step, 2) for step in range(2, 20)), 0.97, 0.98, 0.99)
CAMERA, START = "line-1", datetime(2026, 1, 1, tzinfo=UTC)


def findings(model: Path, texts: list[str]) -> list[dict[str, Finding]]:
    """What the model says of every frame, whatever its score."""
    engine = load_engine(model, device="cpu", precision="float32", batch_size=1, threads=None)
    engine.compile(texts)
    video, found = cv2.VideoCapture(str(CLIP)), []
    while (grabbed := video.read())[0]:
        found += engine.ground([np.asarray(grabbed[1], np.uint8)], [dict.fromkeys(texts, 0.0)])
    video.release()
    return found


def score(query: DemoQuery, threshold: float, frames: list[dict[str, Finding]], truth: ClipTruth) -> QueryScore:
    """The demo's score of the alerts that a threshold raises."""
    standing = StandingQuery(
        id=query.id, text=query.text, cameras=(CAMERA,), raise_threshold=threshold, author="benchmark",
        on_delay=Delay.parse(query.on_delay), off_delay=Delay.parse(query.off_delay), created=START, changed=START,
    )  # fmt: skip
    state, raised = None, []
    for number, row in enumerate(frames):
        captured = START + timedelta(seconds=number / truth.fps)
        place = FrameReference(topic="frames", partition=0, offset=number, sequence=number, captured_at=captured)
        seen = merge(standing, [(WHOLE, row[query.text])])
        captured_ns = round(captured.timestamp() * 1e9)
        sighting = Sighting(place, "clip", captured_ns, seen.state, seen.score, seen.boxes, seen.box_scores)
        taken = step(standing, state, sighting, camera=CAMERA)
        state = taken.state
        raised += [
            RaisedAlert(alert.id, alert.onset.sequence, alert.frame.sequence, alert.boxes)
            for alert in taken.alerts
            if alert.state is AlertState.RAISED and alert.number == 1
        ]
    return score_query(truth, query.target, raised, played=len(frames))


def ranges(passed: Sequence[float]) -> str:
    """Thresholds that pass, ascending: from … to, and again from … to where one between them does not."""
    runs: list[list[float]] = []
    for one in passed:
        if runs and THRESHOLDS.index(one) == THRESHOLDS.index(runs[-1][-1]) + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    return ", ".join(f"{run[0]:g} … {run[-1]:g}" if len(run) > 1 else f"{run[0]:g}" for run in runs) or "never"


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/line-small"))
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    queries, truth = demo_queries(), read_clip_truth(CLIP.with_suffix(".json"))
    frames = findings(given.model, [query.text for query in queries])
    lines = [
        "# Thresholds of the demo's queries",
        "",
        f"`{command()}` on {machine()}. `{given.model}`, {len(frames)} frames of the demo's clip, all scored, the "
        "worker's alarms, the demo's score: nine of ten episodes found within a second, at most one false "
        f"alert. Thresholds tried: {', '.join(f'{one:g}' for one in THRESHOLDS)}.",
        "",
        "| query | episodes | passes from … to | below: false alerts | above: found |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for query in queries:
        scores = {one: score(query, one, frames, truth) for one in THRESHOLDS}
        passed = [one for one in THRESHOLDS if scores[one].passed]
        if not passed:
            lines.append(f"| {query.text} | {scores[0.5].episodes} | never | – | – |")
            continue
        below = [scores[one].false_alerts for one in THRESHOLDS if one < passed[0]]
        above = [scores[one].found for one in THRESHOLDS if one > passed[-1]]
        lines.append(
            f"| {query.text} | {scores[passed[0]].episodes} | {ranges(passed)} | "
            f"{max(below) if below else '–'} | {min(above) if above else '–'} |"
        )
    write(given.out, lines)


if __name__ == "__main__":
    main()
