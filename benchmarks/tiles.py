"""What tiles do for small objects, bolts of 20 to 40 pixels in frames of 1920×1080, and for false alarms.

    .venv/bin/python benchmarks/tiles.py --frames 24 --pictures 500

Renders frames of the line from far above (kept in --work, so that they are rendered once), asks the shipped model's
worker engine with one view, and with tiles over the frame, and compares with the truth. Then asks pictures of the line
benchmark, where nothing is too small for one view, what most of them do not show. Boxes are mapped back and merged by
the worker's own code. Writes docs/benchmarks/tiles.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import command, machine, positive, write  # noqa: E402  # the repository is on the path only now
from consumers.grounding.engine import load_engine  # noqa: E402
from consumers.grounding.findings import Finding  # noqa: E402
from consumers.grounding.frames import Pixels  # noqa: E402
from consumers.grounding.views import crop, merge, views_of  # noqa: E402
from infra.boxes import iou  # noqa: E402
from infra.contracts import Box, StandingQuery, State  # noqa: E402
from simvg_core.edge.settings import EdgeConfig  # noqa: E402
from simvg_core.lineworld.draw import draw_scene  # noqa: E402
from simvg_core.lineworld.language import standing_truth  # noqa: E402
from simvg_core.lineworld.truth import parse_truth, seen_in  # noqa: E402

PAGE = Path("docs/benchmarks/tiles.md")
MODEL = Path("models/line-small")
WIDTH, HEIGHT = 1920, 1080
SPAN_MM = 760.0
"""Belt across the frame: a bolt of 12 to 16 mm is then some 30 to 40 pixels wide, a small one 20."""

TEXTS = ("bolt", "missing bolt", "washer", "nut", "cap", "gear", "label")
TILES = ((1, 1), (2, 1), (2, 2), (3, 2), (4, 3))

PICTURES = Path("benchmarks/line/test")
ABSENT_TEXTS = ("missing bolt", "red cap")
ABSENT_TILES = ((1, 1), (2, 2))


def render_frames(work: Path, count: int, seed: int) -> None:
    """Pictures and truth of the benchmark that are not in the folder yet."""
    work.mkdir(parents=True, exist_ok=True)
    told = [work / f"{number:03d}.json" for number in range(count)]
    if others := [path for path in told if path.exists() and json.loads(path.read_text())["seed"] != seed]:
        raise SystemExit(f"{others[0]} is of another seed than {seed}; name another folder with --work.")
    todo = [number for number, path in enumerate(told) if not path.exists()]
    if not todo:
        return
    from simvg_core.lineworld.picture import render
    from simvg_core.lineworld.tracer import Tracer

    tracer = Tracer(samples=4)
    for number in todo:
        scene = draw_scene(seed, number, "test")
        x = statistics.fmean(plate.x for plate in scene.plates)
        y = statistics.fmean(plate.y for plate in scene.plates)
        distance = SPAN_MM / 2 / math.tan(math.radians(scene.camera.fov) / 2)
        camera = replace(
            scene.camera, look=(x, y), distance=distance, tilt=min(scene.camera.tilt, 0.35), width=WIDTH, height=HEIGHT
        )
        image, instances = render(tracer, replace(scene, camera=camera))
        cv2.imwrite(str(work / f"{number:03d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        record = {"width": WIDTH, "height": HEIGHT, "seed": seed, "split": "test", "instances": instances}
        part = told[number].with_suffix(".part")  # whole or not at all: what is there is not made again
        part.write_text(json.dumps(record), encoding="utf-8")
        part.replace(told[number])


Case = tuple[int, str, list[Box]]


def cases_of(work: Path, count: int) -> tuple[list[Pixels], list[Case]]:
    """Frames, and per frame and text the boxes that answer it; undecided questions are left out."""
    frames, cases = [], []
    for number in range(count):
        frames.append(np.asarray(cv2.imread(str(work / f"{number:03d}.jpg")), np.uint8))
        raw = json.loads((work / f"{number:03d}.json").read_text(encoding="utf-8"))
        scene = seen_in(parse_truth({"image": f"{number:03d}.jpg", "held_out": {}} | raw, str(work)))
        by_id = {seen.id: seen for seen in scene}
        for text in TEXTS:
            targets = standing_truth(scene, text)
            if targets is not None:
                cases.append((number, text, [by_id[target].box for target in targets]))
    return frames, cases


def pictures_of(folder: Path, count: int) -> tuple[list[Pixels], list[Case]]:
    """At most so many pictures of a split, spread over it, and the boxes that answer the texts that it decides."""
    document = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    images = document["images"][:: max(1, math.ceil(len(document["images"]) / count))]
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    numbers = {image["id"]: number for number, image in enumerate(images)}
    corners: dict[object, Box] = {}
    for annotation in document["annotations"]:
        if annotation["image_id"] in sizes:
            (x, y, w, h), (width, height) = annotation["bbox"], sizes[annotation["image_id"]]
            corners[annotation["id"]] = (x / width, y / height, (x + w) / width, (y + h) / height)
    cases = [
        (numbers[one["image_id"]], one["text"], [corners[target] for target in one["annotation_ids"]])
        for one in document["expressions"]
        if one["kind"] == "standing" and one["text"] in ABSENT_TEXTS and one["image_id"] in numbers
    ]
    pictures = [np.asarray(cv2.imread(str(folder / "images" / image["file_name"])), np.uint8) for image in images]
    return pictures, cases


def ask(
    engine: object, frames: Sequence[Pixels], texts: Sequence[str], tiles: tuple[int, int], threshold: float
) -> tuple[list[dict[str, Finding]], float]:
    """Findings per frame and text, on the whole frame, and the seconds per frame."""
    now = datetime.now(UTC)
    queries = [
        StandingQuery(id=f"q{n}", text=text, tiles=tiles, raise_threshold=threshold, created=now, changed=now)
        for n, text in enumerate(texts)
    ]
    words = {query.text: query.clears_below for query in queries}
    views = views_of(queries[0])
    first = [crop(frames[0], view)[0] for view in views]
    engine.ground(first, [words] * len(first))  # type: ignore[attr-defined]  # a first call takes its memory
    started = time.perf_counter()
    answers = []
    for frame in frames:
        parts = [crop(frame, view) for view in views]
        found = engine.ground([part for part, _ in parts], [words] * len(parts))  # type: ignore[attr-defined]
        seen = [(exact, finding) for (_, exact), finding in zip(parts, found, strict=True)]
        answers.append({q.text: merge(q, [(box, one[q.text]) for box, one in seen]) for q in queries})
    return answers, (time.perf_counter() - started) / len(frames)


def score(cases: Sequence[Case], answers: Sequence[dict[str, Finding]]) -> tuple[float, float, float]:
    """Recall of targets with a side of 20 to 40 pixels, recall of all, and share of boxes that are right."""
    small: list[bool] = []
    everything: list[bool] = []
    right: list[bool] = []
    for number, text, truth in cases:
        boxes = answers[number][text].boxes
        for target in truth:
            hit = any(iou(box, target) >= 0.5 for box in boxes)
            everything.append(hit)
            side = max((target[2] - target[0]) * WIDTH, (target[3] - target[1]) * HEIGHT)
            if 20 <= side <= 40:
                small.append(hit)
        right += [any(iou(box, target) >= 0.5 for target in truth) for box in boxes]
    return tuple(100 * statistics.fmean(part) if part else float("nan") for part in (small, everything, right))  # type: ignore[return-value]


def alarms(text: str, cases: Sequence[Case], answers: Sequence[dict[str, Finding]]) -> tuple[str, str]:
    """Of the pictures without a target, those where it is seen; of those with one, those where one is found."""
    false, found = [], []
    for number, asked, truth in cases:
        answer = answers[number][text]
        if asked == text and truth:
            found.append(any(iou(box, target) >= 0.5 for box in answer.boxes for target in truth))
        elif asked == text:
            false.append(answer.state is State.PRESENT)
    return share(false), share(found)


def share(cases: Sequence[bool]) -> str:
    """``13.6 % of 110``."""
    return f"{100 * statistics.fmean(cases):.1f} % of {len(cases)}" if cases else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=positive, default=24)
    parser.add_argument("--pictures", type=positive, default=500)
    parser.add_argument("--seed", type=int, default=106)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--work", type=Path, default=Path("data/line-1080"))
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    render_frames(given.work, given.frames, given.seed)
    frames, cases = cases_of(given.work, given.frames)
    engine = load_engine(MODEL, device="cpu", precision="float32", batch_size=4, threads=given.threads)
    engine.compile([*TEXTS, *ABSENT_TEXTS])
    threshold = EdgeConfig.read(MODEL).score_threshold
    sides: NDArray[np.float64] = np.array(
        [max((b[2] - b[0]) * WIDTH, (b[3] - b[1]) * HEIGHT) for _, _, boxes in cases for b in boxes]
    )
    lines = [
        "# Tiles",
        "",
        f"{machine()}; {given.threads} of them for the model in ONNX Runtime. Model `{MODEL}` at 320×320, "
        f"{len(frames)} rendered frames of {WIDTH}×{HEIGHT}, "
        f"{len(TEXTS)} queries ({', '.join(TEXTS)}), the model's threshold {threshold:g}; {len(sides)} targets, "
        f"{int(((sides >= 20) & (sides <= 40)).sum())} of them with a longer side of 20 to 40 pixels.",
        "",
        f"`{command()}`",
        "",
        "| tiles | recall, 20 to 40 pixels | recall, all | boxes that are right | ms a frame |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for tiles in TILES:
        answers, seconds = ask(engine, frames, TEXTS, tiles, threshold)
        small, everything, right = score(cases, answers)
        lines.append(
            f"| {tiles[0]}×{tiles[1]} | {small:.1f} % | {everything:.1f} % | {right:.1f} % | {1000 * seconds:.0f} |"
        )
    pictures, cases = pictures_of(PICTURES, given.pictures)
    lines += [
        "",
        f"What is not there, in {len(pictures)} pictures of `{PICTURES}`, which show one plate closely:",
        "",
        "| query | tiles | seen where there is none | found where there is one |",
        "| --- | --- | ---: | ---: |",
    ]
    answered = {tiles: ask(engine, pictures, ABSENT_TEXTS, tiles, threshold)[0] for tiles in ABSENT_TILES}
    for text in ABSENT_TEXTS:
        for tiles, answers in answered.items():
            false, found = alarms(text, cases, answers)
            lines.append(f"| {text} | {tiles[0]}×{tiles[1]} | {false} | {found} |")
    write(given.out, lines)


if __name__ == "__main__":
    main()
