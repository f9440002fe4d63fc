"""The shipped model by engine: milliseconds a frame with 16 queries, at one frame a call and at four; and how many of
the line benchmark's questions each answers rightly.

    .venv/bin/python benchmarks/engines.py       # writes docs/benchmarks/engines.md
    .venv/bin/python benchmarks/engines.py --rounds 3 --batch 1 --out /tmp/engines.md

Engines take turns, and all look at the same frames of the demo clip. bfloat16 is measured where the processor has
instructions for it. The first engine is the one that `simvg work --engine auto` takes on a CPU.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.gate import asked_of  # noqa: E402  # the repository is on the path only now
from benchmarks.measure import TEXTS, Case, command, interleaved, machine, positive, ratio, write  # noqa: E402
from simvg_core.edge.grounder import EdgeGrounder  # noqa: E402
from simvg_core.execution import has_bfloat16  # noqa: E402
from simvg_core.grounder import Grounder  # noqa: E402
from simvg_core.training.sets.line import read_document  # noqa: E402

PAGE = Path("docs/benchmarks/engines.md")
CLIP = Path("simvg_core/lineworld/assets/demo.mp4")
SPLIT = Path("benchmarks/line/test")
BATCHES = (1, 4)
Face = EdgeGrounder | Grounder


def engines(model: Path, threads: int) -> dict[str, Callable[[], Face]]:
    """What loads each engine, the choice of `auto` first."""
    found: dict[str, Callable[[], Face]] = {
        "ONNX Runtime": lambda: EdgeGrounder(model, threads=threads, check_quality=False),
        "ONNX Runtime, int8": lambda: EdgeGrounder(model, precision="int8", threads=threads, check_quality=False),
        "OpenVINO": lambda: EdgeGrounder(model, runtime="openvino", threads=threads, check_quality=False),
        "torch, float32": lambda: Grounder.from_pretrained(model, device="cpu", check_quality=False),
    }
    if has_bfloat16(torch.device("cpu")):
        found["OpenVINO, bfloat16"] = lambda: EdgeGrounder(
            model, runtime="openvino", precision="bfloat16", threads=threads, check_quality=False
        )
        found["torch, bfloat16"] = lambda: Grounder.from_pretrained(
            model, device="cpu", dtype="bfloat16", check_quality=False
        )
    return found


def frames(count: int) -> list[np.ndarray]:
    """BGR frames of the demo clip, one a second."""
    video, found = cv2.VideoCapture(str(CLIP)), []
    step = round(video.get(cv2.CAP_PROP_FPS))
    for number in range(count):
        video.set(cv2.CAP_PROP_POS_FRAMES, number * step)
        read, pixels = video.read()
        if not read:
            raise SystemExit(f"{CLIP} has no frame {number * step}; run this in the repository's folder")
        found.append(pixels)
    video.release()
    return found


def answered(faces: dict[str, Face], pictures: int) -> list[str]:
    """A table: whether what a question names is said to be there, by engine; the first one is compared with."""
    document = read_document(SPLIT)
    images = list(document.images)[:: max(1, len(document.images) // pictures)][:pictures]
    asked = asked_of(document)
    said: dict[str, list[tuple[str, bool]]] = {name: [] for name in faces}
    for image in images:
        pixels, texts = cv2.imread(str(SPLIT / "images" / image.file_name)), asked[image.id]
        for name, face in faces.items():
            rows = face.ground([pixels], list(texts))[0]
            said[name] += [
                (one.state, (one.state == "present") == true) for one, true in zip(rows, texts.values(), strict=True)
            ]
    first = next(iter(said.values()))
    lines = [
        f"{len(first):,} questions about {len(images)} pictures of `{SPLIT}`:",
        "",
        "| | answered otherwise than by the first | rightly answered: present or not |",
        "| --- | ---: | ---: |",
    ]
    for name, own in said.items():
        otherwise = sum(one[0] != other[0] for one, other in zip(own, first, strict=True))
        lines.append(f"| {name} | {otherwise} | {sum(right for _, right in own):,} |")
    return lines


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/line-small"), help="an exported model")
    parser.add_argument("--batch", type=positive, action="append", help="frames a call; repeatable; default 1 and 4")
    parser.add_argument("--rounds", type=positive, default=30)
    parser.add_argument(
        "--pictures", type=positive, default=200, help="of the line benchmark, evenly over the test split"
    )
    parser.add_argument("--threads", type=positive, default=len(os.sched_getaffinity(0)), help="default: the machine's")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    faces = {name: load() for name, load in engines(given.model, given.threads).items()}
    compiled: dict[str, Any] = {name: face.compile(TEXTS) for name, face in faces.items()}
    batches = given.batch or BATCHES
    pictures = frames(max(batches))
    height, width = pictures[0].shape[:2]
    lines = [
        "# Engines",
        "",
        f"{machine()}. Model `{given.model}`, {len(TEXTS)} queries, frames of {width}×{height} pixels, from pixels to "
        f"boxes. Medians of {given.rounds} interleaved rounds; in brackets: times the time of {next(iter(faces))}, "
        "within a round.",
        "",
        f"`{command()}`",
        "",
        "| ms per frame at | " + " | ".join(f"{batch} a call" for batch in batches) + " |",
        "| --- |" + " ---: |" * len(batches),
    ]
    columns = []
    for batch in batches:
        cases: dict[str, Case] = {
            name: partial(face.ground, pictures[:batch], compiled[name]) for name, face in faces.items()
        }
        seconds = interleaved(cases, given.rounds, warm_up=3)
        first = next(iter(seconds.values()))
        columns.append(
            {
                name: f"{statistics.median(own) * 1e3 / batch:.1f} ({ratio(own, first):.2f})"
                for name, own in seconds.items()
            }
        )
    lines += [f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in faces]
    lines += ["", *answered(faces, given.pictures)]
    lines += ["", "`simvg work` takes ONNX Runtime where a model was exported and no GPU is used (`--engine auto`)."]
    write(given.out, lines)


if __name__ == "__main__":
    main()
