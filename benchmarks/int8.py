"""The frame graph in 8-bit integers against the one in 32-bit floats: speed and accuracy, on ONNX Runtime.

    .venv/bin/python benchmarks/int8.py

Integers: the weights of matrix products (`simvg work --precision int8`), what flows through them scaled anew for every
product. Convolutions too: in the frame pass everything is scaled as it was on `--calibration` pictures of the split
that are not scored. Writes docs/benchmarks/int8.md.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import command, interleaved, machine, positive, ratio, write  # noqa: E402  # the path is set only now
from simvg_core.edge.card import add_graph  # noqa: E402
from simvg_core.edge.graphs import FOLDER, FRAME, INT8, Precision, graph_file  # noqa: E402
from simvg_core.edge.grounder import EdgeGrounder  # noqa: E402
from simvg_core.images import read_frame, resize  # noqa: E402
from simvg_core.training.metrics import Outcome, summary  # noqa: E402
from simvg_core.training.sets.line import LineImage, read_document  # noqa: E402

PAGE = Path("docs/benchmarks/int8.md")
FLOATS, DYNAMIC, STATIC = "floats", "integers (`simvg work --precision int8`)", "integers, convolutions too"
VARIANTS = (FLOATS, DYNAMIC, STATIC)
MIN_SCORE = 0.02
QUERIES = 16
Asked = dict[Any, list[tuple[str, NDArray[np.float32]]]]


class Frames(CalibrationDataReader):  # type: ignore[misc]  # the package is untyped
    """Input of the frame graph, picture by picture."""

    def __init__(self, files: list[Path], size: int, how: str) -> None:
        self._inputs = self._read(files, size, how)

    @staticmethod
    def _read(files: list[Path], size: int, how: str) -> Iterator[dict[str, Any]]:
        for file in files:
            yield {"frames": resize(read_frame(file), size, how)[None]}

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)


def quantised(folder: Path, to: Path, variant: str, pictures: list[Path], threads: int) -> EdgeGrounder:
    """An exported model, or a copy with a frame graph of a variant, loaded."""
    if variant == STATIC:
        shutil.copytree(folder, to)
        plain, folder = EdgeGrounder(folder), to
        path, ready = to / FOLDER / graph_file(FRAME, INT8), to / "frame.ready.onnx"
        quant_pre_process(str(to / FOLDER / graph_file(FRAME, "float32")), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready), str(path), Frames(pictures, plain.config.image_size, plain.config.resize),
            quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv", "MatMul", "Gemm"], per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile, extra_options={"CalibPercentile": 99.99},
        )  # fmt: skip
        add_graph(path)
    return EdgeGrounder(folder, precision=precision_of(variant), threads=threads, check_quality=False)


def precision_of(variant: str) -> Precision:
    return "float32" if variant == FLOATS else INT8


def outcomes(grounder: EdgeGrounder, split: Path, images: list[LineImage], asked: Asked) -> list[Outcome]:
    """Answers to the benchmark's questions about some of its pictures."""
    found = []
    for image in images:
        frame = read_frame(split / "images" / image.file_name)
        row = grounder.ground([frame], [text for text, _ in asked[image.id]], MIN_SCORE)[0]
        for (text, truth), answer in zip(asked[image.id], row, strict=True):
            found.append(
                Outcome(
                    text=text,
                    image=image.file_name,
                    boxes=np.array(answer.boxes_xyxy_px, np.float32).reshape(-1, 4),
                    scores=np.array(answer.scores, np.float32),
                    score=answer.score or 0.0,
                    truth=truth,
                    size=(image.width, image.height),
                )
            )
    return found


def questions(split: Path) -> tuple[list[LineImage], Asked]:
    """Pictures of a split, and of each by id its texts with the boxes that answer them."""
    document = read_document(split)
    boxes = {one.id: one.bbox for one in document.annotations}
    asked: Asked = defaultdict(list)
    for one in document.expressions:
        corners = [(x, y, x + w, y + h) for x, y, w, h in (boxes[target] for target in one.annotation_ids)]
        asked[one.image_id].append((one.text, np.array(corners, np.float32).reshape(-1, 4)))
    return list(document.images), asked


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/line-small"))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/line/val"))
    parser.add_argument("--pictures", type=positive, default=200, help="that are scored")
    parser.add_argument(
        "--calibration", type=positive, default=40, help="last pictures of the split, for static scales"
    )
    parser.add_argument("--rounds", type=positive, default=15)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    images, asked = questions(given.split)
    scored = images[: min(given.pictures, len(images) - given.calibration)]
    pictures = [given.split / "images" / image.file_name for image in images[len(images) - given.calibration :]]
    texts = list(dict.fromkeys(text for image in scored for text, _ in asked[image.id]))[:QUERIES]
    frame = read_frame(pictures[0])
    rows, cases, passes = {}, {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, variant in enumerate(VARIANTS):
            copy = Path(scratch) / str(number)
            grounder = quantised(given.model, copy, variant, pictures, given.threads)
            graphs, kind = (copy if variant == STATIC else given.model) / FOLDER, precision_of(variant)
            size = (graphs / graph_file(FRAME, kind)).stat().st_size
            rows[variant] = (
                size,
                summary(outcomes(grounder, given.split, scored, asked), grounder.config.score_threshold),
            )
            compiled = grounder.compile(texts)
            cases[variant] = partial(grounder.ground, [frame], compiled)
            passes[variant] = partial(grounder.encode_frames, [frame])
        whole = interleaved(cases, given.rounds, warm_up=2)
        alone = interleaved(passes, given.rounds, warm_up=2)
    lines = [
        "# The frame graph in 8-bit integers",
        "",
        f"`{command()}` on {machine()}; ONNX Runtime, {given.threads} threads. {len(scored)} pictures of "
        f"`{given.split}`, {rows[VARIANTS[0]][1]['questions']} questions, `{given.model}`. Times are medians of "
        f"{given.rounds} interleaved rounds, one frame with {len(texts)} queries; times as fast is the median ratio "
        "within a round.",
        "",
        "| graphs | MB | frame pass, ms | frame with queries, ms | times as fast | P@0.5 | Pr(F1=1) | N-acc | AUC |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for variant, (size, scores) in rows.items():
        lines.append(
            f"| {variant} | {size / 1e6:.1f} | {statistics.median(alone[variant]) * 1e3:.1f} | "
            f"{statistics.median(whole[variant]) * 1e3:.1f} | {ratio(whole[VARIANTS[0]], whole[variant]):.2f} | "
            f"{scores['p_at_05']:.1f} | {scores['pr_f1']:.1f} | {scores['n_acc']:.1f} | {scores['auc']:.3f} |"
        )
    write(given.out, lines)


if __name__ == "__main__":
    main()
