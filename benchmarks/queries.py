"""What standing queries cost: a frame with 0 … 256 of them, beside joint attention; the shipped model and base/32.

The shipped model also as `simvg work` runs it on a CPU: its graphs in ONNX Runtime. Joint attention is put into a graph
for it as well, and what is compared is the best that joint attention reaches in either.

    python benchmarks/queries.py                 # both models, writes docs/benchmarks/queries.md
    python benchmarks/queries.py --model line-small --rounds 30 --out /tmp/queries.md

The cost of one more query is (time with N - time with none) / N, as a share of the time with none (the frame pass).
Joint attention runs a whole pass per (frame, query), of one frame with several queries at once: as many of `--joint` as
is fastest, scaled by their number. Frames go through one by one, as in a worker on a CPU that has exported graphs, and
several at once, as in one that runs torch.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import Case, command, interleaved, machine, positive, ratio, write  # noqa: E402  # the repository is on the path only now
from simvg_core.configuration import SimVGConfig  # noqa: E402
from simvg_core.denormals import flushed  # noqa: E402
from simvg_core.edge.graphs import OnnxRuntimeGraph  # noqa: E402
from simvg_core.edge.grounder import EdgeGrounder  # noqa: E402
from simvg_core.edge.passes import Passes  # noqa: E402
from simvg_core.execution import Execution  # noqa: E402
from simvg_core.folding import folding, in_rows  # noqa: E402
from simvg_core.grouping import Grouping  # noqa: E402
from simvg_core.images import Frame, read_frame, resize  # noqa: E402
from simvg_core.lineworld.diverse import diverse  # noqa: E402
from simvg_core.model import SimVGForGrounding  # noqa: E402
from simvg_core.onnx_export import FramePass, write_graph  # noqa: E402
from simvg_core.processing import SimVGProcessor  # noqa: E402

COUNTS = (1, 4, 16, 64, 256)
TURN_SECONDS = 0.4
"""A worker's frames follow each other without a pause."""

VAL = Path("benchmarks/line/val")
PICTURES = 16
FLOOR = 0.4
SHIPPED = "as shipped,"
WORDS = (3, 8)
"""Tokens of a text for random weights, begin and end included: "red cap" has 4, "missing bolt at the left edge" 8."""


def build(name: str, attention: str) -> SimVGForGrounding:
    """The shipped model from its folder, without its gate, or base/32 with random weights; joint twins share the
    weights' shapes."""
    torch.manual_seed(0)
    if name == "base/32":
        model = SimVGForGrounding(SimVGConfig.base(attention=attention))
    else:
        model = SimVGForGrounding.from_pretrained(f"models/{name}", attention=attention)
        model.config.gate_floors, model.config.gate_thresholds = [], []
    model.eval()
    return model


def texts(name: str, model: SimVGForGrounding, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(count, T) ids of texts of the line, and their mask; for random weights random ones of such lengths."""
    if name != "base/32":
        batch = SimVGProcessor.from_pretrained(f"models/{name}").texts([ask.text for ask in diverse(count, 1)])
        return batch.input_ids, batch.attention_mask
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(WORDS[0], WORDS[1] + 1, (count,), generator=generator)
    ids = torch.randint(4, model.config.vocab_size, (count, WORDS[1]), generator=generator)
    return ids, (torch.arange(WORDS[1]) < lengths[:, None]).long()


def levels(side: int, count: int) -> Frame:
    """(count, side, side, 3) BGR: pictures of the line in a model's size, for what is there takes a second look."""
    return np.stack([resize(frame, side, "area") for frame in pictures_of_the_line()[:count]])


def pixel_values(model: SimVGForGrounding, count: int) -> torch.Tensor:
    """The same as a model takes them, (count, 3, side, side)."""
    mean, std = (torch.tensor(own).view(3, 1, 1) for own in (model.config.image_mean, model.config.image_std))
    return (torch.from_numpy(levels(model.config.image_size, count)).flip(-1).permute(0, 3, 1, 2) - mean) / std


def jointly(name: str, model: SimVGForGrounding, count: int) -> Case:
    """So many queries on one frame in joint attention."""
    ids, mask = texts(name, model, count)
    pixels, index = pixel_values(model, 1), torch.zeros(count, dtype=torch.long)
    return lambda: model(pixels, ids, mask, image_index=index, branches=("token",))


def measure(name: str, rounds: int, sizes: Sequence[int], joint_sizes: Sequence[int], dtype: str) -> list[str]:
    """The tables of one model, one for each number of frames at once."""
    cpu, execution = torch.device("cpu"), Execution(dtype=dtype)
    standing, joint = build(name, "standing"), build(name, "joint")
    for model in (standing, joint):
        execution.prepare(model, cpu)

    def with_queries(count: int, frames: int) -> Case:
        compiled = standing.compile_queries(*texts(name, standing, max(1, count)))
        if count == 0:
            compiled.remove(0)
        pixels = pixel_values(standing, frames)
        return lambda: standing.ground_frames(pixels, compiled)

    with torch.inference_mode(), execution.precision(cpu), flushed():
        cases = {f"{count} x {frames}": with_queries(count, frames) for frames in sizes for count in (0, *COUNTS)}
        seconds = interleaved(
            {**cases, **{f"joint {count}": jointly(name, joint, count) for count in joint_sizes}},
            rounds,
            turn_s=TURN_SECONDS,
        )
    per_pair = {f"at {count}": [second / count for second in seconds[f"joint {count}"]] for count in joint_sizes}
    return [f"## {name}, {dtype}", "", *tables(seconds, sizes, per_pair)]


class JointPass(FramePass):
    """Joint attention as one graph: one frame (1, S, S, 3) uint8 BGR, ids and mask (N, T) → logits and boxes."""

    def forward(self, frames: Tensor, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override] # with texts
        """(N, Q, 2) and (N, Q, 4)."""
        index = torch.zeros(len(input_ids), dtype=torch.long)
        encoded = self.model.encoder(self.pixels(frames), input_ids, attention_mask, index)
        grouping = Grouping.regular(len(input_ids), 1)
        out = self.model.answer(encoded, attention_mask, grouping, branches=("token",))
        assert out.token_logits is not None and out.token_boxes is not None, "the token branch was asked"
        return out.token_logits, out.token_boxes


def measure_graphs(name: str, rounds: int, sizes: Sequence[int], joint_sizes: Sequence[int], threads: int) -> list[str]:
    """The tables of an exported model in ONNX Runtime. Frames lie in the model's size, so none is resized."""
    folder = Path(f"models/{name}")
    grounder = EdgeGrounder(folder, threads=threads)
    passes = Passes.load(folder, grounder.config, threads)
    model = build(name, "joint")
    side = model.config.image_size

    def with_queries(count: int, frames: int) -> Case:
        given = list(levels(side, frames))
        if count == 0:
            return lambda: passes.encode(given)
        ready = grounder.compile_rows([ask.text for ask in diverse(count, 1)])
        assert ready is not None
        return lambda: passes.objects(passes.encode(given), ready)

    def as_shipped(count: int, frames: int) -> Case:
        """What a worker asks of pictures of the line: any texts of the line, from 64 on those that the gate lets pass,
        in the parts that they have. Each call takes the next pictures."""
        own = pictures_of_the_line()
        looked = itertools.cycle([own[start : start + frames] for start in range(0, len(own), frames)])
        if count == 0:
            return lambda: passes.encode(next(looked))
        chosen = [ask.text for ask in diverse(count, 1)]
        question = grounder.question(chosen, grounder.config.score_threshold, FLOOR)
        return lambda: passes.answers(next(looked), [question] * frames)

    def in_a_graph(count: int, path: Path) -> Case:
        ids, mask = texts(name, model, count)
        given = {"frames": torch.from_numpy(levels(side, 1)), "input_ids": ids, "attention_mask": mask}
        joint = JointPass(model)
        with joint.levels(), folding(model), in_rows(model):
            write_graph(joint, path, given, ("logits", "boxes"), {key: {} for key in given})
        graph, arrays = OnnxRuntimeGraph(path, threads), {key: value.numpy() for key, value in given.items()}
        return lambda: graph(arrays)

    cases = {f"{count} x {frames}": with_queries(count, frames) for frames in sizes for count in (0, *COUNTS)}
    shipped = {f"{count} x {frames}": as_shipped(count, frames) for frames in sizes for count in (0, *COUNTS)}
    cases |= {f"{SHIPPED} {key}": case for key, case in shipped.items()}
    with tempfile.TemporaryDirectory() as drawer:
        for count in joint_sizes:
            cases[f"in ONNX Runtime at {count}"] = in_a_graph(count, Path(drawer) / f"joint-{count}.onnx")
    Execution().prepare(model, torch.device("cpu"))
    cases |= {f"in torch at {count}": jointly(name, model, count) for count in joint_sizes}
    with torch.inference_mode(), flushed():
        seconds = interleaved(cases, rounds, turn_s=TURN_SECONDS)
    per_pair = {
        f"{runtime} at {count}": [second / count for second in seconds[f"{runtime} at {count}"]]
        for runtime in ("in torch", "in ONNX Runtime")
        for count in joint_sizes
    }
    gated = {key: seconds[f"{SHIPPED} {key}"] for key in shipped}
    return [
        f"## {name} in ONNX Runtime, as `simvg work` runs it on a CPU",
        "",
        *tables(seconds, sizes, per_pair),
        f"## The same with its gate, pictures of `{VAL}` and any texts of the line",
        "",
        f"From {grounder.gate_texts} queries on only those get object tokens that the gate lets pass; scores matter "
        f"from {FLOOR:g} on, where an alarm clears when nothing else is set.",
        "",
        *tables(gated, sizes, per_pair),
    ]


def pictures_of_the_line() -> list[Frame]:
    """Some of the benchmark's, not resized beforehand: what a worker does to each."""
    files = sorted((VAL / "images").iterdir())[:PICTURES]
    return [read_frame(file) for file in files]


def tables(seconds: Mapping[str, list[float]], sizes: Sequence[int], per_pair: Mapping[str, list[float]]) -> list[str]:
    """A table for each number of frames at once, against joint attention at its best: ``per_pair`` by how it ran."""
    best = min(per_pair, key=lambda how: statistics.median(per_pair[how]))
    told = ", ".join(f"{statistics.median(own) * 1e3:.1f} ms {how}" for how, own in per_pair.items())
    lines = [f"Joint attention per query: {told} queries at once; its best is compared.", ""]
    for frames in sizes:
        own = {count: [second / frames for second in seconds[f"{count} x {frames}"]] for count in (0, *COUNTS)}
        lines += table(frames, own, per_pair[best])
    return lines


def table(frames: int, own: Mapping[int, list[float]], per_pair: list[float]) -> list[str]:
    """Of so many frames at once: seconds per frame by number of queries, and those of joint attention per pair."""
    frame = own[0]
    lines = [
        f"{'One frame' if frames == 1 else f'{frames} frames'} at once, frame pass "
        f"{statistics.median(frame) * 1e3:.1f} ms per frame:",
        "",
        "| queries | ms per frame | one more query, ms | % of a frame pass | joint, ms | times faster |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    below_noise = False
    for count in COUNTS:
        share = (ratio(own[count], frame) - 1) / count
        more = (statistics.median(own[count]) - statistics.median(frame)) / count
        below_noise |= share < 0 or more < 0
        lines.append(
            f"| {count} | {statistics.median(own[count]) * 1e3:.1f} | {more * 1e3:.3f} | {share * 100:.2f} | "
            f"{statistics.median(per_pair) * count * 1e3:,.0f} | {ratio(per_pair, own[count]) * count:.1f} |"
        )
    if below_noise:
        lines += [
            "",
            "Where a cost is negative, the noise of the machine exceeds it: a query costs nothing measurable there.",
        ]
    return [*lines, ""]


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="line-small or base/32; repeatable; default both")
    parser.add_argument("--dtype", action="append", help="float32 or bfloat16; repeatable; default both")
    parser.add_argument("--rounds", type=positive, default=15)
    parser.add_argument("--frames", type=positive, action="append", help="frames at once; repeatable; default 1 and 4")
    parser.add_argument(
        "--joint",
        type=positive,
        action="append",
        help="queries at once in joint attention; repeatable; default 4 and 16",
    )
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/queries.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = [
        "# What standing queries cost",
        "",
        f"{machine()}. Medians of {arguments.rounds} interleaved rounds; ratios are taken within a round, in "
        f"which each case runs for {TURN_SECONDS} s. "
        "Linear layers packed and memory kept, as `Grounder` does (`simvg_core/execution.py`); line-small without its "
        "gate but where it says so. "
        "Joint attention is measured at a few queries at once, which share the stem, and scaled by their number: its "
        "columns are extrapolated beyond that. line-small is asked texts of the line about its pictures; base/32 "
        "at 640×640 has random weights, and is asked texts of 3 to 8 tokens: time does not depend on them.",
        "",
        f"`{command()}`",
        "",
    ]
    sizes, joint_sizes = arguments.frames or (1, 4), arguments.joint or (4, 16)
    for name in arguments.model or ("line-small", "base/32"):
        if Path(f"models/{name}/onnx").is_dir() and "float32" in (arguments.dtype or ("float32",)):
            lines += measure_graphs(name, arguments.rounds, sizes, joint_sizes, arguments.threads)
        for dtype in arguments.dtype or ("float32", "bfloat16"):
            lines += measure(name, arguments.rounds, sizes, joint_sizes, dtype)
    write(arguments.out, lines)


if __name__ == "__main__":
    main()
